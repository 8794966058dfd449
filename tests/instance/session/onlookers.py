"""Onlookers of a session: what others register beside it, and what they see of it in Redis."""

from typing import Any

import redis.asyncio

from hopper.model.record import Record
from hopper.store.instances import InstanceStore
from specs import spec

__all__ = ["TTL_MS", "add", "adopted", "beating", "parent_of", "read"]

TTL_MS = 1000


async def add(store: InstanceStore, scope: str, id: str, **fields: Any) -> None:
    await store.register(spec(scope, id, **fields))


async def beating(client: redis.asyncio.Redis, store: InstanceStore, id: str) -> bool:
    return bool(await client.exists(store.keys.heartbeat(id)))


async def parent_of(store: InstanceStore, id: str) -> str | None:
    record = await store.read(id)
    assert record is not None
    return record.parent_id


async def adopted(store: InstanceStore, id: str, parent_id: str) -> bool:
    return await parent_of(store, id) == parent_id


async def read(store: InstanceStore, id: str = "p") -> Record | None:
    return await store.read(id)
