"""Viewers: views that run, with all they told, beside a store that writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import redis.asyncio

from census import Census
from hopper.config import Settings
from hopper.instance.replica import Replica
from hopper.instance.view import RegistryView
from hopper.model.event import Event, EventType
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["Viewer", "viewer", "writer"]


@dataclass
class Viewer:
    """A view that runs, and all that it told its listener."""

    settings: Settings
    store: InstanceStore
    log: ChangeLog
    view: RegistryView
    events: list[Event] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def ids(self) -> set[str]:
        return set(self.view.replica.records)

    def told(self, *, resync: bool) -> list[tuple[EventType, str | None]]:
        return [(event.type, event.id) for event in self.events if event.resync is resync]

    async def agrees(self, client: redis.asyncio.Redis) -> None:
        """The view must hold what a fresh snapshot holds, and what the hashes hold."""
        await self.view.catch_up()
        census = await Census.take(client, self.settings.namespace)
        assert self.view.replica.records == census.records
        assert list(self.view.replica.records) == sorted(census.instances, key=census.instances.__getitem__)
        async with viewer(self.settings) as other:
            assert other.view.replica.records == self.view.replica.records
            assert same_indexes(other.view.replica, self.view.replica)
            assert other.view.revision == self.view.revision == census.revision


def same_indexes(one: Replica, other: Replica) -> bool:
    return {key: set(ids) for key, ids in one._index.items()} == {key: set(ids) for key, ids in other._index.items()}


@contextlib.asynccontextmanager
async def viewer(settings: Settings, *, load: bool = True) -> AsyncIterator[Viewer]:
    store, log = InstanceStore(settings), ChangeLog(settings)
    made = Viewer(settings, store, log, RegistryView(settings, store, log))
    made.view.listen(made.events.extend)
    made.task = asyncio.create_task(made.view.run())
    try:
        if load:
            await made.view.reach(0)
        yield made
    finally:
        assert not made.task.done(), "the view ended by itself"
        made.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await made.task
        await log.aclose()
        await store.aclose()


@contextlib.asynccontextmanager
async def writer(settings: Settings) -> AsyncIterator[InstanceStore]:
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store
