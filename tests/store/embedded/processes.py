"""The processes around an embedded Valkey: its users, its keeper, the server, and the locks that they hold."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from hopper.store.keeper import open_lock, try_lock
from waiting import wait_until

__all__ = [
    "USER",
    "Spawn",
    "User",
    "all_locks_are_free",
    "client",
    "held",
    "listens",
    "lives",
    "state",
    "until_gone",
    "waits_for",
]

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


def all_locks_are_free(data_dir: Path) -> bool:
    locks = [open_lock(data_dir, f"{name}.lock") for name in ("users", "keeper", "server")]
    try:
        return all(try_lock(lock, fcntl.LOCK_EX) for lock in locks)
    finally:
        for lock in locks:
            os.close(lock)


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
