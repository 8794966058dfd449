"""The view: as new as the log, never with a silent hole, and honest about a Redis that is away."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import redis.asyncio
from structlog.testing import capture_logs

from census import Census
from hopper.config import Settings
from hopper.errors import NewerSchema, StoreFault, Unavailable
from hopper.instance.replica import Replica
from hopper.instance.view import RegistryView
from hopper.model.event import Event, EventType
from hopper.model.spec import InstanceSpec, apply_patch, parse_spec
from hopper.model.state import Verb
from hopper.store.client import command_client
from hopper.store.instances import InstanceStore
from hopper.store.keys import Keys
from hopper.store.log import ChangeLog
from servers import RedisServer
from waiting import wait_until


def spec(scope: str, id: str, **fields: Any) -> InstanceSpec:
    return parse_spec({"scope": scope, "id": id, **fields})


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


@pytest.fixture
async def tree(store: InstanceStore) -> InstanceStore:
    """g over p over o; revisions 1 to 3."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    await store.register(spec("orchestration", "o", parent_id="p"))
    return store


@pytest.fixture
def own_settings(private_server: RedisServer, new_settings: Callable[..., Settings]) -> Settings:
    """Settings on a server of this test alone, with a log that answers soon."""
    return new_settings(redis_url=private_server.url, log_block_ms=100)


@contextlib.asynccontextmanager
async def writer(settings: Settings) -> AsyncIterator[InstanceStore]:
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store


# -- snapshot and tail ---------------------------------------------------------------------------------------------


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


# -- gaps ----------------------------------------------------------------------------------------------------------


async def behind(one: Viewer, act: Callable[[], Any]) -> None:
    """Do something while the view does not read, so that it comes to it late."""
    hold = asyncio.Event()
    follow = one.log.follow

    async def waiting_follow(after: int) -> list[Event]:
        await hold.wait()
        return await follow(after)

    one.log.follow = waiting_follow  # type: ignore[method-assign]
    await one.store.transition("g", Verb.PAUSE)  # ends the read under way
    await wait_until(lambda: one.view.replica.records["g"].state == "paused")
    await act()
    one.log.follow = follow  # type: ignore[method-assign]
    hold.set()


@pytest.mark.parametrize("lose", ["trimmed by the log's length", "trimmed by hand", "deleted"])
async def test_a_log_that_lost_what_comes_next_means_a_new_snapshot_and_a_difference(lose, new_settings, client):
    settings = new_settings(log_length=100, log_block_ms=100)
    keys = Keys(settings.namespace)
    async with writer(settings) as store, viewer(settings) as one:
        await store.register(spec("global", "g"))
        await store.register(spec("project", "p", parent_id="g"))
        await wait_until(lambda: one.ids == {"g", "p"})
        one.events.clear()

        async def act() -> None:
            await store.deregister("p")
            for number in range(300 if "length" in lose else 3):
                await store.register(spec("project", f"n{number}", parent_id="g"))
            if "hand" in lose:
                await client.xtrim(keys.events, maxlen=1, approximate=False)
            elif lose == "deleted":
                await client.delete(keys.events)
            await store.update("g", lambda record: apply_patch(record, {"version": "2"})) if "hand" in lose else None

        await behind(one, act)
        await wait_until(lambda: one.view.reloads == 2)
        await one.agrees(client)
        told = one.told(resync=True)
        assert told[0] == (EventType.DEREGISTERED, "p")
        assert (EventType.REGISTERED, "n0") in told
        assert len(told) == len(set(told))


async def test_a_log_that_lost_what_was_read_already_is_no_gap(tree, client, settings):
    async with viewer(settings) as one:
        await client.delete(one.store.keys.events)
        await tree.register(spec("project", "q"))
        await wait_until(lambda: "q" in one.ids)
        assert one.view.reloads == 1
        assert one.told(resync=False) == [(EventType.REGISTERED, "q")]


async def test_scripts_that_were_flushed_are_sent_again(tree, client, settings):
    async with viewer(settings) as one:
        await client.script_flush()
        await tree.register(spec("project", "q"))
        await one.view.catch_up()
        assert "q" in one.ids


async def test_a_strange_entry_of_the_log_costs_one_snapshot_and_is_said(tree, client, settings):
    with capture_logs() as logs:
        async with viewer(settings) as one:
            async with client.pipeline(transaction=True) as pipe:
                pipe.xadd(one.store.keys.events, {"what": "is this"}, id="4-0").set(one.store.keys.revision, 4)
                await pipe.execute()
            await wait_until(lambda: one.view.reloads == 2)
            await tree.register(spec("project", "q"))
            await wait_until(lambda: "q" in one.ids)
            await asyncio.sleep(0)
            assert (one.view.reloads, one.view.complete, one.view.trouble) == (2, True, None)
    assert "4-0" in next(entry["detail"] for entry in logs if entry["event"] == "view.fault")


