"""A session: one program's membership in the registry, from registration to leaving."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import structlog
from anyio.from_thread import BlockingPortal, start_blocking_portal

from hopper.config import Settings
from hopper.errors import (
    Exists,
    HasChildren,
    HopperError,
    Invalid,
    Leaving,
    NotFound,
    PreconditionFailed,
    Refused,
    ScopeRule,
    Superseded,
    Unavailable,
)
from hopper.instance.membership.adopting import adopted
from hopper.instance.membership.entry import Entry
from hopper.instance.membership.origin import is_registered_at
from hopper.instance.membership.pacemaker import Loss, Pacemaker
from hopper.instance.membership.remains import Remains
from hopper.instance.membership.tending import Tending
from hopper.instance.membership.terms import carried, looking_for_the_global, without_parent
from hopper.instance.parents import find_parent
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec, parse_spec
from hopper.model.state import TRANSITIONS, State, Verb
from hopper.model.takeover import Takeover
from hopper.store.beating import HeartbeatWriter
from hopper.store.instances import InstanceStore, Registration

__all__ = ["InstanceSession"]

T = TypeVar("T")

_ADOPTION_PAUSE_S = 0.5
_LONGEST_ADOPTION_PAUSE_S = 2.0
_LONGEST_REFUSED_PAUSE_S = 4.0
_CHANGED_PAUSE_S = 0.02
"""Before a registration is asked for again, whose record has changed since it was read."""


class InstanceSession:
    """Registers on entry, finds its parent, heartbeats at a third of the TTL, and leaves on exit.

    `async with InstanceSession(scope="orchestration", name="worker", wish={"name": "web"}) as session:` takes the
    fields of an `InstanceSpec`, or a spec. `metrics` is called for every heartbeat, in the heartbeat's thread. Another
    registration of the id ends the body with `Superseded`. Registered again, as a new incarnation in the state it had,
    are: a record that vanished; one from before this session's, to which Redis has gone back (older data were
    restored); and one that others have made `failed` while this session heartbeats (it was away for longer than the
    TTL, and its restart was claimed), which ends the claim.

    On exit the instance is `stopped`, and deregistered too where it is ephemeral and childless; one that has failed by
    its own word stays `failed`. Used with a plain `with`, the session runs in an event loop of a thread of its own.
    `heartbeats=False` leaves the heartbeats to another program, which then decides whether the instance lives. With
    `returns=False` what others make `failed` stays so until `restart`.
    """

    def __init__(
        self,
        spec: InstanceSpec | None = None,
        *,
        settings: Settings | None = None,
        metrics: Callable[[], Mapping[str, Any]] | None = None,
        takeover: Takeover | str = Takeover.ALWAYS,
        heartbeats: bool = True,
        returns: bool = True,
        **fields: Any,
    ) -> None:
        self.settings = settings or Settings()
        asked = parse_spec(fields) if spec is None else spec
        self.spec = looking_for_the_global(asked).completed(ttl_ms=self.settings.ttl_ms)
        self.id = str(self.spec.id)
        self.incarnation = 0
        self.registrations = 0
        """How often the session has registered; more than once means a restart, or that its record had vanished."""
        self._metrics = metrics
        self._takeover = Takeover(takeover)
        self._heartbeats = heartbeats
        self._returns = returns
        self._state = self.spec.state
        self._registered_at_ms: int | None = None
        self._gave_up = False
        """Whether `failed` is this session's own word."""
        self._pacemaker: Pacemaker | None = None
        self._losses: asyncio.Queue[tuple[Loss | None, int]] = asyncio.Queue()
        """What each incarnation was told; None where it has been registered by `restart`."""
        self._turn = asyncio.Lock()
        self._orphan = False
        self._exits = contextlib.AsyncExitStack()
        self._portal: contextlib.ExitStack | None = None
        self._logger = structlog.get_logger().bind(namespace=self.settings.namespace, id=self.id)

    # -- the asynchronous door -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._store = InstanceStore(self.settings)
            stack.push_async_callback(lambda: _undisturbed(self._store.aclose()))
            await self._store.open()
            self._entry = Entry(self._store)
            stack.push_async_callback(lambda: _undisturbed(self._leave()))
            await self._register()
            tending = await stack.enter_async_context(Tending())
            tending.start(self._tend())
            self._exits = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await _undisturbed(self._exits.__aexit__(kind, error, trace))

    async def record(self) -> Record:
        """The session's own record as it stands in Redis. Raises `NotFound` where it has vanished."""
        found = await self._store.read(self.id)
        if found is None:
            raise NotFound(f"there is no instance '{self.id}'")
        return found

    @property
    def store(self) -> InstanceStore:
        """The session's door to Redis, open while its body runs."""
        return self._store

    async def transition(self, verb: Verb | str, *, reason: str = "", evidence: Mapping[str, Any] | None = None) -> int:
        """Carry this instance to the state a verb leads to, fenced by its incarnation; answers the revision."""
        gave_up, self._gave_up = self._gave_up, self._gave_up or Verb(verb) is Verb.FAIL
        try:
            revision = await self._store.transition(
                self.id,
                Verb(verb),
                incarnation=self.incarnation,
                reason=reason,
                actor=f"session:{self.id}",
                evidence=evidence,
            )
        except (Refused, NotFound):
            self._gave_up = gave_up
            raise
        self._state = TRANSITIONS[Verb(verb)].target
        self._gave_up = self._state is State.FAILED
        return revision

    async def fail(self, *, reason: str = "", evidence: Mapping[str, Any] | None = None) -> int:
        """Stop heartbeating and carry this instance to `failed`, where it stays; answers the revision."""
        await self.stop_beating()
        return await self.transition(Verb.FAIL, reason=reason, evidence=evidence)

    async def stop_beating(self) -> None:
        """Stop heartbeating until `restart`; nobody looks meanwhile whether another registration has taken the id."""
        if self._pacemaker is not None:
            await asyncio.to_thread(self._pacemaker.stop)

    async def restart(self) -> None:
        """Register this instance again, as a new incarnation in state `starting`, and heartbeat for it.

        Waits while Redis is away. Raises every refusal of a registration but those that pass.
        """
        await self.stop_beating()
        self._state = State.STARTING
        await self._register_again(self.incarnation)
        self._losses.put_nowait((None, self.incarnation))  # it may be an orphan now

    # -- the synchronous door --------------------------------------------------------------------------------------

    def __enter__(self) -> "InstanceSession":
        with contextlib.ExitStack() as stack:
            portal: BlockingPortal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self))
            self._portal = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        portal, self._portal = self._portal, None
        return portal.__exit__(kind, error, trace) if portal else None

    # -- coming, staying, leaving ----------------------------------------------------------------------------------

    async def _register(self, *, carries: bool = True) -> None:
        """Register; what stands of the present incarnation is carried on as it is, where `carries` says so."""
        known = await self._store.read(self.id)
        stands = known if carries and await self._is_present(known) else None
        if stands is not None:
            self.spec = carried(self.spec, stands)
        kept = stands is not None and stands.parent_id is not None
        parent_id = None if kept else self.spec.parent_id or await self._look_for_parent(known)
        try:
            await self._register_under(parent_id, known, stands)
        except (NotFound, ScopeRule, Leaving, Invalid) as error:  # there may be no room but for a later link's
            if parent_id is None:
                raise
            if parent_id == self.spec.parent_id:
                if not self.registrations or not isinstance(error, NotFound):
                    raise
                return await self._register_without_parent(error, carries=carries)
            self._logger.info("session.not_adopted", detail=str(error))
            await self._register_under(None, known, stands)

    async def _register_without_parent(self, lost: NotFound, *, carries: bool) -> None:
        """Register to look for the parent that is gone; raises `lost` where the record has no room for the wish."""
        named = self.spec
        self.spec = without_parent(named)
        try:
            await self._register(carries=carries)
        except Invalid:
            self.spec = named
            raise lost from None
        finally:
            if self.spec is not named:
                self._logger.warning("session.parent_lost", parent_id=named.parent_id, detail=str(lost))

    async def _is_present(self, known: Record | None) -> bool:
        """Whether a record is the present registration of this session, and not one that has only its number."""
        if known is None or not self.registrations or known.incarnation != self.incarnation:
            return False
        return await is_registered_at(self._store, known, self._registered_at_ms)

    async def _look_for_parent(self, known: Record | None) -> str | None:
        """The parent to register under; None to keep the one that a former incarnation with the same wish had."""
        if known is not None and known.parent_id is not None and known.wish == self.spec.wish:
            return None
        return await find_parent(self._store, self.spec.scope, self.spec.wish)

    async def _register_under(self, parent_id: str | None, known: Record | None, stands: Record | None) -> None:
        def heard(done: Registration) -> None:
            place = parent_id or (known.parent_id if known is not None else None)
            self._orphan = self.spec.scope is not Scope.GLOBAL and place is None
            self._begin(done)
            self._logger.info("session.registered", incarnation=done.incarnation, parent_id=place)

        takeover = Takeover.ALWAYS if stands is not None else self._takeover_from(known)
        await self._entry.register(
            replace(self.spec, parent_id=parent_id, state=self._state),
            takeover=takeover,
            known=known,
            carries=None if stands is None else stands.revision,
            actor=f"session:{self.id}",
            heard=heard,
        )

    def _begin(self, done: Registration) -> None:
        """Heartbeat for what has been registered."""
        self.incarnation = done.incarnation
        self._registered_at_ms = done.at_ms
        self.registrations += 1
        self._gave_up = self._state is State.FAILED
        loop = asyncio.get_running_loop()

        def lost(loss: Loss) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is left to be told
                loop.call_soon_threadsafe(self._losses.put_nowait, (loss, done.incarnation))

        self._pacemaker = Pacemaker(
            HeartbeatWriter(self.settings),
            id=self.id,
            incarnation=done.incarnation,
            registered_at_ms=done.at_ms,
            ttl_ms=int(self.spec.ttl_ms or self.settings.ttl_ms),
            metrics=self._metrics,
            on_loss=lost,
            minds_failure=lambda: self._heartbeats and self._returns and not self._gave_up,
            silent=not self._heartbeats,
        )
        self._pacemaker.start()

    def _takeover_from(self, known: Record | None) -> Takeover:
        """How to take the id over from who has it: from its own incarnation, and an older one, where that is dead."""
        if known is None or known.incarnation > self.incarnation:
            return self._takeover
        if known.incarnation < self.incarnation and (not self._heartbeats or known.check is not None):
            return Takeover.ALWAYS  # the heartbeat may be of this very program: it does not tell of another
        return Takeover.IF_DEAD if self._takeover is Takeover.NEVER else self._takeover

    async def _tend(self) -> None:
        """Adopt oneself while an orphan; register again when the registration is lost; raise when superseded."""
        pause_s = _ADOPTION_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(pause_s if self._orphan else None):
                    loss, incarnation = await self._losses.get()
            except TimeoutError:
                self._orphan = not await adopted(self._store, self.id)
                pause_s = min(pause_s * random.uniform(1, 1.5), _LONGEST_ADOPTION_PAUSE_S)
                continue
            if loss is None:
                pause_s = _ADOPTION_PAUSE_S
            if loss is None or incarnation != self.incarnation:
                continue  # it was told of a registration that this session has replaced since
            if loss is Loss.SUPERSEDED:
                raise Superseded(f"instance '{self.id}' has been registered again; incarnation {self.incarnation} ends")
            if loss is Loss.FAILED and self._gave_up:
                continue  # its own word came after that of others
            self._logger.warning(f"session.{loss.value}", incarnation=self.incarnation)
            await self._register_again(incarnation, carries=loss is not Loss.REVERTED)
            pause_s = _ADOPTION_PAUSE_S

    async def _register_again(self, incarnation: int, *, carries: bool = True) -> None:
        """Replace an incarnation of this session, unless that was done meanwhile.

        Raises `Superseded` where the id belongs to another that lives, and the session is not to take it from that.
        """
        remains = Remains(self._store, self.id, newest=incarnation)
        said, refused_s = "", _ADOPTION_PAUSE_S
        while True:
            pause_s = _ADOPTION_PAUSE_S
            try:
                async with self._turn:
                    return await self._register(carries=carries) if self.incarnation == incarnation else None
            except Exists as error:
                if not await remains.may_lapse():
                    raise Superseded(f"{error}; incarnation {incarnation} ends") from error
            except PreconditionFailed:
                pause_s = _CHANGED_PAUSE_S
            except (Unavailable, NotFound, Leaving) as error:
                if not isinstance(error, Unavailable):
                    pause_s = refused_s
                    refused_s = min(refused_s * random.uniform(1.5, 2), _LONGEST_REFUSED_PAUSE_S)
                if str(error) != said:
                    said = str(error)
                    self._logger.warning("session.not_registered", detail=said)
            await asyncio.sleep(pause_s)

    async def _leave(self) -> None:
        """`stopped`, and gone where ephemeral and childless; a newer incarnation and an own failure are left alone."""
        await self.stop_beating()
        if not self.incarnation and not self._entry.open:
            return
        try:
            record = await self._found()
            if record is None or not await self._is_own(record):
                return
            if record.state is State.FAILED and (self._gave_up or not self._returns):
                return
            if record.state in {State.STARTING, State.RUNNING, State.PAUSED}:
                await self.transition(Verb.STOP, reason="exit")
            if record.monitored:
                await self.transition(Verb.STOPPED, reason="exit")
            if record.ephemeral:
                await self._store.deregister(
                    self.id,
                    known=record,
                    incarnation=self.incarnation,
                    reason="exit",
                    actor=f"session:{self.id}",
                )
        except HasChildren:
            self._logger.info("session.stays", reason="it has children")
        except (HopperError, OSError) as error:
            self._logger.warning("session.not_left", detail=str(error))

    async def _found(self) -> Record | None:
        try:
            return await self._store.read(self.id)
        except Unavailable:  # it may be only that Redis has been another process since this connection was used
            return await self._store.read(self.id)

    async def _is_own(self, record: Record) -> bool:
        if record.incarnation != self.incarnation and record.incarnation == await self._entry.answered():
            self.incarnation = record.incarnation
        return record.incarnation == self.incarnation


async def _undisturbed(work: Awaitable[T]) -> T:
    """Do what a cancelled scope of anyio must not cut off, as that of a portal that is left by an interrupt."""
    done: list[T] = []
    with anyio.CancelScope(shield=True):
        done.append(await work)
    return done[0]
