"""Fixtures for the command line: commands run in this process, and commands run as processes of their own."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from cli.commands import Command, Hopper, Spawn, processes_of
from hopper.config import Settings
from servers import RedisServer
from waiting import wait_until


@pytest.fixture
def hopper(server: RedisServer, settings: Settings) -> Iterator[Hopper]:
    """The command line over a namespace of its own on the shared server."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Hopper(server, settings)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Spawn]:
    """Start `hopper ...` as a process; whatever a test does, none stays behind."""
    commands: list[Command] = []

    async def start(*words: str, settings: Settings | None = None, **environment: str) -> Command:
        pipe = asyncio.subprocess.PIPE
        own = {"HOPPER_DATA_DIR": str(tmp_path / "data"), "HOPPER_EMBEDDED_PORT": "0", "HOPPER_PORT": "0"}
        if settings is not None:
            own |= {"HOPPER_REDIS_URL": settings.redis_url or "", "HOPPER_NAMESPACE": settings.namespace}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hopper", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            env={**os.environ, **own, **environment},
        )
        commands.append(Command(process))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.returncode is None:
            command.process.send_signal(signal.SIGKILL)
            await command.process.wait()
    await wait_until(lambda: not processes_of(tmp_path), message=f"no process of {tmp_path} is left")
