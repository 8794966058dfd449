"""The snapshot of a view and its tail: as new as the log, however much is written, and quickly there."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import redis.asyncio
from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.instance.view import RegistryView
from hopper.model.spec import apply_patch
from hopper.model.state import Verb
from hopper.store.client import command_client
from hopper.store.instances import InstanceStore
from hopper.store.keys import Keys
from hopper.store.log import ChangeLog
from instance.view.viewers import viewer
from specs import spec
from waiting import wait_until


async def churn(store: InstanceStore, name: str, stop: asyncio.Event) -> None:
    """Register, change, move and remove instances until told to stop."""
    turn = 0
    while not stop.is_set():
        turn += 1
        id = f"{name}-{turn}"
        await store.register(spec("orchestration", id, parent_id=f"p{turn % 2}"))
        await store.update(id, lambda record: apply_patch(record, {"tags": ["changed"]}))
        await store.link(id, f"p{(turn + 1) % 2}")
        await store.transition(id, Verb.PAUSE)
        if turn % 3:
            await store.deregister(id)
        if turn % 5 == 0:
            await store.register(spec("orchestration", f"{name}-{turn // 5}", parent_id="p0"))


async def test_a_view_that_loads_while_many_write_equals_a_fresh_snapshot_and_the_hashes(store, client, settings):
    await store.register(spec("global", "g"))
    for project in ("p0", "p1"):
        await store.register(spec("project", project, parent_id="g"))
    for number in range(600):  # more than one batch of the snapshot
        await store.register(spec("orchestration", f"first-{number}", parent_id="p0"))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as writers:
        for name in "abcd":
            writers.create_task(churn(store, name, stop))
        await wait_until(store_has(client, settings, 640))
        async with viewer(settings) as loaded, viewer(settings) as second:
            begun = loaded.view.revision
            await wait_until(lambda: loaded.view.revision > begun + 500)
            stop.set()
            await asyncio.sleep(0)
            await wait_until(lambda: all(task.done() for task in writers._tasks))
            await loaded.agrees(client)
            await second.agrees(client)
            assert loaded.view.reloads == second.view.reloads == 1
            revisions = [event.revision for event in loaded.events]
            assert revisions == list(range(revisions[0], loaded.view.revision + 1))


def store_has(client: redis.asyncio.Redis, settings: Settings, revision: int) -> Callable[[], Any]:
    async def has() -> bool:
        return int(await client.get(Keys(settings.namespace).revision) or 0) >= revision

    return has


async def test_an_event_older_than_the_record_that_was_read_is_not_applied(tree, client, settings):
    """The snapshot reads the records after the revision: the log then tells of changes they have already."""
    opened = await tree.open()
    await tree.update("o", lambda record: apply_patch(record, {"version": "1"}))
    await tree.update("o", lambda record: apply_patch(record, {"version": "2"}))
    await tree.register(spec("orchestration", "gone"))
    await tree.deregister("gone")
    async with contextlib.aclosing(ChangeLog(settings)) as log:
        await log.connect()
        view = RegistryView(settings, tree, log)
        await view._load(opened)
    assert view.replica.records["o"].version == "2"
    assert view.replica.records["o"].revision == 5
    assert "gone" not in view.replica.records
    assert view.revision == 7


async def test_the_next_event_is_applied_only_after_the_one_before(tree, client, settings):
    async with viewer(settings) as one:
        await client.delete(Keys(settings.namespace).events)
        async with client.pipeline(transaction=True) as pipe:  # 4 and 5 are written, and 4 is gone before it is read
            pipe.xadd(one.store.keys.events, {"type": "hold_started", "id": "", "at_ms": "1"}, id="5-0")
            pipe.set(one.store.keys.revision, 5)
            await pipe.execute()
        await wait_until(lambda: one.view.reloads == 2)
        assert one.view.revision == 5
        assert one.told(resync=False) == []


async def test_a_view_of_an_empty_namespace_is_complete_at_revision_zero(settings):
    async with viewer(settings) as one:
        assert (one.view.complete, one.view.revision, one.ids, one.view.stale_ms) == (True, 0, set(), 0)


async def test_what_is_at_the_place_of_a_record_and_is_none_is_left_out_and_named(tree, client, settings):
    await client.hset(Keys(settings.namespace).record("o"), "ttl_ms", "soon")
    await client.delete(Keys(settings.namespace).record("p"))
    await client.sadd(Keys(settings.namespace).record("p"), "a set")
    with capture_logs() as logs:
        async with viewer(settings) as one:
            assert one.ids == {"g"}
            assert set(one.view.replica.unreadable) == {"o", "p"}
            assert one.view.complete
            await tree.register(spec("project", "q"))
            await wait_until(lambda: "q" in one.ids)
    assert {entry["id"] for entry in logs if entry["event"] == "view.unreadable"} == {"o", "p"}
    await client.delete(Keys(settings.namespace).record("p"))


LOAD_S = 15.0


async def test_twenty_thousand_instances_load_in_seconds(store, settings, capsys):
    await store.register(spec("project", "p"))
    await fill(store, 20_000)
    began = time.monotonic()
    async with viewer(settings.model_copy(update={"read_wait_s": LOAD_S})) as one:
        took = time.monotonic() - began
        assert len(one.view.replica) == 20_001
    with capsys.disabled():
        print(f"\n  a view of 20,001 instances loaded in {took:.2f} s")  # noqa: T201
    assert took < LOAD_S


async def fill(store: InstanceStore, count: int) -> None:
    """Copies of one record, with what a view reads of them: registering each would take several seconds."""
    keys = store.keys
    record = await store.client.hgetall(keys.record("p"))
    async with contextlib.aclosing(command_client(store.settings)) as client:
        for start in range(0, count, 2000):
            async with client.pipeline(transaction=False) as pipe:
                for number in range(start, start + 2000):
                    copy = {**record, b"id": f"x{number}", b"name": f"x{number}", b"created_revision": number + 2}
                    pipe.hset(keys.record(f"x{number}"), mapping=copy)
                    pipe.zadd(keys.instances, {f"x{number}": number + 2})
                await pipe.execute()
