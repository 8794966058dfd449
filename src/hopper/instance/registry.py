"""The registry: the Python door to one namespace, with its records in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar, overload

from hopper.config import Settings
from hopper.errors import Compacted, HopperError, Invalid, TooLarge, Unavailable
from hopper.instance import discovery
from hopper.instance.callbacks import Callback
from hopper.instance.health import HealthReports, HealthSummary, InstanceHealth
from hopper.instance.history import History, Story
from hopper.instance.lifecycle import Lifecycle
from hopper.instance.operations import RegistryOperations
from hopper.instance.relationships import Relationships, require
from hopper.instance.replica import Replica
from hopper.instance.topology import Topology, topology
from hopper.instance.watching import watch
from hopper.model.children import ChildrenMode
from hopper.model.choice import one_of
from hopper.model.event import Event, EventType
from hopper.model.heartbeat import encode_metrics
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.spec import InstanceSpec, as_spec
from hopper.model.state import Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import Registration
from hopper.store.restarting import RestartStore

__all__ = ["MAX_BULK", "InstanceRegistry"]

Records = list[Record]
Ids = list[str]
Registrations = list[Registration | HopperError]
Links = list[int | HopperError]
T = TypeVar("T")
MAX_BULK = 1_000
"""Entries of one bulk request at most."""


class _Get:
    """`InstanceRegistry.get(settings)` is the registry of this process; `registry.get(id)` is a record."""

    @overload
    def __get__(self, instance: None, owner: type["InstanceRegistry"]) -> Callable[..., "InstanceRegistry"]: ...
    @overload
    def __get__(self, instance: "InstanceRegistry", owner: type["InstanceRegistry"]) -> Callable[..., Any]: ...
    def __get__(self, instance: "InstanceRegistry | None", owner: type["InstanceRegistry"]) -> Callable[..., Any]:
        return owner.shared if instance is None else instance.lookup


class InstanceRegistry(RegistryOperations):
    """Every instance of a namespace, read from memory and changed in Redis.

    Use it with `async with`, or await it and call `aclose` at the end; entering twice is counted. Reads take
    `min_revision` (wait until this registry is at least there) and `consistent=True` (wait until it has everything that
    Redis had when the read was called), both for at most `read_wait_s`. A change is answered once this registry has it.
    """

    get = _Get()

    def __init__(self, settings: Settings | None = None, *, client: Any = None) -> None:
        """`client` replaces every connection by one client of the caller's, as a fake server's in a test."""
        super().__init__(settings, client=client)
        self.relationships = Relationships(self.store, self.view)
        self.lifecycle = Lifecycle(self.store, self.view)
        self.history = History(self.past)
        self.reports = HealthReports(self.store, self.view, self.history)

    # -- reads -----------------------------------------------------------------------------------------------------

    async def lookup(self, id: str, *, min_revision: int | None = None, consistent: bool = False) -> Record | None:
        """The record of an id, None where there is none; `registry.get(id)`."""
        if consistent or min_revision is not None or not self.view.loaded.is_set():
            await self.ready(min_revision=min_revision, consistent=consistent)
        return self.view.replica.records.get(id)

    async def get_by_name(self, scope: Scope | str, name: str, **freshness: Any) -> Record | None:
        """The instance of a scope that has a name, None where there is none."""
        await self.ready(**freshness)
        return self.view.replica.named(one_of(Scope, "scope", scope), name)

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
        child = None if can_parent is None else one_of(Scope, "can_parent", can_parent)
        found = discovery.discover(self.view.replica, asked, can_parent=child)
        return sorted(found, key=lambda record: record.created_revision)

    async def parents_for(self, scope: Scope | str, **freshness: Any) -> Records:
        """The instances in service that can take a child of a scope, those with the fewest children first."""
        await self.ready(**freshness)
        return discovery.parents_for(self.view.replica, one_of(Scope, "scope", scope))

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

    async def topology(
        self, *, root: str | None = None, depth: int | None = None, at_revision: int | None = None, **freshness: Any
    ) -> Topology:
        """The tree with rollups of health, now or as it was at a revision. Raises `NotFound` for an unknown root.

        A revision that has not been reached is `Invalid`, one that the log no longer reaches back to `Compacted`.
        """
        await self.ready(**freshness)
        return topology(await self.replica_at(at_revision), root=root, depth=depth)

    async def replica_at(self, revision: int | None) -> Replica:
        """Every record as it is now, or as it was at a revision."""
        if revision is None:
            return self.view.replica
        if revision > self.view.revision:
            await self.view.catch_up()
        return await self.history.at(self.view.replica, revision)

    async def events(
        self, id: str, *, since: int | None = None, limit: int = 100, newest_first: bool = False, **freshness: Any
    ) -> Story:
        """What the log tells of an instance, also of one that is gone: after `since`, or before it, newest first.

        Raises `NotFound` where there is no such instance and never was, as far as the log goes back.
        """
        await self.ready(**freshness)
        if since is not None and since > self.view.revision and not newest_first:
            await self.view.catch_up()
            if since > self.view.revision:
                raise Compacted(
                    f"revision {since} has not been reached: the registry is at {self.view.revision}",
                    revision=self.view.revision,
                )
        known = id in self.view.replica.records
        return await self.history.of(id, since=since, limit=limit, newest_first=newest_first, known=known)

    async def explain(self, id: str, *, since: int | None = None, limit: int = 100, **freshness: Any) -> dict[str, Any]:
        """The story of an instance in sentences: its last `limit` events, the oldest first, and what they come to."""
        story = await self.events(id, since=since, limit=limit, newest_first=True, **freshness)
        story.events.reverse()
        ledger = await RestartStore(self.store.settings, client=self.store.client).ledger(id)
        return story.explained(self.view.replica.records.get(id), ledger)

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
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
        **fields: Any,
    ) -> Record:
        """Register an instance from a spec or from its fields, or supersede the one that has its id.

        Raises `Invalid`, which names the field, and every refusal of the tree. Idempotent for one `token` for 60 s.
        """
        asked = as_spec(fields if spec is None else spec)
        how = one_of(Takeover, "takeover", takeover)
        done = await self.lifecycle.register(
            asked, takeover=how, require_live_parent=require_live_parent, token=token, actor=actor
        )
        return await self.at(done.id, done.revision)

    async def register_many(
        self, specs: Sequence[InstanceSpec], *, takeover: Takeover | str = Takeover.ALWAYS, **conditions: Any
    ) -> Registrations:
        """Register up to 1,000 instances in their order, each by itself; answers what became of each.

        One may name another before it as its parent. Where this registry does not see the last one within
        `read_wait_s`, the answer is given all the same: the registrations stand.
        """
        how = one_of(Takeover, "takeover", takeover)
        asked = [as_spec(spec) for spec in _few("items", specs)]
        done = await self.lifecycle.register_many(asked, takeover=how, **conditions)
        await self._seen(max((item.revision for item in done if isinstance(item, Registration)), default=0))
        return done

    async def link_many(self, pairs: Sequence[tuple[str, str]], **conditions: Any) -> Links:
        """Put up to 1,000 children, each under its parent; answers the revision or the error of each."""
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(id, str) for id in pair):
                raise Invalid(f"items has {pair!r}, not a child's id and its parent's", field="items", value=pair)
        done = await self.relationships.link_many(_few("items", pairs), **conditions)
        await self._seen(max((item for item in done if isinstance(item, int)), default=0))
        return done

    async def update(self, id: str, patch: dict[str, Any], **conditions: Any) -> Record:
        """Change an instance by a JSON merge patch over its mutable fields."""
        return await self.at(id, await self.lifecycle.update(id, patch, **conditions))

    async def deregister(
        self, id: str, *, children: ChildrenMode | str = ChildrenMode.RESTRICT, **conditions: Any
    ) -> int:
        """Remove an instance, and see to its children (`restrict`, `orphan`, `cascade`, `reparent`); its revision.

        The removal stands: where this registry does not see it within `read_wait_s`, it is answered all the same.
        """
        revision = await self.lifecycle.deregister(
            id, children=one_of(ChildrenMode, "children", children), **conditions
        )
        await self._seen(revision)
        return revision

    async def would_deregister(
        self, id: str, *, children: ChildrenMode | str = ChildrenMode.RESTRICT, **conditions: Any
    ) -> Ids:
        """The ids that `deregister` would remove, leaves first; raises what it would raise. Changes nothing."""
        return await self.lifecycle.would_deregister(
            id, children=one_of(ChildrenMode, "children", children), **conditions
        )

    async def link(
        self, child_id: str, parent_id: str, *, require_live_parent: bool | None = None, actor: str = ""
    ) -> Record:
        """Put a child under a parent, leaving the one it had. Idempotent."""
        revision = await self.relationships.link(
            child_id, parent_id, require_live_parent=require_live_parent, actor=actor
        )
        return await self.at(child_id, revision)

    async def unlink(self, child_id: str, *, actor: str = "") -> Record:
        """Take a child from its parent and clear its wish. Idempotent."""
        return await self.at(child_id, await self.relationships.unlink(child_id, actor=actor))

    async def adopt(self, *, actor: str = "") -> Records:
        """Link each orphan to the parent of its wish, if that is there. The leading monitor does so by itself.

        Answers what was adopted. One without a wish, one that is refused, or gone meanwhile, is left as it is.
        """
        await self.ready(consistent=True)
        adopted = await self.relationships.adopt(actor=actor)
        return [await self.at(id, revision) for id, revision in adopted.items()]

    async def transition(self, id: str, verb: Verb | str, **conditions: Any) -> Record:
        """Carry an instance to the state a verb leads to. Idempotent."""
        asked = one_of(Verb, "verb", verb)
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

    async def _seen(self, revision: int) -> None:
        """Wait until this registry has a change of its own, which stands all the same where it comes late."""
        with contextlib.suppress(Unavailable):
            await self.view.reach(revision)

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

    def on(self, event: EventType | str | None, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(event)` for each event of a type, or for every one where `event` is None.

        With `since` first for every event after that revision: `callbacks.revision` of a process that ended is where
        another goes on. In the order of the log, at least once, in every process that asks.
        """
        self.callbacks.on(None if event is None else one_of(EventType, "event", event), callback, since=since)

    def on_child_added(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(parent_id, child)` when an instance gets a child."""
        self.callbacks.on_child_added(callback, since=since)

    def on_child_removed(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(parent_id, child)` when an instance loses a child."""
        self.callbacks.on_child_removed(callback, since=since)

    def on_parent_changed(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(child, old_parent_id, new_parent_id)` when a parent changes."""
        self.callbacks.on_parent_changed(callback, since=since)


def _few(name: str, items: Sequence[T]) -> Sequence[T]:
    if len(items) > MAX_BULK:
        raise Invalid(f"{name} has {len(items)} entries, over {MAX_BULK}", field=name, value=len(items))
    return items
