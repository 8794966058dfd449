"""An executor: carries out claimed restarts, each at its time, alone, and again where somebody died over it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog
import tenacity

from hopper.errors import HopperError, Unavailable
from hopper.instance.restart.agenda import Agenda
from hopper.instance.view import RegistryView
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.restart import Outcome, RestartLedger
from hopper.store.restarting import RestartStore, Standing, Taking

__all__ = ["Executor"]

_AT_ONCE = 64
"""Restarts that are carried out at the same time."""
_IN_A_LANE = 8
"""How many of them are of one lane, so that one receiver that hangs keeps nobody else's waiting."""
_READ_AT_ONCE = 500
_AGAIN_S = 1.0
_SETTLE_AGAIN_S = 0.2
"""Seconds until an outcome is written down again: soon, before another executor begins, who may take the lease."""

CarryOut = Callable[[Record, RestartLedger], Awaitable[None]]


class _Claim(NamedTuple):
    """One claim: another of the same incarnation was made at another time."""

    id: str
    incarnation: int
    claimed_at_ms: int


def _ends_maintenance(event: Event) -> bool:
    """Whether an instance is in service again: its restart has waited for that."""
    return "maintenance" in event.previous and event.record is not None and event.record.maintenance is None


class Executor:
    """Carries out the restarts of the instances that `wants` names, by calling `carry_out(record, ledger)`.

    Of all executors one has a restart at a time, for `executor_lease_s` and longer while it is busy with it. One that
    raises is settled as failed, and is tried again once the lease has ended, by whoever is next. In maintenance none
    is begun that no operator has asked for. This one makes at most one call for a claim at a time; what became of it is
    written down once Redis takes it, without a second call.
    """

    def __init__(
        self,
        view: RegistryView,
        store: RestartStore,
        carry_out: CarryOut,
        *,
        wants: Callable[[Record], bool],
        candidates: Callable[[], Iterable[Record]],
        acts: Callable[[], bool] = lambda: True,
        lane: Callable[[Record], str] | None = None,
    ) -> None:
        """`candidates` are the records that may have had a claim before this executor began.

        `lane` says whom the carrying out of a record's restart waits for: few of one lane are under way at a time.
        """
        self.id = f"executor-{secrets.token_hex(4)}"
        self._view = view
        self._store = store
        self._carry_out = carry_out
        self._wants = wants
        self._candidates = candidates
        self._acts = acts
        self._lane = lane
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._agenda: Agenda[_Claim] = Agenda()
        self._busy: set[_Claim] = set()
        self._done: dict[_Claim, tuple[Outcome, str]] = {}
        """What became of those that were carried out, and why, until it is written down."""
        self._anew = asyncio.Event()
        self._lease_s = store.settings.executor_lease_s
        self._logger = structlog.get_logger().bind(namespace=store.settings.namespace, executor=self.id)

    def begin(self) -> None:
        """Look for every unfinished claim anew."""
        self._anew.set()

    def take(self, events: list[Event]) -> None:
        """Take in changes: a claim to be carried out. A gap in the log may have hidden one."""
        if not self._acts():
            return
        for event in events:
            if event.resync or _ends_maintenance(event):
                self._anew.set()
            elif event.type is EventType.RESTART_CLAIMED and event.record is not None and self._wants(event.record):
                claim = _Claim(event.record.id, event.record.incarnation, event.at_ms)
                self._agenda.put(claim, after_s=event.evidence.get("delay_ms", 0) / 1000)

    async def run(self) -> None:
        """Carry out what is due; ends by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_anew())
            while True:
                for claim in await self._agenda.next(_AT_ONCE):
                    tasks.create_task(self._try(claim))

    async def _look_anew(self) -> None:
        while True:
            await self._anew.wait()
            self._anew.clear()
            if not self._acts():
                continue
            ids = [record.id for record in self._candidates() if self._wants(record)]
            try:
                for start in range(0, len(ids), _READ_AT_ONCE):
                    for standing in await self._store.standings(ids[start : start + _READ_AT_ONCE]):
                        self._consider(standing)
            except HopperError as error:
                self._logger.warning("executor.not_looked", detail=str(error))
                self._anew.set()
                await asyncio.sleep(_AGAIN_S)

    def _consider(self, standing: Standing | HopperError) -> None:
        if isinstance(standing, HopperError):
            self._logger.error("executor.unreadable", detail=str(standing))
        elif standing.record is not None and standing.ledger.is_open(standing.record.incarnation):
            record, ledger = standing.record, standing.ledger
            claim = _Claim(record.id, record.incarnation, ledger.claimed_at_ms)
            self._agenda.put(claim, after_s=self._left_s(ledger, standing.now_ms))

    def _left_s(self, ledger: RestartLedger, now_ms: int) -> float:
        """Seconds until a claim is due: where this executor has failed, as long as it has the lease."""
        left_s = ledger.left_ms(now_ms) / 1000
        if ledger.outcome is Outcome.FAILED and ledger.executor == self.id:
            left_s = max(left_s, min((ledger.executor_until_ms - now_ms) / 1000, self._lease_s))
        return left_s

    async def _try(self, claim: _Claim) -> None:
        if claim in self._busy:
            return
        self._busy.add(claim)
        try:
            async with self._lane_of(claim), self._slots:
                if self._acts() or claim in self._done:
                    await self._attempt(claim)
        except Exception:
            self._logger.exception("executor.broken", id=claim.id, incarnation=claim.incarnation)
            self._agenda.put(claim, after_s=self._lease_s)
        finally:
            self._busy.discard(claim)

    def _lane_of(self, claim: _Claim) -> contextlib.AbstractAsyncContextManager[None]:
        record = self._view.replica.records.get(claim.id)
        if self._lane is None or record is None:
            return contextlib.nullcontext()
        return self._lanes.setdefault(self._lane(record), asyncio.Semaphore(_IN_A_LANE))

    async def _attempt(self, claim: _Claim) -> None:
        try:
            taken = await self._take(claim)
            if taken.outcome == "taken":
                await self._finish(claim)
            elif taken.outcome == "ended":
                self._done.pop(claim, None)
            else:
                self._agenda.put(claim, after_s=taken.left_ms / 1000)
        except HopperError as error:
            self._logger.warning("executor.interrupted", id=claim.id, incarnation=claim.incarnation, detail=str(error))
            self._agenda.put(claim, after_s=_AGAIN_S)

    async def _finish(self, claim: _Claim) -> None:
        """Carry out a claim that this executor has, unless it has done so, and write down what became of it."""
        if claim not in self._done:
            standing = await self._store.standing(claim.id)
            record, ledger = standing.record, standing.ledger
            if record is None or not self._wants(record):
                return
            stands = ledger.is_open(claim.incarnation) and ledger.claimed_at_ms == claim.claimed_at_ms
            if not stands or ledger.executor != self.id:
                self._agenda.put(claim, after_s=_AGAIN_S)
                return
            self._done[claim] = await self._carried_out(claim, record, ledger)
        outcome, detail = self._done[claim]
        if not await self._settle(claim, outcome, detail):
            self._agenda.put(claim, after_s=_AGAIN_S)  # it has ended, or another has it, who may die over it
            return
        del self._done[claim]
        if outcome is Outcome.FAILED:
            self._agenda.put(claim, after_s=self._lease_s)

    async def _settle(self, claim: _Claim, outcome: Outcome, detail: str) -> bool:
        """Write down what became of a claim, however long Redis is away; whether this executor still had it."""
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_fixed(_SETTLE_AGAIN_S), retry=tenacity.retry_if_exception_type(Unavailable)
        )
        return await retrying(
            self._store.settle,
            claim.id,
            claim.incarnation,
            outcome,
            executor=self.id,
            claimed_at_ms=claim.claimed_at_ms,
            detail=detail,
        )

    async def _take(self, claim: _Claim) -> Taking:
        return await self._store.take(claim.id, claim.incarnation, executor=self.id, claimed_at_ms=claim.claimed_at_ms)

    async def _carried_out(self, claim: _Claim, record: Record, ledger: RestartLedger) -> tuple[Outcome, str]:
        """What became of a restart, and why it failed."""
        try:
            async with self._renewing(claim):
                await self._carry_out(record, ledger)
        except HopperError as error:
            self._logger.warning("executor.failed", id=record.id, incarnation=record.incarnation, detail=str(error))
            return Outcome.FAILED, str(error)
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # it is this task that is to end, not something the callback waited for
            self._logger.exception("executor.failed", id=record.id, incarnation=record.incarnation)
            return Outcome.FAILED, f"{type(error).__name__}: {error}"
        self._logger.info("executor.done", id=record.id, incarnation=record.incarnation, count=ledger.count)
        return Outcome.SENT, ""

    @contextlib.asynccontextmanager
    async def _renewing(self, claim: _Claim) -> AsyncIterator[None]:
        """Keep the lease while the restart is carried out."""
        renewal = asyncio.create_task(self._renew(claim))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self, claim: _Claim) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            taken: Taking | None = None
            with contextlib.suppress(HopperError):  # the next one may come in time
                taken = await self._take(claim)
            if taken is not None and taken.outcome != "taken":
                self._logger.warning("executor.lost", id=claim.id, incarnation=claim.incarnation)
                return
