"""A session: a program's membership, kept alive by a thread of its own and ended in order."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from census import Census
from hopper import InstanceSession, InstanceSpec, Scope, Settings, State, Superseded
from hopper.errors import Exists, GlobalExists, Invalid, NameTaken, NotFound, StaleIncarnation, Unavailable
from hopper.instance import session as session_module
from hopper.model.heartbeat import parse_heartbeat
from hopper.model.record import Record
from hopper.model.spec import apply_patch, parse_spec
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from waiting import wait_until

TTL_MS = 1000


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(ttl_ms=TTL_MS)


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    """No thread and no task may outlive its session."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pacemaker")] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_ADOPTION_PAUSE_S", 0.05)


async def add(store: InstanceStore, scope: str, id: str, **fields: Any) -> None:
    await store.register(parse_spec({"scope": scope, "id": id, **fields}))


async def beating(client: redis.asyncio.Redis, store: InstanceStore, id: str) -> bool:
    return bool(await client.exists(store.keys.heartbeat(id)))


async def parent_of(store: InstanceStore, id: str) -> str | None:
    record = await store.read(id)
    assert record is not None
    return record.parent_id


# -- coming --------------------------------------------------------------------------------------------------------


async def test_a_session_registers_and_leaves_no_trace_of_an_ephemeral_instance(store, client, settings):
    async with InstanceSession(scope="orchestration", name="worker", settings=settings) as session:
        record = await session.record()
        assert (record.state, record.name, record.incarnation) == (State.RUNNING, "worker", session.incarnation)
        assert await beating(client, store, session.id)
    assert await store.read(session.id) is None
    assert not await beating(client, store, session.id)
    census = await Census.take(client, settings.namespace)
    assert census.problems == []
    assert [event.reason for event in census.events if event.reason] == ["exit"] * 3


async def test_a_spec_does_as_its_fields_do(store, settings):
    spec = InstanceSpec(scope=Scope.PROJECT, id="p")
    async with InstanceSession(spec, settings=settings) as session:
        assert (await session.record()).id == "p"
    assert (await store.read("p")).state is State.STOPPED


async def test_a_bad_field_is_refused_before_anything_is_asked_of_redis():
    with pytest.raises(Invalid, match="scope"):
        InstanceSession(scope="team", settings=Settings(redis_url="redis://127.0.0.1:1"))


async def test_a_session_without_redis_says_so(new_settings):
    with pytest.raises(Unavailable):
        async with InstanceSession(scope="project", settings=new_settings(redis_url="redis://127.0.0.1:1")):
            pass


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"scope": "global", "id": "g2"}, GlobalExists),
        ({"scope": "project", "id": "taken", "takeover": "never"}, Exists),
        ({"scope": "orchestration", "id": "o", "parent_id": "nobody"}, NotFound),
    ],
    ids=["a second global", "an id that is taken", "a parent by name that is not there"],
)
async def test_a_refused_registration_is_raised_on_entry(fields, error, store, settings):
    await add(store, "global", "g")
    await add(store, "project", "taken")
    with pytest.raises(error):
        async with InstanceSession(settings=settings, **fields):
            pytest.fail("the body must not run")


# -- finding a parent ----------------------------------------------------------------------------------------------


async def test_a_project_finds_the_global(store, settings):
    await add(store, "global", "g")
    async with InstanceSession(scope="project", id="p", settings=settings):
        assert await parent_of(store, "p") == "g"


@pytest.mark.parametrize(
    "wish", [{"id": "web"}, {"name": "the web"}, {"tags": ["eu", "fast"]}], ids=lambda wish: next(iter(wish))
)
async def test_an_orchestration_finds_the_project_of_its_wish(wish, store, settings):
    await add(store, "project", "slow", tags=["eu"])
    await add(store, "project", "web", name="the web", tags=["fast", "eu"])
    await add(store, "project", "younger", tags=["fast", "eu"])
    async with InstanceSession(scope="orchestration", id="o", wish=wish, settings=settings):
        assert await parent_of(store, "o") == "web"


@pytest.mark.parametrize(
    "wish", [{"id": "web"}, {"name": "the web"}, {"tags": ["eu"]}], ids=lambda wish: next(iter(wish))
)
async def test_it_is_adopted_when_the_parent_appears_later(wish, store, settings):
    async with InstanceSession(scope="orchestration", id="o", wish=wish, settings=settings):
        assert await parent_of(store, "o") is None
        await add(store, "project", "web", name="the web", tags=["eu"])
        await wait_until(lambda: adopted(store, "o", "web"))


