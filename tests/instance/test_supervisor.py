"""The supervisor: a command as an instance, through absences of Redis and of its own record."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.errors import NameTaken, Superseded
from hopper.instance.supervision.process_group import exit_code
from hopper.instance.supervisor import Supervisor
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore, Registration
from instance.answers import SlowAnswers
from servers import RedisServer
from waiting import wait_until

SPEC = InstanceSpec(scope=Scope.PROJECT, id="x", ttl_ms=1000)
FOREVER = ["sleep", "100"]

ZOMBIES_PARENT = """
import os, sys, time
from pathlib import Path
if os.fork() == 0:
    os._exit(0)
os.setpgid(0, 0)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.02)
"""

Start = Callable[..., tuple[Supervisor, "asyncio.Task[int]"]]


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Start]:
    """Start a supervisor; it is ended after the test."""
    started: list[tuple[Supervisor, asyncio.Task[int]]] = []

    def begin(command: list[str] = FOREVER, **options: Any) -> tuple[Supervisor, asyncio.Task[int]]:
        supervisor = Supervisor(SPEC, command, settings=options.pop("settings", settings), **options)
        started.append((supervisor, asyncio.create_task(supervisor.run())))
        return started[-1]

    yield begin
    for supervisor, task in started:
        supervisor.stop()
        await asyncio.wait({task}, timeout=10)
        assert task.done()


def in_state(store: InstanceStore, state: State) -> Callable[[], Awaitable[Record | None]]:
    async def read() -> Record | None:
        record = await store.read("x")
        return record if record is not None and record.state is state else None

    return read


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (3, 3), (-15, 143), (-9, 137)])
def test_an_exit_code_is_the_one_a_shell_tells(returncode: int, code: int) -> None:
    assert exit_code(returncode) == code


async def test_it_is_running_while_its_process_runs_and_stopped_after_stop(start: Start, store: InstanceStore) -> None:
    supervisor, run = start()
    await wait_until(in_state(store, State.RUNNING))
    supervisor.stop()
    assert await run == 143
    assert await in_state(store, State.STOPPED)()


async def test_a_stop_before_the_start_runs_nothing(start: Start, store: InstanceStore) -> None:
    supervisor, run = start(["false"])
    supervisor.stop()
    assert await run == 143
    assert await in_state(store, State.STOPPED)()


def deaf(ready: Path) -> list[str]:
    """A command that does not hear SIGTERM, once a file is there."""
    return ["sh", "-c", 'trap "" TERM; touch "$0"; while :; do sleep 0.02; done', str(ready)]


async def test_a_stop_that_takes_long_shows_as_stopping(start: Start, store: InstanceStore, tmp_path: Path) -> None:
    supervisor, run = start(deaf(tmp_path / "ready"), stop_timeout_s=1.0)
    await wait_until(in_state(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
    supervisor.stop()
    await wait_until(in_state(store, State.STOPPING))
    assert await run == 137


async def test_cancelling_it_kills_the_command(start: Start, store: InstanceStore, tmp_path: Path) -> None:
    _, run = start(deaf(tmp_path / "ready"), stop_timeout_s=0.1)
    await wait_until(in_state(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await in_state(store, State.STOPPED)()


async def test_a_failed_command_stays_failed_and_its_heartbeat_is_gone(start: Start, store: InstanceStore) -> None:
    _, run = start(["false"])
    assert await run == 1
    assert await in_state(store, State.FAILED)()
    assert (await store.read_heartbeat("x"))[1] < 0


async def test_a_zombie_that_nobody_reaps_does_not_hold_it_up(start: Start, tmp_path: Path) -> None:
    # The zombie's parent leaves the group, so it is not ended with it, and does not wait for its child.
    program = tmp_path / "parent.py"
    program.write_text(ZOMBIES_PARENT)
    ready, end = tmp_path / "ready", tmp_path / "end"
    script = f"{sys.executable} {program} {ready} {end} & while [ ! -e {ready} ]; do sleep 0.02; done; exit 4"
    _, run = start(["sh", "-c", script], stop_timeout_s=60)
    try:
        assert await asyncio.wait_for(run, 10) == 4
    finally:
        end.touch()


async def test_another_registration_raises_superseded(start: Start, store: InstanceStore) -> None:
    _, run = start()
    await wait_until(in_state(store, State.RUNNING))
    await store.register(SPEC)
    with pytest.raises(Superseded, match="'x'"):
        await run


async def test_a_refusal_is_raised_and_runs_nothing(start: Start, store: InstanceStore) -> None:
    await store.register(InstanceSpec(scope=Scope.PROJECT, id="y", name="x"))
    _, run = start()
    with pytest.raises(NameTaken, match="'x'"):
        await run


async def test_a_record_that_vanished_comes_back_as_running(start: Start, store: InstanceStore) -> None:
    start()
    await wait_until(in_state(store, State.RUNNING))
    await store.deregister("x")
    assert (await wait_until(in_state(store, State.RUNNING))).incarnation > 1


async def test_an_operators_change_of_state_does_not_end_the_command(start: Start, store: InstanceStore) -> None:
    supervisor, run = start()
    await wait_until(in_state(store, State.RUNNING))
    await store.transition("x", Verb.PAUSE)
    supervisor.stop()
    assert await run == 143
    assert await in_state(store, State.STOPPED)()


async def test_a_failure_while_redis_is_away_is_reported_when_it_is_back(
    start: Start, private_server: RedisServer, new_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = new_settings(redis_url=private_server.url)
    end = tmp_path / "end"
    async with opened(settings) as store:
        _, run = start(["sh", "-c", f"while [ ! -e {end} ]; do sleep 0.02; done; exit 3"], settings=settings)
        await wait_until(in_state(store, State.RUNNING))
    await asyncio.to_thread(private_server.stop)
    with capture_logs() as logs:
        end.touch()
        await wait_until(lambda: any(entry["event"] == "run.failed" for entry in logs))
    assert not run.done()
    await asyncio.to_thread(private_server.start)
    assert await run == 3
    async with opened(settings) as store:
        assert await in_state(store, State.FAILED)()


async def test_a_redis_that_is_away_does_not_end_the_command(
    start: Start, private_server: RedisServer, new_settings: Callable[..., Settings]
) -> None:
    settings = new_settings(redis_url=private_server.url)
    async with opened(settings) as store:
        supervisor, run = start(settings=settings)
        await wait_until(in_state(store, State.RUNNING))
    with capture_logs() as logs:
        await asyncio.to_thread(private_server.stop)
        await wait_until(lambda: any(entry["event"] == "pacemaker.failing" for entry in logs))
    assert not run.done()
    await asyncio.to_thread(private_server.start)
    async with opened(settings) as store:

        async def beats() -> bool:
            return (await store.read_heartbeat("x"))[0] == b'{"incarnation":1}'

        await wait_until(beats)
        supervisor.stop()
        assert await run == 143


async def test_a_stop_while_it_registers_runs_nothing_and_leaves_what_was_registered(
    start: Start, store: InstanceStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = SlowAnswers(monkeypatch)
    supervisor, run = start(["touch", str(tmp_path / "ran")])
    await slow.taken.wait()
    supervisor.stop()
    supervisor.stop()
    slow.later()
    assert await run == 143
    assert await in_state(store, State.STOPPED)()
    assert not (tmp_path / "ran").exists()


async def test_a_stop_while_it_registers_with_a_redis_that_hangs_ends_it_soon(
    start: Start, private_server: RedisServer, new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings(
        redis_url=private_server.url, connect_timeout_s=0.5, command_timeout_s=0.5, write_retries=1000
    )
    register, asked = InstanceStore.register, asyncio.Event()

    async def freeze(*args: Any, **more: Any) -> Registration:
        private_server.pause()
        asked.set()
        return await register(*args, **more)

    monkeypatch.setattr(InstanceStore, "register", freeze)
    supervisor, run = start(settings=settings)
    try:
        await asyncio.wait_for(asked.wait(), 10)
        supervisor.stop()
        assert await asyncio.wait_for(asyncio.shield(run), 8) == 143
    finally:
        private_server.resume()


@pytest.fixture
def saving(tmp_path: Path, server: RedisServer) -> Iterator[RedisServer]:
    """A server whose file holds `x` as it was before: stopped."""
    with RedisServer(tmp_path / "saving", which=server.which) as own:
        yield own


async def saved(settings: Settings, server: RedisServer) -> None:
    async with opened(settings) as store:
        await store.register(replace(SPEC, state=State.STOPPED))
    with server.connect() as direct:
        direct.save()


async def go_back(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)


async def test_a_redis_that_has_gone_back_to_older_data_does_not_end_the_command(
    start: Start, saving: RedisServer, new_settings: Callable[..., Settings]
) -> None:
    settings = new_settings(redis_url=saving.url)
    await saved(settings, saving)
    supervisor, run = start(settings=settings)
    async with opened(settings) as store:
        await wait_until(in_state(store, State.RUNNING))
    group = supervisor._group
    await go_back(saving)
    async with opened(settings) as store:
        await wait_until(in_state(store, State.RUNNING))
        assert (run.done(), supervisor._group) == (False, group)
        supervisor.stop()
        assert await run == 143
        assert await in_state(store, State.STOPPED)()


async def test_one_whose_redis_goes_back_before_it_is_told_of_as_running_becomes_so(
    start: Start, saving: RedisServer, new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings(redis_url=saving.url)
    await saved(settings, saving)
    transition, gone_back = InstanceStore.transition, asyncio.Event()

    async def go_back_first(self: InstanceStore, *args: Any, **more: Any) -> int:
        if not gone_back.is_set():
            await go_back(saving)
            await self.client.connection_pool.disconnect()
            gone_back.set()
        return await transition(self, *args, **more)

    monkeypatch.setattr(InstanceStore, "transition", go_back_first)
    start(settings=settings)
    await asyncio.wait_for(gone_back.wait(), 10)
    async with opened(settings) as store:
        await wait_until(in_state(store, State.RUNNING))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[InstanceStore]:
    """A store of its own, for a server that comes and goes."""
    store = InstanceStore(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.aclose()
