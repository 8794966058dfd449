"""Another epoch, or another connection: what a view does when the server is not the one it knew."""

import asyncio
import time
from typing import Any

import redis.asyncio
from structlog.testing import capture_logs

from hopper.model.event import EventType
from hopper.model.spec import apply_patch
from instance.view.viewers import viewer, writer
from servers import RedisServer
from specs import spec
from waiting import wait_until


async def test_a_flush_is_another_epoch_and_the_view_tells_who_went(private_server, own_settings):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await store.register(spec("project", "p", parent_id="g"))
        await wait_until(lambda: len(one.ids) == 2)
        epoch = one.view.epoch
        with capture_logs() as logs, private_server.connect() as direct:
            direct.flushall()
            await wait_until(lambda: one.view.reloads == 2)
        (lost,) = [line for line in logs if line["event"] == "view.lost"]
        assert (lost["instances"], lost["ids"], lost["former"]) == (2, ["g", "p"], epoch)
        assert (one.ids, one.view.revision) == (set(), 0)
        assert one.view.epoch != epoch
        assert one.told(resync=True) == [(EventType.DEREGISTERED, "p"), (EventType.DEREGISTERED, "g")]


async def test_a_flush_whose_revisions_go_on_where_the_view_stood_is_found_while_many_write(
    private_server, own_settings
):
    """The new log continues at the very revision of the view, and never falls silent."""
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "old"))
        await wait_until(lambda: one.view.revision == 1)
        stop = asyncio.Event()

        async def write() -> None:
            await store.register(spec("global", "new"))
            while not stop.is_set():
                await store.update("new", lambda record: apply_patch(record, {"version": str(time.monotonic())}))

        with private_server.connect() as direct:
            direct.flushall()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            await wait_until(lambda: one.ids == {"new"})
            assert one.view.reloads >= 2
            stop.set()


async def test_a_server_that_comes_back_with_the_same_data_costs_a_snapshot_and_tells_nothing(
    private_server, own_settings
):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await wait_until(lambda: one.ids == {"g"})
        one.events.clear()
        await asyncio.to_thread(private_server.kill)
        await wait_until(lambda: not one.view.complete)
        assert one.ids == {"g"}
        await asyncio.to_thread(private_server.restart)
        await wait_until(lambda: one.view.complete)
        assert (one.view.reloads, one.events) == (2, [])


async def test_a_server_that_comes_back_without_the_last_writes_is_another_epoch(private_server, own_settings):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "kept"))
        await asyncio.to_thread(wait_for_aof, private_server)
        kept = aof_of(private_server).stat().st_size
        await store.register(spec("project", "lost"))
        await store.update("kept", lambda record: apply_patch(record, {"version": "lost too"}))
        await wait_until(lambda: one.view.revision == 3)
        one.events.clear()
        await asyncio.to_thread(private_server.kill)
        with aof_of(private_server).open("r+b") as file:
            file.truncate(kept)
        await asyncio.to_thread(private_server.restart)
        await wait_until(lambda: one.view.reloads == 2)
        assert (one.ids, one.view.revision) == ({"kept"}, 1)
        assert one.view.replica.records["kept"].version is None
        assert one.told(resync=True) == [(EventType.DEREGISTERED, "lost"), (EventType.UPDATED, "kept")]
        assert one.events[1].previous == {"version": "lost too"}


def aof_of(server: RedisServer) -> Any:
    (found,) = (server.data_dir / "appendonlydir").glob("*.incr.aof")
    return found


def wait_for_aof(server: RedisServer) -> None:
    """Redis writes to its file before it answers; asking it once more makes sure of that."""
    with server.connect() as direct:
        direct.ping()


async def test_a_killed_connection_is_replaced_and_the_log_goes_on_without_a_snapshot(tree, client, settings):
    async with viewer(settings) as one:
        for number in range(3):
            assert await kill_blocked(client) >= 1
            await tree.register(spec("project", f"n{number}"))
            await wait_until(lambda number=number: f"n{number}" in one.ids)
        assert one.view.reloads == 1
        assert one.told(resync=False) == [(EventType.REGISTERED, f"n{number}") for number in range(3)]


async def kill_blocked(client: redis.asyncio.Redis) -> int:
    """Cut every connection that waits in XREAD."""
    blocked = await wait_until(lambda: blocked_connections(client))
    for entry in blocked:
        await client.client_kill_filter(_id=entry["id"])
    return len(blocked)


async def blocked_connections(client: redis.asyncio.Redis) -> list[Any]:
    return [entry for entry in await client.client_list() if entry["cmd"] == "xread" and "b" in entry["flags"]]


async def test_a_connection_that_was_replaced_without_a_word_is_noticed(tree, client, settings):
    """redis-py connects again by itself; what is read then may come from another server."""
    async with viewer(settings) as one:
        one.log._connects.count += 1
        await wait_until(lambda: one.view.trouble is not None or one.log._connection == one.log._connects.count)
        await tree.register(spec("project", "q"))
        await wait_until(lambda: "q" in one.ids)
        await wait_until(lambda: one.view.complete)
        assert one.view.reloads == 1