async def adopted(store: InstanceStore, id: str, parent_id: str) -> bool:
    return await parent_of(store, id) == parent_id


async def test_a_project_is_adopted_when_the_global_appears_later(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings):
        await add(store, "global", "g")
        await wait_until(lambda: adopted(store, "p", "g"))


async def test_without_a_wish_an_orchestration_stays_an_orphan(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", settings=settings) as session:
        await wait_until(lambda: not session._orphan)
        assert await parent_of(store, "o") is None


async def test_a_parent_of_a_wish_that_is_full_makes_an_orphan_that_waits_for_room(store, settings):
    await add(store, "project", "web", max_children=1)
    await add(store, "orchestration", "first", parent_id="web")
    async with InstanceSession(scope="orchestration", id="o", wish={"id": "web"}, settings=settings):
        assert await parent_of(store, "o") is None
        await store.deregister("first")
        await wait_until(lambda: adopted(store, "o", "web"))


async def test_a_new_incarnation_keeps_the_parent_it_was_moved_to(store, settings):
    await add(store, "project", "web", tags=["eu"])
    await add(store, "project", "other")
    fields = {"scope": "orchestration", "id": "o", "wish": {"tags": ["eu"]}, "ephemeral": False, "settings": settings}
    async with InstanceSession(**fields):
        await store.link("o", "other")
    async with InstanceSession(**fields):
        assert await parent_of(store, "o") == "other"
    async with InstanceSession(**fields | {"wish": {"name": "web"}}):
        assert await parent_of(store, "o") == "web"


# -- heartbeats ----------------------------------------------------------------------------------------------------


class Watcher(threading.Thread):
    """Looks at one key in a thread of its own, as an outsider would."""

    def __init__(self, server: Any, key: str) -> None:
        super().__init__()
        self.left_ms: list[int] = []
        self._server, self._key, self._stopping = server, key, threading.Event()

    def run(self) -> None:
        with self._server.connect() as direct:
            while not self._stopping.wait(0.01):
                self.left_ms.append(direct.pttl(self._key))

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()


async def test_heartbeats_come_at_a_third_of_the_ttl_though_the_event_loop_is_blocked(server, store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        with Watcher(server, store.keys.heartbeat("p")) as watcher:
            began, beats = time.monotonic(), session._pacemaker.beats
            time.sleep(2 * TTL_MS / 1000)  # the fault: a program that does not give the loop back
            beats, took_s = session._pacemaker.beats - beats, time.monotonic() - began
        assert took_s * 1000 / TTL_MS * 3 / 1.1 - 1 <= beats <= took_s * 1000 / TTL_MS * 3 / 0.9 + 1
        assert min(watcher.left_ms) > TTL_MS / 3
        assert (await session.record()).incarnation == session.incarnation


async def test_heartbeats_carry_the_metrics_and_the_incarnation(store, settings):
    count = iter(range(1000))
    async with InstanceSession(
        scope="project", id="p", settings=settings, metrics=lambda: {"queue_depth": next(count)}
    ) as session:
        await wait_until(lambda: reported(store, "queue_depth", 2))
        value, _ = await store.read_heartbeat("p")
        metrics = parse_heartbeat(value)
        assert (metrics.incarnation, metrics.problems) == (session.incarnation, ())


async def reported(store: InstanceStore, name: str, at_least: int) -> bool:
    value, _ = await store.read_heartbeat("p")
    return (parse_heartbeat(value or b"").as_json().get(name) or 0) >= at_least


def raising() -> dict[str, Any]:
    raise RuntimeError("a fault of the caller's")


@pytest.mark.parametrize(
    "metrics",
    [raising, lambda: {"x": "y" * 5000}, lambda: {"x": object()}, lambda: None],
    ids=["raises", "too large", "no JSON", "nothing"],
)
async def test_metrics_that_cannot_be_had_cost_the_metrics_and_not_the_heartbeat(metrics, store, client, settings):
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings, metrics=metrics) as session:
            await wait_until(lambda: session._pacemaker.beats >= 2)
            value, _ = await store.read_heartbeat("p")
            assert parse_heartbeat(value).as_json() == {"incarnation": session.incarnation}
    assert "pacemaker.metrics_failed" in {entry["event"] for entry in logs}


async def test_an_answer_that_nobody_expects_does_not_end_the_heartbeats(store, client, settings):
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await client.hset(store.keys.record("p"), "incarnation", "x")
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "pacemaker.failing"])
            await client.hset(store.keys.record("p"), "incarnation", session.incarnation)
            beats = session._pacemaker.beats
            await wait_until(lambda: session._pacemaker.beats > beats + 1)