async def test_an_entry_that_nobody_can_pass_does_not_spin_and_keeps_what_is_there(tree, client, settings):
    """An id that Redis made up lies beyond every revision: nothing can follow it, and each snapshot meets it again."""
    async with viewer(settings) as one:
        await client.xadd(one.store.keys.events, {"what": "is this"})
        began = time.monotonic()
        await wait_until(lambda: one.view.reloads >= 4)
        assert time.monotonic() - began > 0.05 + 0.1 + 0.2 - 0.01
        assert one.view._pause_s >= 0.4
        assert one.ids == {"g", "p", "o"}
        await client.delete(one.store.keys.events)
        one.view._pause_s = 0.05
        await tree.register(spec("project", "q"))
        await wait_until(lambda: "q" in one.ids)


# -- another epoch -------------------------------------------------------------------------------------------------


async def test_a_flush_is_another_epoch_and_the_view_tells_who_went(private_server, own_settings):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await store.register(spec("project", "p", parent_id="g"))
        await wait_until(lambda: len(one.ids) == 2)
        epoch = one.view.epoch
        with private_server.connect() as direct:
            direct.flushall()
        await wait_until(lambda: one.view.reloads == 2)
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


# -- Redis away ----------------------------------------------------------------------------------------------------


async def test_while_redis_is_away_reads_go_on_and_say_how_stale_they_are(private_server, own_settings):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await wait_until(lambda: one.ids == {"g"})
        await asyncio.to_thread(private_server.kill)
        await wait_until(lambda: not one.view.complete)
        first = await wait_until(lambda: one.view.stale_ms)
        await wait_until(lambda: one.view.stale_ms > first + 100)
        assert one.ids == {"g"}
        with pytest.raises(Unavailable):
            await one.view.catch_up()
        await asyncio.to_thread(private_server.restart)
        await wait_until(lambda: one.view.complete)
        assert one.view.stale_ms == 0
        await store.register(spec("project", "p"))
        await wait_until(lambda: "p" in one.ids)


