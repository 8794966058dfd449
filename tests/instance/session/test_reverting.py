"""Redis that comes back with older data: a lagging replica was promoted, or a file restored."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper import InstanceSession, Settings, State, Superseded
from hopper.model.record import Record
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.session.onlookers import TTL_MS, add
from proxy import Proxy
from servers import RedisServer, free_port
from specs import known
from waiting import until_ended, wait_until

Open = Callable[[], contextlib.AbstractAsyncContextManager[InstanceStore]]
TAKEOVERS = ["always", "if-dead", "never"]


@pytest.fixture
def saving(tmp_path: Path, server: RedisServer) -> Iterator[RedisServer]:
    """A server whose file holds what was there when it was last told to save."""
    with RedisServer(tmp_path / "saving", which=server.which) as own:
        yield own


@pytest.fixture
def settings(saving: RedisServer, new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(redis_url=saving.url, ttl_ms=TTL_MS)


@pytest.fixture
def opened(settings: Settings) -> Open:
    """A store of its own, for a server that comes and goes."""

    @contextlib.asynccontextmanager
    async def open_store() -> AsyncIterator[InstanceStore]:
        async with contextlib.aclosing(InstanceStore(settings)) as store:
            await store.open()
            yield store

    return open_store


def save(server: RedisServer) -> None:
    with server.connect() as direct:
        direct.save()


async def go_back(server: RedisServer, *stores: InstanceStore) -> None:
    """Lose what came since the last save, and the connections."""
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)
    for store in stores:
        await store.client.connection_pool.disconnect()


async def beats_on(session: InstanceSession) -> None:
    pacemaker = session._pacemaker
    beats = pacemaker.beats
    await wait_until(lambda: session._pacemaker is pacemaker and pacemaker.beats > beats)


@pytest.mark.parametrize("takeover", TAKEOVERS)
async def test_a_session_that_finds_what_was_before_it_registers_again(takeover, saving, settings, opened):
    async with opened() as store:
        await add(store, "project", "p", state="stopped")
        save(saving)
        await store.deregister("p")
        async with InstanceSession(scope="project", id="p", takeover=takeover, settings=settings) as session:
            await session.transition(Verb.PAUSE)
            lost = session.incarnation
            await go_back(saving, store)
            await wait_until(lambda: session.registrations == 2)
            record = await session.record()
            assert (record.incarnation, record.state) == (session.incarnation, State.PAUSED)
            assert session.incarnation < lost
            await beats_on(session)
        assert (await known(store, "p")).state is State.STOPPED


@pytest.mark.parametrize("takeover", TAKEOVERS)
async def test_the_heartbeat_that_was_before_it_is_not_taken_for_another_program(takeover, saving, settings, opened):
    async with (
        opened() as store,
        InstanceSession(scope="project", id="p", ttl_ms=3 * TTL_MS, takeover=takeover, settings=settings) as session,
    ):
        save(saving)
        before = session.incarnation
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: session.registrations == 2)
        await go_back(saving, store)
        record, (_, left_ms) = await known(store, "p"), await store.read_heartbeat("p")
        assert (record.incarnation, left_ms > 0) == (before, True)
        await wait_until(lambda: session.registrations == 3)
        assert (await session.record()).incarnation == session.incarnation
        await beats_on(session)


@pytest.mark.parametrize("whose", ["child", "check"])
async def test_a_heartbeat_that_may_be_of_its_own_program_does_not_stand_in_its_way(whose, saving, settings, opened):
    checked = {"address": "127.0.0.1:9", "check": {"tcp": True, "interval_s": 1}, "ttl_ms": 5000}
    fields: dict[str, Any] = checked if whose == "check" else {}
    async with opened() as store:
        await add(store, "project", "p", **fields)
        save(saving)
        await store.deregister("p")
        async with InstanceSession(
            scope="project", id="p", takeover="if-dead", heartbeats=whose != "child", settings=settings, **fields
        ) as session:
            await go_back(saving, store)

            async def registered() -> bool:
                await store.heartbeat("p", ttl_ms=60_000)
                return session.registrations == 2

            await wait_until(registered)


async def other_runs(store: InstanceStore, incarnation: int) -> Record | None:
    record = await store.read("p")
    return record if record is not None and record.incarnation != incarnation and record.monitored else None


class Programs:
    """Two programs with one id, the first of which can be cut off from Redis."""

    def __init__(self, settings: Settings, cut_off: Settings, **fields: Any) -> None:
        self.fields = {"scope": "project", "id": "p", "ttl_ms": TTL_MS, **fields}
        self._settings = (cut_off, settings)
        self._tasks: list[asyncio.Task[None]] = []
        self.sessions: list[InstanceSession] = []

    async def start(self) -> InstanceSession:
        """Start the next one; answers its session once it has registered."""
        settings = self._settings[len(self.sessions)]
        session = InstanceSession(settings=settings, **self.fields)
        self.sessions.append(session)
        entered = asyncio.Event()

        async def run() -> None:
            async with session:
                entered.set()
                await until_ended()

        self._tasks.append(asyncio.create_task(run()))
        await asyncio.wait_for(entered.wait(), 10)
        return session

    async def the_one_that_stays(self) -> InstanceSession:
        """The one that is left after the other has ended with `Superseded`."""
        (ended,), (stays,) = await asyncio.wait(self._tasks, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Superseded, match="'p'"):
            await ended
        return self.sessions[self._tasks.index(stays)]

    async def __aenter__(self) -> "Programs":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize("takeover", TAKEOVERS)
@pytest.mark.parametrize("saved", ["neither", "the first", "one before both"])
async def test_of_two_that_hold_the_id_after_it_exactly_one_stays(
    saved, takeover, saving, settings, opened, new_settings
):
    async with Proxy(saving.port) as proxy, opened() as store:
        cut_off = new_settings(redis_url=proxy.url, namespace=settings.namespace)
        if saved == "one before both":
            await add(store, "project", "p", ttl_ms=TTL_MS)
        save(saving)
        if takeover != "always":
            await deregistered(store)
        async with Programs(settings, cut_off, takeover=takeover) as programs:
            first = await programs.start()
            if saved == "the first":
                save(saving)
            proxy.retarget(free_port())
            if takeover == "never":
                await deregistered(store)
            second = await started(programs, store)
            assert second.incarnation > first.incarnation
            await go_back(saving, store)
            proxy.retarget(saving.port)
            session = await programs.the_one_that_stays()
            await wait_until(lambda: holds(session, store))
            await beats_on(session)


async def deregistered(store: InstanceStore) -> None:
    with contextlib.suppress(Exception):
        await store.deregister("p")


async def started(programs: Programs, store: InstanceStore) -> InstanceSession:
    """The second program, once the heartbeat of the first has lapsed where it must not live."""

    async def lapsed() -> bool:
        return (await store.read_heartbeat("p"))[1] < 0

    if programs.fields["takeover"] == "if-dead":
        await wait_until(lapsed)
    return await programs.start()


async def holds(session: InstanceSession, store: InstanceStore) -> bool:
    record = await store.read("p")
    return record is not None and record.incarnation == session.incarnation


@pytest.mark.parametrize("takeover", TAKEOVERS)
async def test_of_two_with_the_very_same_number_exactly_one_stays(takeover, saving, settings, opened, new_settings):
    async with Proxy(saving.port) as proxy, opened() as store:
        cut_off = new_settings(redis_url=proxy.url, namespace=settings.namespace)
        save(saving)
        async with Programs(settings, cut_off, takeover=takeover) as programs:
            first = await programs.start()
            await wait_until(lambda: first._pacemaker.beats > 0)
            proxy.retarget(free_port())
            await go_back(saving, store)
            second = await programs.start()
            assert second.incarnation == first.incarnation
            proxy.retarget(saving.port)
            session = await programs.the_one_that_stays()
            await wait_until(lambda: holds(session, store))
            await beats_on(session)


async def test_one_that_is_started_anew_is_not_taken_for_another(saving, settings, opened):
    async with opened() as store, InstanceSession(scope="project", id="p", settings=settings) as session:
        await wait_until(lambda: session._pacemaker.beats > 0)
        await session.transition(Verb.FAIL)
        await store.transition("p", Verb.START)
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats + 2)
        assert session.registrations == 1


async def test_it_says_that_redis_has_gone_back(saving, settings, opened):
    async with opened() as store:
        await add(store, "project", "p", state="stopped")
    save(saving)
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await go_back(saving)
            await wait_until(lambda: session.registrations == 2)
    assert "session.reverted" in {entry["event"] for entry in logs}