# -- losing the registration ---------------------------------------------------------------------------------------


async def overtaken(session: InstanceSession, store: InstanceStore, **usurper: Any) -> None:
    """A body in which another registration takes the id."""
    async with session:
        await add(store, "project", **{"id": session.id, "ttl_ms": TTL_MS, **usurper})
        await asyncio.sleep(30)


async def test_a_superseded_session_raises_in_its_body_and_stops_beating(store, client, settings):
    session = InstanceSession(scope="project", id="p", settings=settings)
    with pytest.raises(Superseded, match="'p'"):
        await overtaken(session, store)
    assert not session._pacemaker.is_alive()
    record = await store.read("p")
    assert record.incarnation > session.incarnation
    assert record.state is State.RUNNING
    await wait_until(lambda: lapsed(client, store, "p"), timeout_s=3)


async def lapsed(client: redis.asyncio.Redis, store: InstanceStore, id: str) -> bool:
    return not await beating(client, store, id)


async def test_of_two_sessions_with_one_id_the_later_stays(store, settings):
    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings):
            await asyncio.sleep(30)

    first = asyncio.create_task(program())
    await wait_until(lambda: store.read("p"))
    async with InstanceSession(scope="project", id="p", settings=settings) as second:
        with pytest.raises(Superseded):
            await first
        assert (await second.record()).incarnation == second.incarnation
        assert (await second.record()).state is State.RUNNING
        assert second._pacemaker.is_alive()
    assert (await store.read("p")).state is State.STOPPED


async def test_a_record_that_vanished_is_registered_again(store, settings):
    async with InstanceSession(scope="project", id="p", tags=["x"], settings=settings) as session:
        first = session.incarnation
        await store.deregister("p")
        await wait_until(lambda: session.registrations == 2)
        record = await session.record()
        assert (record.tags, record.incarnation) == (("x",), session.incarnation)
        assert session.incarnation > first
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats)


async def test_one_that_vanished_with_its_parent_comes_back_under_it_when_that_is_back(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", parent_id="web", settings=settings) as session:
        await store.unlink("o")
        await store.deregister("web")
        await store.deregister("o")
        with capture_logs() as logs:
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "session.not_registered"])
        await add(store, "project", "web")
        await wait_until(lambda: session.registrations == 2)
        assert await parent_of(store, "o") == "web"


async def test_a_refusal_to_be_registered_again_ends_the_body(store, settings):
    async def program() -> None:
        async with InstanceSession(scope="project", id="p", name="web", settings=settings):
            await store.update("p", lambda record: apply_patch(record, {"name": "renamed"}))
            await add(store, "project", "usurper", name="web")
            await store.deregister("p")
            await asyncio.sleep(30)

    with pytest.raises(NameTaken, match="'usurper'"):
        await program()


async def test_a_session_goes_on_when_redis_comes_back_from_its_file(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await asyncio.to_thread(private_server.kill)
        await asyncio.to_thread(private_server.restart)
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats + 1)
        assert session.registrations == 1
        assert (await session.record()).incarnation == session.incarnation
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        assert (await store.read("p")).state is State.STOPPED


async def test_a_session_whose_redis_lost_everything_registers_again(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        with private_server.connect() as direct:
            direct.flushall()
        await wait_until(lambda: session.registrations == 2)
        assert (await session.record()).id == "p"


async def test_an_orphan_that_waits_outlasts_a_redis_that_is_away(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await asyncio.to_thread(private_server.kill)
        with capture_logs() as logs:
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "session.not_adopted"])
        await asyncio.to_thread(private_server.restart)
        async with contextlib.aclosing(InstanceStore(settings)) as store:
            await add(store, "global", "g")
            await wait_until(lambda: adopted(store, "p", "g"))
        assert session.registrations == 1


# -- leaving -------------------------------------------------------------------------------------------------------


async def leave(settings: Settings, **fields: Any) -> InstanceSession:
    async with InstanceSession(settings=settings, **{"scope": "project", "id": "p", **fields}) as session:
        pass
    return session


