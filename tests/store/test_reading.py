"""Reading from the store: names, snapshots and who watches."""

import pytest

from specs import spec

pytestmark = pytest.mark.usefixtures("agrees")


async def test_what_is_not_there_is_read_as_none(store):
    assert await store.read("nobody") is None
    assert await store.read_name("project", "nobody") is None
    assert await store.surveillance() == (None, {})


async def test_a_name_is_found_in_its_scope_only(store):
    await store.register(spec("project", "p", name="web"))
    assert await store.read_name("project", "web") == "p"
    assert await store.read_name("orchestration", "web") is None


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 11])
async def test_a_snapshot_has_every_record_once_in_the_order_of_creation(count, store, monkeypatch):
    monkeypatch.setattr("hopper.store.reading._READ_BATCH", 5)
    ids = [f"p{(i * 7919) % 100003}" for i in range(count)]
    for id in ids:
        await store.register(spec("project", id))
    batches = [batch async for batch in store.snapshot()]
    assert [record.id for batch in batches for record in batch] == ids
    assert all(len(batch) <= 5 for batch in batches)


async def test_a_snapshot_leaves_out_what_is_removed_meanwhile(store, monkeypatch):
    monkeypatch.setattr("hopper.store.reading._READ_BATCH", 5)
    for i in range(6):
        await store.register(spec("project", f"p{i}"))
    seen = []
    async for batch in store.snapshot():
        seen.extend(record.id for record in batch)
        if len(seen) == 5:
            await store.deregister("p5")
    assert seen == [f"p{i}" for i in range(5)]


async def test_surveillance_tells_the_leader_and_what_is_in_force(store):
    await store.client.set(store.keys.monitor, "m1", px=60_000)
    await store.client.hset(store.keys.holds, "hold", '{"reason":"stall"}')
    assert await store.surveillance() == ("m1", {"hold": {"reason": "stall"}})
