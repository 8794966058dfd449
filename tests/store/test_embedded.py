"""The embedded Valkey: one server per data directory, there while it has users, gone with the last of them."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.store import embedded, keeper
from hopper.store.embedded import EmbeddedValkey, join, running_url
from hopper.store.keeper import ServerState, open_lock, serving_pid, try_lock
from waiting import wait_until

USER = """
import asyncio, sys
from pathlib import Path
from hopper.config import Settings
from hopper.store import embedded, keeper
from hopper.store.embedded import EmbeddedValkey, join

async def use():
    data_dir = Path(sys.argv[2])
    settings = Settings(data_dir=data_dir, embedded_port=int(sys.argv[3]))
    async with EmbeddedValkey(settings) if sys.argv[1] == "start" else join(data_dir) as url:
        sys.stderr.write(url + "\\n")
        sys.stderr.flush()
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(use())
"""


@dataclass
class User:
    """A process that uses the server until it is told to leave, or killed."""

    process: asyncio.subprocess.Process

    async def url(self) -> str:
        said = await asyncio.wait_for(self.process.stderr.readline(), 30)
        assert said.startswith(b"redis://127.0.0.1:"), said + await self.process.stderr.read()
        return said.decode().strip()

    async def leave(self) -> None:
        self.process.stdin.close()
        assert await asyncio.wait_for(self.process.wait(), 30) == 0

    async def die(self) -> None:
        self.process.kill()
        await self.process.wait()


Spawn = Callable[..., Awaitable[User]]


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """A directory for a server; whatever a test did, no process may stay behind."""
    path = tmp_path / "data"
    yield path
    if path.exists():
        await wait_until(lambda: all_locks_are_free(path), message="users, keeper and server have gone")


def all_locks_are_free(data_dir: Path) -> bool:
    locks = [open_lock(data_dir, f"{name}.lock") for name in ("users", "keeper", "server")]
    try:
        return all(try_lock(lock, fcntl.LOCK_EX) for lock in locks)
    finally:
        for lock in locks:
            os.close(lock)


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, embedded_port=0)


@pytest.fixture
async def spawn(data_dir: Path) -> AsyncIterator[Spawn]:
    users: list[User] = []

    async def one(verb: str = "start", port: int = 0) -> User:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", USER, verb, str(data_dir), str(port)),
            stdin=pipe,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=pipe,
        )
        users.append(User(process))
        return users[-1]

    yield one
    for user in users:
        if user.process.returncode is None:
            await user.die()


def state(data_dir: Path) -> dict:
    return json.loads((data_dir / "embedded.json").read_text())


def lives(pid: int) -> bool:
    """Whether any of its threads does: a killed process may be a zombie while its last thread still holds the locks."""
    try:
        return any(_thread_lives(task) for task in Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False


def _thread_lives(task: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def until_gone(was: dict) -> None:
    await wait_until(lambda: not lives(was["valkey_pid"]), message="Valkey has ended")
    await wait_until(lambda: not lives(was["keeper_pid"]), message="the keeper has ended")
    assert not listens(was["port"])


def client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)


@contextlib.contextmanager
def held(data_dir: Path, name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Stand in for a process that holds a lock of the directory."""
    lock = open_lock(data_dir, name)
    try:
        assert try_lock(lock, how)
        yield
    finally:
        os.close(lock)


def waits_for(pid: int, lock: Path) -> bool:
    """Whether the process is blocked in flock() on that file."""
    inode = lock.stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return any(re.search(rf"-> FLOCK .* {pid} \S+:{inode} ", line) for line in lines)


async def test_a_second_process_joins_the_server_of_the_first_and_sees_its_data(spawn: Spawn) -> None:
    first_url = await (await spawn()).url()
    async with client(first_url) as redis:
        await redis.set("greeting", "hello")
    second_url = await (await spawn()).url()
    assert second_url == first_url
    async with client(second_url) as redis:
        assert await redis.get("greeting") == "hello"


