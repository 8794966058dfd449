"""Guarding: a tree of which many fall silent, what became of them, and what the log tells of guards."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.spec import parse_spec
from hopper.store.instances import InstanceStore
from instance.lapses import TTL_MS, Story

__all__ = ["LIVES_MS", "all_are", "beat", "guard_events", "healths", "populate"]

LIVES_MS = 9_900
"""Just below ten TTLs, above which a heartbeat would be cut."""


async def populate(
    store: InstanceStore,
    sizes: dict[str, int],
    *,
    silent: Sequence[str] = (),
    more: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """A Global over Projects with so many Orchestrations each, all with one heartbeat for a long time.

    Those that are to be `silent` have none, and lapse one TTL after their registration. `more` are fields by id.
    """
    specs = [{"scope": "global", "id": "g"}]
    specs += [{"scope": "project", "id": project, "parent_id": "g", **more.get(project, {})} for project in sizes]
    specs += [
        {
            "scope": "orchestration",
            "id": f"{project}-{number}",
            "parent_id": project,
            **more.get(f"{project}-{number}", {}),
        }
        for project, size in sizes.items()
        for number in range(size)
    ]
    await store.register_many([parse_spec({"ttl_ms": TTL_MS, **fields}) for fields in specs])
    await beat(store, [str(fields["id"]) for fields in specs if fields["id"] not in silent])


async def beat(store: InstanceStore, ids: Sequence[str], *, for_ms: int = LIVES_MS) -> None:
    async with store.client.pipeline(transaction=False) as pipe:
        for id in ids:
            pipe.set(store.keys.heartbeat(id), "{}", px=for_ms)
        await pipe.execute()


async def healths(store: InstanceStore, ids: Sequence[str]) -> set[Health]:
    records = [await store.read(id) for id in ids]
    return {record.health for record in records if record is not None}


def all_are(store: InstanceStore, ids: Sequence[str], health: Health) -> Callable[[], Awaitable[bool]]:
    async def are() -> bool:
        return await healths(store, ids) == {health}

    return are


async def guard_events(story: Story) -> list[Event]:
    return [event for event in await story.all() if event.type in {EventType.GUARD_RAISED, EventType.GUARD_RELEASED}]
