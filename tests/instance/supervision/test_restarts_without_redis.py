"""What a supervisor asks of Redis, and what it does while that is away or has older data."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from cli.commands import processes_of
from hopper.config import Settings
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from instance.supervision.running import FOREVER, until
from servers import RedisServer
from waiting import wait_until


async def test_while_nothing_is_claimed_it_asks_redis_one_small_thing_a_second(
    run, private_server: RedisServer, new_settings: Callable[..., Settings], monkeypatch
):
    looks: list[float] = []
    stands = RestartStore.stands

    async def looked(*args: Any) -> bool:
        looks.append(time.monotonic())
        return await stands(*args)

    monkeypatch.setattr(RestartStore, "stands", looked)
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.register(InstanceSpec(scope=Scope.GLOBAL, id="g"))
        running = run(FOREVER, settings=settings)
        await wait_until(until(store, State.RUNNING))
    with private_server.connect() as direct:
        direct.config_resetstat()
        seen = len(looks)
        await wait_until(lambda: len(looks) >= seen + 3)
        asked = {name.removeprefix("cmdstat_").partition("|")[0] for name in direct.info("commandstats")}
    assert asked <= {"hmget", "setex", "info", "config", "client", "hello", "ping", "select"}
    assert min(later - earlier for earlier, later in pairwise(looks)) > 0.9
    running.supervisor.stop()
    await running.code()


async def test_what_fails_while_redis_is_away_is_restarted_when_it_is_back(
    run, private_server: RedisServer, new_settings: Callable[..., Settings], tmp_path: Path
):
    settings = new_settings(redis_url=private_server.url)
    store = InstanceStore(settings)
    await store.open()
    running = run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3", settings=settings)

    def commands() -> list[str]:
        return [words for words in processes_of(tmp_path).values() if "rm $0/end" in words]

    first = await wait_until(until(store, State.RUNNING))
    await store.aclose()
    await asyncio.to_thread(private_server.stop)
    with capture_logs() as logs:
        (tmp_path / "end").touch()
        await wait_until(lambda: any(entry["event"] == "run.restart_waits" for entry in logs))
    assert commands() == []
    await asyncio.to_thread(private_server.start)
    await store.open()
    record = await wait_until(until(store, State.RUNNING, above=first.incarnation), 20)
    assert record.restarts == 1
    assert len(commands()) == 1
    await store.aclose()
    running.supervisor.stop()
    await running.code()


async def test_what_fails_before_redis_comes_back_with_older_data_is_started_again(
    run, new_settings: Callable[..., Settings], tmp_path: Path
):
    with RedisServer(tmp_path / "server") as server:
        settings = new_settings(redis_url=server.url)
        async with opened(settings) as store:
            await store.register(InstanceSpec(scope=Scope.PROJECT, id="x", state=State.STOPPED))
            with server.connect() as direct:
                direct.save()
            running = run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3", settings=settings)
            first = await wait_until(until(store, State.RUNNING))
        await asyncio.to_thread(server.kill)
        with capture_logs() as logs:
            (tmp_path / "end").touch()
            await wait_until(lambda: any(entry["event"] == "run.restart_waits" for entry in logs))
        await asyncio.to_thread(server.restart)
        async with opened(settings) as store:
            record = await wait_until(until(store, State.RUNNING), 20)
            assert record.incarnation <= first.incarnation
        running.supervisor.stop()
        await running.code()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[InstanceStore]:
    """A store of its own, for a server that comes and goes."""
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store