async def test_the_server_is_private_and_configured_for_the_registry(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        config = await redis.config_get("*")
        wanted = {
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": str(data_dir),
            "aof-load-truncated": "yes",
        }
        assert {name: config[name] for name in wanted} == wanted
        assert set(config["notify-keyspace-events"]) == set("Kxe")
        assert url == state(data_dir)["url"] == running_url(data_dir)


async def test_the_server_outlives_its_starter_and_ends_with_its_last_user(spawn: Spawn, data_dir: Path) -> None:
    first = await spawn()
    await first.url()
    second = await spawn("join")
    url = await second.url()
    was = state(data_dir)
    await first.leave()
    async with client(url) as redis:
        await redis.ping()
    assert state(data_dir) == was
    await second.leave()
    await until_gone(was)
    assert not (data_dir / "embedded.json").exists()
    assert running_url(data_dir) is None


async def test_the_server_ends_when_its_last_user_is_killed(spawn: Spawn, data_dir: Path) -> None:
    first, second = await spawn(), await spawn()
    assert await first.url() == await second.url()
    was = state(data_dir)
    await first.die()
    assert running_url(data_dir) == was["url"]
    await second.die()
    await until_gone(was)


async def test_the_server_stays_while_it_has_a_user(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url:
        was = state(data_dir)
        for _ in range(5):
            async with EmbeddedValkey(settings) as again:
                assert again == url
        assert state(data_dir) == was
        assert lives(was["valkey_pid"])
    await until_gone(was)


async def test_a_user_never_gets_a_server_that_is_about_to_end(settings: Settings) -> None:
    for number in range(4):  # each entry meets the end of the server before
        async with EmbeddedValkey(settings) as url, client(url) as redis:
            assert await redis.incr("entries") == number + 1


async def test_the_keeper_looks_again_when_somebody_joins_as_the_last_user_leaves(
    settings: Settings, data_dir: Path
) -> None:
    with contextlib.ExitStack() as joiner:
        async with EmbeddedValkey(settings):
            was = state(data_dir)
            await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "users.lock"))
            start = joiner.enter_context(contextlib.ExitStack())
            start.enter_context(held(data_dir, "start.lock"))
        await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "start.lock"))
        joiner.enter_context(held(data_dir, "users.lock", fcntl.LOCK_SH))
        start.close()
        await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "users.lock"))
        assert running_url(data_dir) == was["url"]
    await until_gone(was)