async def test_a_frozen_redis_is_known_to_be_away_within_a_second_and_a_half(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with viewer(settings) as one:
        private_server.pause()
        frozen = time.monotonic()
        await wait_until(lambda: not one.view.complete)
        assert time.monotonic() - frozen < 1.5
        await wait_until(lambda: one.view.stale_ms > 1200)
        private_server.resume()
        await wait_until(lambda: one.view.complete)


async def test_a_view_that_starts_before_redis_loads_when_redis_comes(private_server, own_settings):
    await asyncio.to_thread(private_server.stop)
    async with viewer(own_settings, load=False) as one:
        with pytest.raises(Unavailable, match=r"has not loaded within 0\.2 s: Redis is away"):
            await one.view.reach(0, timeout_s=0.2)
        assert not one.view.loaded.is_set()
        await asyncio.to_thread(private_server.restart)
        await one.view.reach(0, timeout_s=5)
        assert one.view.complete


SPOILT: dict[str, Callable[[redis.Redis, Keys], Any]] = {
    "a log of another type": lambda direct, keys: direct.set(keys.events, "x"),
    "a revision that is no number": lambda direct, keys: direct.set(keys.revision, "x"),
    "instances of another type": lambda direct, keys: direct.set(keys.instances, "x"),
    "holds of another type": lambda direct, keys: direct.set(keys.holds, "x"),
    "keys of a newer version": lambda direct, keys: direct.set(keys.schema, "99"),
    "an epoch of another type": lambda direct, keys: direct.sadd(keys.epoch, "x"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
async def test_a_view_survives_whatever_redis_answers_and_follows_again_once_it_is_mended(
    spoil, private_server, own_settings
):
    keys = Keys(own_settings.namespace)
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await wait_until(lambda: one.ids == {"g"})
        with private_server.connect() as direct:
            mended = {name: direct.dump(name) for name in direct.keys("*")}
            direct.delete(keys.epoch)  # so that a new snapshot is needed
            spoil(direct, keys)
            look_again(direct)
            await wait_until(lambda: isinstance(one.view.trouble, StoreFault))
            assert one.ids == {"g"}
            assert not one.view.complete
            for name, value in mended.items():
                direct.restore(name, 0, value, replace=True)
            if keys.holds.encode() not in mended:
                direct.delete(keys.holds)
        await wait_until(lambda: one.view.complete)
        await store.register(spec("project", "p"))
        await wait_until(lambda: "p" in one.ids)


def look_again(direct: redis.Redis) -> None:
    """Make every client connect anew, so that it looks at all keys again."""
    direct.client_kill_filter(_type="normal", skipme=True)


async def test_a_fault_that_keeps_the_first_snapshot_from_being_taken_is_told_at_once(store, client, settings):
    await client.set(store.keys.schema, "99")
    async with viewer(settings, load=False) as one:
        with pytest.raises(NewerSchema, match="upgrade"):
            await one.view.reach(0)
        with pytest.raises(NewerSchema, match="upgrade"):
            await one.view.reach(0)
    await client.set(store.keys.schema, "1")


async def test_a_fault_of_the_code_itself_is_reported_and_does_not_end_the_view(tree, settings):
    async with viewer(settings) as one:
        with capture_logs() as logs:

            def broken(_: Event) -> None:
                del one.view.replica.__dict__["apply"]
                raise ZeroDivisionError

            one.view.replica.__dict__["apply"] = broken
            await tree.register(spec("project", "q"))
            await wait_until(lambda: "q" in one.ids)
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["view.failed", "view.fault"]
        assert one.view.reloads == 2


# -- waiting for a revision ----------------------------------------------------------------------------------------


async def test_reach_waits_for_a_revision_and_no_longer(tree, settings):
    async with viewer(settings) as one:
        waiting = asyncio.create_task(one.view.reach(5))
        await tree.transition("o", Verb.PAUSE)
        await wait_until(lambda: one.view.revision == 4)
        assert not waiting.done()
        await tree.transition("o", Verb.RESUME)
        await waiting
        assert one.view.revision == 5


async def test_reach_gives_up_after_its_time_and_leaves_nothing_behind(tree, settings):
    async with viewer(settings) as one:
        for _ in range(20):
            with pytest.raises(Unavailable, match=r"revision 99 has not arrived here within 0\.01 s"):
                await one.view.reach(99, timeout_s=0.01)
        cancelled = asyncio.create_task(one.view.reach(99))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert one.view._waiting == []


async def test_a_consistent_read_sees_what_another_client_wrote_just_before(tree, settings):
    async with viewer(settings) as one, writer(settings) as other:
        for number in range(50):
            await other.register(spec("project", f"n{number}"))
            await one.view.catch_up()
            assert f"n{number}" in one.ids


async def test_a_consistent_read_after_a_flush_sees_the_new_epoch(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, log_block_ms=2000)
    async with writer(settings) as store, viewer(settings) as one:
        for number in range(5):
            await store.register(spec("project", f"old{number}"))
        await wait_until(lambda: one.view.revision == 5)
        with private_server.connect() as direct:
            direct.flushall()
        await store.register(spec("project", "new"))
        await one.view.catch_up()
        assert one.ids == {"new"}


# -- listeners -----------------------------------------------------------------------------------------------------


async def test_a_listener_that_raises_is_reported_and_stops_nobody(tree, settings):
    def broken(_: list[Event]) -> None:
        raise RuntimeError

    async with viewer(settings) as one:
        one.view._listeners.insert(0, broken)
        with capture_logs() as logs:
            await tree.register(spec("project", "q"))
            await tree.register(spec("project", "r"))
            await wait_until(lambda: len(one.events) == 2)
        assert "view.listener_failed" in [entry["event"] for entry in logs]
        assert one.view.complete


async def test_a_listener_that_was_stopped_hears_no_more(tree, settings):
    async with viewer(settings) as one:
        heard: list[Event] = []
        stop = one.view.listen(heard.extend)
        await tree.register(spec("project", "q"))
        await wait_until(lambda: heard)
        stop()
        stop()
        await tree.register(spec("project", "r"))
        await wait_until(lambda: len(one.events) == 2)
        assert [event.id for event in heard] == ["q"]


# -- how long it takes ---------------------------------------------------------------------------------------------


async def test_twenty_thousand_instances_load_in_seconds(store, settings, capsys):
    await store.register(spec("project", "p"))
    await fill(store, 20_000)
    began = time.monotonic()
    async with viewer(settings) as one:
        took = time.monotonic() - began
        assert len(one.view.replica) == 20_001
    with capsys.disabled():
        print(f"\n  a view of 20,001 instances loaded in {took:.2f} s")  # noqa: T201
    assert took < 15


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
