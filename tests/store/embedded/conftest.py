"""The directory of an embedded Valkey, its settings, and processes that use it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hopper.config import Settings
from store.embedded.processes import USER, Spawn, User, all_locks_are_free
from waiting import wait_until


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """A directory for a server; whatever a test did, no process may stay behind."""
    path = tmp_path / "data"
    yield path
    if path.exists():
        await wait_until(lambda: all_locks_are_free(path), message="users, keeper and server have gone")


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