async def read(store: InstanceStore, id: str = "p") -> Record | None:
    return await store.read(id)


async def test_one_that_is_not_ephemeral_is_stopped_and_stays(store, client, settings):
    await leave(settings)
    assert (await read(store)).state is State.STOPPED
    assert not await beating(client, store, "p")


async def test_an_ephemeral_one_with_children_is_stopped_and_stays(store, settings):
    async with InstanceSession(scope="project", id="p", ephemeral=True, settings=settings):
        await add(store, "orchestration", "o", parent_id="p")
    assert (await read(store)).state is State.STOPPED


@pytest.mark.parametrize("state", ["created", "starting", "running"])
async def test_whatever_state_it_came_in_it_leaves_in_order(state, store, settings):
    await leave(settings, state=state, ephemeral=True)
    assert await read(store) is None


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.STOP, Verb.FAIL])
async def test_whatever_state_it_reached_it_leaves_in_order(verb, store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await session.transition(verb, reason="test")
    assert (await read(store)).state is (State.FAILED if verb is Verb.FAIL else State.STOPPED)


async def test_a_newer_incarnation_is_left_alone(store, settings):
    with contextlib.suppress(Superseded):
        async with InstanceSession(scope="project", id="p", ephemeral=True, settings=settings) as session:
            await add(store, "project", "p")
            with pytest.raises(StaleIncarnation):
                await session.transition(Verb.PAUSE)
    assert (await read(store)).state is State.RUNNING


async def test_the_bodys_own_exception_passes_through_unchanged(store, settings):
    error = LookupError("the body's own")
    with pytest.raises(LookupError) as raised:
        async with InstanceSession(scope="project", id="p", settings=settings):
            raise error
    assert raised.value is error
    assert (await read(store)).state is State.STOPPED


async def test_an_exception_group_of_the_body_passes_through_unchanged(settings):
    group = ExceptionGroup("the body's own", [ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as raised:
        async with InstanceSession(scope="project", id="p", settings=settings):
            raise group
    assert raised.value is group


async def test_a_cancelled_body_leaves_in_order_and_stays_cancelled(store, settings):
    entered = asyncio.Event()

    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings):
            entered.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(program())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await read(store)).state is State.STOPPED


async def test_a_timeout_around_the_body_is_a_timeout(store, settings):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), InstanceSession(scope="project", id="p", settings=settings):
            await asyncio.sleep(30)
    assert (await read(store)).state is State.STOPPED


async def test_leaving_without_redis_is_said_and_does_not_raise(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings):
            await asyncio.to_thread(private_server.kill)
    assert "session.not_left" in {entry["event"] for entry in logs}


# -- the synchronous door ------------------------------------------------------------------------------------------


async def test_a_plain_with_does_the_same_in_a_thread(store, settings):
    def program() -> tuple[str, Any]:
        with InstanceSession(scope="project", id="p", settings=settings) as session:
            time.sleep(TTL_MS / 1000)
            return session.id, session._pacemaker.beats

    id, beats = await asyncio.to_thread(program)
    assert (id, (await read(store)).state) == ("p", State.STOPPED)
    assert beats >= 2


async def test_a_plain_with_passes_the_bodys_exception_on(store, settings):
    def program() -> None:
        with InstanceSession(scope="project", id="p", settings=settings):
            raise LookupError("the body's own")

    with pytest.raises(LookupError, match="the body's own"):
        await asyncio.to_thread(program)
    assert (await read(store)).state is State.STOPPED


async def test_a_plain_with_raises_superseded_at_its_end(store, settings):
    entered, go_on = threading.Event(), threading.Event()

    def program() -> None:
        with InstanceSession(scope="project", id="p", settings=settings) as session:
            entered.set()
            assert go_on.wait(10)
            session._pacemaker.join(10)

    running = asyncio.create_task(asyncio.to_thread(program))
    await asyncio.to_thread(entered.wait, 10)
    await add(store, "project", "p")
    go_on.set()
    with pytest.raises(Superseded):
        await running
    assert (await read(store)).state is State.RUNNING


async def test_a_plain_with_that_cannot_enter_says_why(new_settings):
    def program() -> None:
        with InstanceSession(scope="project", settings=new_settings(redis_url="redis://127.0.0.1:1")):
            pytest.fail("the body must not run")

    with pytest.raises(Unavailable):
        await asyncio.to_thread(program)