async def test_the_server_is_out_of_reach_of_the_terminal(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        assert os.getsid(was["keeper_pid"]) == os.getsid(was["valkey_pid"]) != os.getsid(0)


async def test_the_data_is_there_after_a_restart(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        await redis.set("kept", "yes")
        was = state(data_dir)
    await until_gone(was)
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert state(data_dir)["valkey_pid"] != was["valkey_pid"]
        assert await redis.get("kept") == "yes"


async def test_a_truncated_append_only_file_does_not_prevent_the_start(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        await redis.set("kept", "yes")
        await redis.set("cut", "yes")
        was = state(data_dir)
    await until_gone(was)
    (file,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 5)
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert await redis.mget("kept", "cut") == ["yes", None]


async def test_ten_processes_that_start_at_once_share_one_server(spawn: Spawn, data_dir: Path) -> None:
    users = [await spawn() for _ in range(10)]
    urls = await asyncio.gather(*(user.url() for user in users))
    assert len(set(urls)) == 1
    was = state(data_dir)
    assert (data_dir / "keeper.log").read_text().count('"valkey_started"') == 1
    for user in users:
        await user.die()
    await until_gone(was)


async def test_a_start_waits_for_a_server_that_lost_its_keeper(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, asyncio.TaskGroup() as tasks:
        was = state(data_dir)
        async with client(url) as redis:
            await redis.set("kept", "yes")
        os.kill(was["valkey_pid"], signal.SIGSTOP)  # so that it takes its time to end
        os.kill(was["keeper_pid"], signal.SIGKILL)
        await wait_until(lambda: not lives(was["keeper_pid"]))
        second = EmbeddedValkey(settings)
        entering = tasks.create_task(second.__aenter__())
        await wait_until(lambda: "former_valkey_lives" in (data_dir / "keeper.log").read_text())
        os.kill(was["valkey_pid"], signal.SIGCONT)
        async with client(await entering) as redis:
            assert not lives(was["valkey_pid"])
            assert await redis.get("kept") == "yes"
        now = state(data_dir)
        await second.__aexit__(None, None, None)
        assert running_url(data_dir) == now["url"], "the first user is still there"
    await until_gone(now)


async def test_a_start_ends_a_server_that_outlived_its_keeper(settings: Settings, data_dir: Path) -> None:
    data_dir.mkdir()
    port = next(keeper._candidates(0))
    with held(data_dir, "keeper.lock"):
        lock = open_lock(data_dir, "server.lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
        orphan = subprocess.Popen(keeper._command(keeper._find_binary(), data_dir, port), pass_fds=(lock,))
        os.close(lock)
        await wait_until(lambda: serving_pid(port) == orphan.pid)
        ServerState(f"redis://127.0.0.1:{port}/0", port, orphan.pid, keeper_pid=1).write(data_dir)
    async with EmbeddedValkey(settings):
        assert orphan.wait(0) == 0
        assert state(data_dir)["valkey_pid"] != orphan.pid


async def test_the_death_of_the_keeper_ends_the_server(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        os.kill(was["keeper_pid"], signal.SIGKILL)
        await until_gone(was)


async def test_sigterm_to_the_keeper_ends_the_server_in_good_order(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        os.kill(was["keeper_pid"], signal.SIGTERM)
        await until_gone(was)
        assert not (data_dir / "embedded.json").exists()
        with pytest.raises(Unavailable):
            async with join(data_dir):
                pass
    assert "ready to exit" in (data_dir / "valkey.log").read_text()


async def test_a_killed_server_comes_back_with_its_data_while_it_has_users(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url:
        async with client(url) as redis:
            await redis.set("kept", "yes")
        was = state(data_dir)
        for _ in range(2):  # the second time after a pause
            killed = state(data_dir)["valkey_pid"]
            os.kill(killed, signal.SIGKILL)
            async with join(data_dir) as again:  # waits for it
                assert again == url
            now = state(data_dir)
            assert now["valkey_pid"] != killed
            assert now == {**was, "valkey_pid": now["valkey_pid"]}
            async with client(url) as redis:
                assert await redis.get("kept") == "yes"
    await until_gone(now)


@pytest.mark.parametrize("foreign", [False, True], ids=["nobody there", "another server there"])
async def test_a_stale_state_file_is_replaced(
    settings: Settings, data_dir: Path, tmp_path: Path, foreign: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stale = {"url": "redis://127.0.0.1:1/0", "port": 1, "valkey_pid": os.getpid(), "keeper_pid": os.getpid()}
        if foreign:
            other = Settings(data_dir=tmp_path / "other", embedded_port=0)
            url = await stack.enter_async_context(EmbeddedValkey(other))
            stale |= {"url": url, "port": state(other.data_dir)["port"]}
        data_dir.mkdir()
        (data_dir / "embedded.json").write_text(json.dumps(stale))
        assert running_url(data_dir) is None
        async with EmbeddedValkey(settings) as url:
            assert url == state(data_dir)["url"] != stale["url"]
            was = state(data_dir)
    await until_gone(was)


async def test_an_unreadable_state_file_is_replaced(settings: Settings, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "embedded.json").write_text('{"url": ')
    async with EmbeddedValkey(settings) as url:
        assert running_url(data_dir) == url


async def test_a_port_in_use_is_named_with_the_way_out(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            async with EmbeddedValkey(Settings(data_dir=data_dir, embedded_port=port)):
                pass
    for part in (f"port {port} ", "in use", "HOPPER_EMBEDDED_PORT", "HOPPER_REDIS_URL"):
        assert part in str(caught.value)
    async with EmbeddedValkey(Settings(data_dir=data_dir, embedded_port=port)) as url:  # nothing of it is left
        assert url == f"redis://127.0.0.1:{port}/0"


async def test_a_failed_start_shows_the_end_of_the_log(settings: Settings, data_dir: Path) -> None:
    (data_dir / "appendonlydir").mkdir(parents=True)
    (data_dir / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(Unavailable, match=r"(?s)did not start on .*manifest"):
        async with EmbeddedValkey(settings):
            pass
    assert not (data_dir / "embedded.json").exists()


async def test_an_unusable_data_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"data directory .*/file/data cannot be used"):
        async with EmbeddedValkey(Settings(data_dir=tmp_path / "file" / "data", embedded_port=0)):
            pass


async def test_joining_never_starts_a_server_nor_makes_a_directory(settings: Settings, data_dir: Path) -> None:
    with pytest.raises(Unavailable, match="no embedded Valkey runs on"):
        async with join(data_dir):
            pass
    assert not data_dir.exists()
    async with EmbeddedValkey(settings):
        was = state(data_dir)
    await until_gone(was)
    with pytest.raises(Unavailable, match="no embedded Valkey runs on"):
        async with join(data_dir):
            pass
    assert not listens(was["port"])


@pytest.mark.parametrize("sign", ["users.lock", "keeper.log", "valkey.log"])
async def test_a_cancelled_start_leaves_no_user_behind(settings: Settings, data_dir: Path, sign: str) -> None:
    async def enter() -> None:
        async with EmbeddedValkey(settings):
            await asyncio.Event().wait()

    entering = asyncio.create_task(enter())
    await wait_until((data_dir / sign).exists)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await wait_until(lambda: all_locks_are_free(data_dir))


async def test_a_start_that_ends_well_after_its_cancellation_leaves_no_user_behind(
    settings: Settings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded._Patience, "call_off", lambda _: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), EmbeddedValkey(settings):
            pass
    assert "valkey_started" in (data_dir / "keeper.log").read_text()
    await wait_until(lambda: all_locks_are_free(data_dir))


async def test_joining_waits_for_others_who_start_or_end_and_can_be_cancelled(
    settings: Settings, data_dir: Path
) -> None:
    async with EmbeddedValkey(settings):
        with held(data_dir, "start.lock"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), join(data_dir):
                pass
        async with join(data_dir):
            pass
