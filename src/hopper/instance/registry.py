"""The registry: the Python door to one namespace, with its records in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, overload

import structlog

from hopper.config import Settings
from hopper.errors import Invalid, PreconditionFailed, TooLarge, Unavailable
from hopper.instance import discovery
from hopper.instance.callbacks import Callback, Callbacks
from hopper.instance.health import HealthReports, HealthSummary, InstanceHealth
from hopper.instance.lifecycle import Lifecycle
from hopper.instance.relationships import Relationships, require
from hopper.instance.topology import Topology, topology
from hopper.instance.view import RegistryView
from hopper.instance.watching import watch
from hopper.model.event import Event, EventType
from hopper.model.heartbeat import encode_metrics
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.spec import InstanceSpec, parse_spec
from hopper.model.state import Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["InstanceRegistry"]

Records = list[Record]
E = TypeVar("E", bound=StrEnum)
_Key = tuple[asyncio.AbstractEventLoop, str | None, str]


class _Get:
    """`InstanceRegistry.get(settings)` is the registry of this process; `registry.get(id)` is a record."""

    @overload
    def __get__(self, instance: None, owner: type["InstanceRegistry"]) -> Callable[..., "InstanceRegistry"]: ...
    @overload
    def __get__(self, instance: "InstanceRegistry", owner: type["InstanceRegistry"]) -> Callable[..., Any]: ...
    def __get__(self, instance: "InstanceRegistry | None", owner: type["InstanceRegistry"]) -> Callable[..., Any]:
        return owner.shared if instance is None else instance.lookup


class InstanceRegistry:
    """Every instance of a namespace, read from memory and changed in Redis.

    Use it with `async with`, or await it and call `aclose` at the end; entering twice is counted. Reads take
    `min_revision` (wait until this registry is at least there) and `consistent=True` (wait until it has everything that
    Redis had when the read was called), both for at most `read_wait_s`. A change is answered once this registry has it.
    """

    get = _Get()
    _shared: ClassVar[dict[_Key, "InstanceRegistry"]] = {}

    def __init__(self, settings: Settings | None = None, *, client: Any = None) -> None:
        """`client` replaces every connection by one client of the caller's, as a fake server's in a test."""
        self.settings = settings or Settings()
        self.store = InstanceStore(self.settings, client=client)
        self.log = ChangeLog(self.settings, client=client)
        self.view = RegistryView(self.settings, self.store, self.log)
        self.relationships = Relationships(self.store, self.view)
        self.lifecycle = Lifecycle(self.store, self.view)
        self.reports = HealthReports(self.store, self.view)
        self.callbacks = Callbacks(namespace=self.settings.namespace)
        self.view.listen(self.callbacks.take)
        self._client = client
        self._users = 0
        self._turn = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._key: _Key | None = None

    @classmethod
    def shared(cls, settings: Settings | None = None) -> "InstanceRegistry":
        """The one registry of this process, event loop, Redis and namespace; `InstanceRegistry.get(settings)`."""
        settings = settings or Settings()
        for abandoned in [key for key in cls._shared if key[0].is_closed()]:
            del cls._shared[abandoned]
        key = (asyncio.get_running_loop(), settings.redis_url, settings.namespace)
        registry = cls._shared.get(key)
        if registry is None:
            registry = cls._shared[key] = cls(settings)
            registry._key = key
        return registry

    # -- coming and going ------------------------------------------------------------------------------------------

    async def start(self, *, wait: bool = True) -> Self:
        """Connect and load the view; with `wait=False` return at once and load meanwhile. Counted.

        Raises `Unavailable` where Redis does not let itself be read within `read_wait_s`, and `NewerSchema` where a
        newer version wrote the keys.
        """
        async with self._turn:
            self._users += 1
            if self._key is not None:
                self._shared.setdefault(self._key, self)
            if self._running is None:
                self._running = asyncio.create_task(self._run(), name=f"registry {self.settings.namespace}")
        if wait:
            try:
                await self.view.reach(0)
            except BaseException:
                await self.aclose()
                raise
        return self

    async def aclose(self) -> None:
        """Leave; the last user closes the connections. A call too many does nothing."""
        async with self._turn:
            self._users = max(0, self._users - 1)
            if self._users or self._running is None:
                return
            running, self._running = self._running, None
            if self._key is not None and self._shared.get(self._key) is self:
                del self._shared[self._key]
            running.cancel()
            try:
                await asyncio.gather(running, return_exceptions=True)
            finally:
                await self.log.aclose()
                await self.store.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.view.run(), name="view")
                tasks.create_task(self.callbacks.run(), name="callbacks")
        except Exception:
            structlog.get_logger().exception("registry.failed", namespace=self.settings.namespace)
            raise

    async def ready(self, *, min_revision: int | None = None, consistent: bool = False) -> None:
        """Wait until reads may go on as asked. `PreconditionFailed` for a revision that Redis has not reached."""
        if not self.view.loaded.is_set():
            if self._running is None:
                raise Unavailable("the registry is not started: use it with `async with`")
            await self.view.reach(0)
        if consistent:
            await self.view.catch_up()
        if min_revision is not None and self.view.revision < min_revision:
            reached = (await self.store.position()).revision
            if reached < min_revision:
                raise PreconditionFailed(f"revision {min_revision} is asked for, and the registry is at {reached}")
            await self.view.reach(min_revision)

    # -- reads -----------------------------------------------------------------------------------------------------

    async def lookup(self, id: str, *, min_revision: int | None = None, consistent: bool = False) -> Record | None:
        """The record of an id, None where there is none; `registry.get(id)`."""
        if consistent or min_revision is not None or not self.view.loaded.is_set():
            await self.ready(min_revision=min_revision, consistent=consistent)
        return self.view.replica.records.get(id)

    async def get_by_name(self, scope: Scope | str, name: str, **freshness: Any) -> Record | None:
        """The instance of a scope that has a name, None where there is none."""
        await self.ready(**freshness)
        return self.view.replica.named(_one_of(Scope, "scope", scope), name)

    async def list(self, selector: Selector | None = None, **freshness: Any) -> Records:
        """Every instance that a selector matches, in the order of creation."""
        await self.ready(**freshness)
        found = self.view.replica.select(selector or Selector())
        return sorted(found, key=lambda record: record.created_revision)

    async def discover(
        self, selector: Selector | None = None, *, can_parent: Scope | str | None = None, **freshness: Any
    ) -> Records:
        """The instances in service that a selector matches, and that can take a child of a scope if one is named.

        In the order of creation. A selector with `available=False` asks for those that are not in service too.
        """
        await self.ready(**freshness)
        asked = discovery.in_service_unless_told(selector or Selector())
        child = None if can_parent is None else _one_of(Scope, "can_parent", can_parent)
        found = discovery.discover(self.view.replica, asked, can_parent=child)
        return sorted(found, key=lambda record: record.created_revision)

    async def parents_for(self, scope: Scope | str, **freshness: Any) -> Records:
        """The instances in service that can take a child of a scope, those with the fewest children first."""
        await self.ready(**freshness)
        return discovery.parents_for(self.view.replica, _one_of(Scope, "scope", scope))

    async def children(self, id: str, **freshness: Any) -> Records:
        """The children of an instance. Raises `NotFound` for an unknown id."""
        await self.ready(**freshness)
        return self.relationships.children(id)

    async def ancestors(self, id: str, **freshness: Any) -> Records:
        """Parent, then grandparent. Raises `NotFound` for an unknown id."""
        await self.ready(**freshness)
        return self.relationships.ancestors(id)

    async def descendants(self, id: str, **freshness: Any) -> Records:
        """All below an instance, parents before their children. Raises `NotFound` for an unknown id."""
        await self.ready(**freshness)
        return self.relationships.descendants(id)

    async def orphans(self, **freshness: Any) -> Records:
        """Every instance that should have a parent and has none."""
        await self.ready(**freshness)
        return self.relationships.orphans()

    async def topology(self, *, root: str | None = None, depth: int | None = None, **freshness: Any) -> Topology:
        """The tree with rollups of health. Raises `NotFound` for an unknown root."""
        await self.ready(**freshness)
        return topology(self.view.replica, root=root, depth=depth)

    async def global_instance(self, **freshness: Any) -> Record | None:
        """The one Global, None where there is none."""
        await self.ready(**freshness)
        top = self.view.replica.global_id
        return self.view.replica.records.get(top) if top else None

    async def wait_for(self, selector: Selector, count: int = 1, timeout_s: float | None = None) -> Records:
        """Wait until at least `count` instances match a selector; answers all that do, in the order of creation.

        Looks again with every change of the registry. Without `timeout_s` it waits for ever; else it raises
        `TimeoutError`, which says how many there are.
        """
        await self.ready()
        changed = asyncio.Event()
        stop = self.view.listen(lambda _: changed.set())
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    changed.clear()
                    found = await self.list(selector)
                    if len(found) >= count:
                        return found
                    await changed.wait()
        except TimeoutError:
            there = len(await self.list(selector))
            raise TimeoutError(f"{there} of {count} instances are there after {timeout_s:g} s") from None
        finally:
            stop()

    @overload
    async def health(self, id: None = None, **freshness: Any) -> HealthSummary: ...
    @overload
    async def health(self, id: str, **freshness: Any) -> InstanceHealth: ...
    async def health(self, id: str | None = None, **freshness: Any) -> HealthSummary | InstanceHealth:
        """The registry at a glance, or one instance with its heartbeat as it is now."""
        await self.ready(**freshness)
        return await self.reports.summary() if id is None else await self.reports.instance(id)

    # -- changes ---------------------------------------------------------------------------------------------------

    async def register(
        self,
        spec: InstanceSpec | None = None,
        *,
        takeover: Takeover | str = Takeover.ALWAYS,
        token: str | None = None,
        actor: str = "",
        **fields: Any,
    ) -> Record:
        """Register an instance from a spec or from its fields, or supersede the one that has its id.

        Raises `Invalid`, which names the field, and every refusal of the tree. Idempotent for one `token` for 60 s.
        """
        asked = parse_spec(fields) if spec is None else spec
        how = _one_of(Takeover, "takeover", takeover)
        done = await self.lifecycle.register(asked, takeover=how, token=token, actor=actor)
        return await self.at(done.id, done.revision)

    async def update(self, id: str, patch: dict[str, Any], **conditions: Any) -> Record:
        """Change an instance by a JSON merge patch over its mutable fields."""
        return await self.at(id, await self.lifecycle.update(id, patch, **conditions))

    async def deregister(self, id: str, **conditions: Any) -> int:
        """Remove an instance that has no children; answers the revision.

        The removal stands: where this registry does not see it within `read_wait_s`, it is answered all the same.
        """
        revision = await self.lifecycle.deregister(id, **conditions)
        with contextlib.suppress(Unavailable):
            await self.view.reach(revision)
        return revision

    async def link(self, child_id: str, parent_id: str, *, actor: str = "") -> Record:
        """Put a child under a parent, leaving the one it had. Idempotent."""
        return await self.at(child_id, await self.relationships.link(child_id, parent_id, actor=actor))

    async def unlink(self, child_id: str, *, actor: str = "") -> Record:
        """Take a child from its parent and clear its wish. Idempotent."""
        return await self.at(child_id, await self.relationships.unlink(child_id, actor=actor))

    async def adopt(self, *, actor: str = "") -> Records:
        """Link each orphan to the parent it looks for, if that is there: a Project to the Global, others by their wish.

        Answers what was adopted. One that is refused, or gone meanwhile, is left as it is.
        """
        await self.ready(consistent=True)
        adopted = await self.relationships.adopt(actor=actor)
        return [await self.at(id, revision) for id, revision in adopted.items()]

    async def transition(self, id: str, verb: Verb | str, **conditions: Any) -> Record:
        """Carry an instance to the state a verb leads to. Idempotent."""
        asked = _one_of(Verb, "verb", verb)
        return await self.at(id, await self.lifecycle.transition(id, asked, **conditions))

    async def heartbeat(self, id: str, metrics: dict[str, Any] | bytes | None = None) -> int:
        """One heartbeat for an instance, with metrics or a ready value; answers when it expires, by Redis' clock.

        Raises `NotFound` where there is no such instance, `TooLarge` for a value over 4 KiB, and `Invalid` for metrics
        that have no JSON form.
        """
        record = await self.lookup(id) or require(id, await self.store.read(id))
        try:
            value = metrics if isinstance(metrics, bytes) else encode_metrics(metrics or {})
        except TypeError as error:
            raise Invalid(f"the metrics of '{id}' have no JSON form: {error}", field="metrics", value=metrics) from None
        except ValueError as error:
            raise TooLarge(f"the heartbeat of '{id}' has {error}") from None
        return await self.store.heartbeat(id, ttl_ms=record.ttl_ms, value=value)

    async def at(self, id: str, revision: int) -> Record:
        """The record of an instance that was changed at a revision, once this registry has it.

        The change stands: where the view is late, the record is read from Redis instead; where that is away too,
        `Unavailable` says that the outcome is unknown, though it is only the record that is.
        """
        record: Record | None = None
        try:
            with contextlib.suppress(Unavailable):
                await self.view.reach(revision)
                record = self.view.replica.records.get(id)
                if record is None or record.revision != revision:
                    record = None
                    await self.view.catch_up()
                    record = self.view.replica.records.get(id)
            return record or require(id, await self.store.read(id))
        except Unavailable as error:
            error.outcome = "unknown"
            raise

    # -- changes as they come --------------------------------------------------------------------------------------

    def watch(self, since: int | None = None) -> AsyncIterator[Event]:
        """Every event after a revision, or from now on: in order, without a hole.

        Raises `Compacted` where the log no longer holds what comes next, or Redis has another epoch.
        """
        return watch(self.settings, since=since, client=self._client)

    def on(self, event: EventType | str | None, callback: Callback) -> None:
        """Call `callback(event)` for each event of a type, or for every one where `event` is None."""
        self.callbacks.on(None if event is None else _one_of(EventType, "event", event), callback)

    def on_child_added(self, callback: Callback) -> None:
        """Call `callback(parent_id, child)` when an instance gets a child."""
        self.callbacks.on_child_added(callback)

    def on_child_removed(self, callback: Callback) -> None:
        """Call `callback(parent_id, child)` when an instance loses a child."""
        self.callbacks.on_child_removed(callback)

    def on_parent_changed(self, callback: Callback) -> None:
        """Call `callback(child, old_parent_id, new_parent_id)` when a parent changes."""
        self.callbacks.on_parent_changed(callback)


def _one_of(kind: type[E], name: str, value: Any) -> E:
    try:
        return kind(value)
    except ValueError:
        raise Invalid(f"{name} is {value!r}, not one of {', '.join(kind)}", field=name, value=value) from None
