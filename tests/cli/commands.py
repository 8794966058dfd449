"""Commands for the tests: run in this process, or as processes of their own."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from typer.testing import CliRunner

from hopper.cli.app import app
from hopper.config import Settings
from servers import RedisServer

__all__ = ["Command", "Hopper", "Spawn", "processes_of"]

Spawn = Callable[..., Awaitable["Command"]]


class Hopper:
    """Runs `hopper ...` in this process against one namespace: `hopper("get", "web")`."""

    def __init__(self, server: RedisServer, settings: Settings) -> None:
        self.settings = settings
        self._server = server
        self._environment = {"HOPPER_REDIS_URL": settings.redis_url, "HOPPER_NAMESPACE": settings.namespace}

    def __call__(self, *words: str, input: str | None = None, env: dict[str, str | None] | None = None) -> Any:
        """The result: `exit_code`, `stdout`, `stderr`."""
        result = CliRunner().invoke(app, list(words), input=input, env={**self._environment, **(env or {})})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def ok(self, *words: str, **more: Any) -> str:
        """What a command that must succeed prints."""
        result = self(*words, **more)
        assert result.exit_code == 0, result.output
        return result.stdout

    def document(self, *words: str, **more: Any) -> Any:
        """What a command prints with `-o json`, read."""
        return orjson.loads(self.ok(*words, "-o", "json", **more))

    def refused(self, *words: str, code: int, **more: Any) -> str:
        """What a command that must fail says; it must not have changed anything nor printed anything."""
        before = self.keys()
        result = self(*words, **more)
        assert result.exit_code == code, result.output
        assert self.keys() == before
        assert result.stdout == ""
        return result.stderr

    def tree(self) -> None:
        """Register a Global `hub`, Projects `web` and `api` under it, and an Orchestration `run` under `web`."""
        self.ok("register", "--scope", "global", "--id", "hub")
        for project in ("web", "api"):
            self.ok("register", "--scope", "project", "--id", project, "--parent", "hub")
        self.ok("register", "--scope", "orchestration", "--id", "run", "--parent", "web", "--name", "nightly")

    def keys(self) -> dict[bytes, Any]:
        """Every key of the namespace but heartbeats, to compare before and after."""
        with self._server.connect() as client:
            names = client.keys(f"hopper:{{{self.settings.namespace}}}:*")
            return {name: client.dump(name) for name in names if b":heartbeat:" not in name}


class Command:
    """A `hopper` process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, timeout_s: float = 20) -> str:
        """The next line of its standard output."""
        line = await asyncio.wait_for(self.process.stdout.readline(), timeout_s)
        assert line, f"it said no more: {(await self.process.stderr.read()).decode()}"
        return line.decode().rstrip("\n")

    async def line_with(self, word: str) -> str:
        """The next line of its standard output that contains a word."""
        while True:
            line = await self.line()
            if word in line:
                return line

    async def end(self, number: int | None = None, *, timeout_s: float = 20) -> int:
        """Send it a signal if one is named, and wait for its end; answers its return code."""
        if number is not None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def said(self) -> tuple[str, str]:
        """Everything it still says on standard output and standard error until it ends."""
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        return out.decode(), err.decode()


def processes_of(directory: Path) -> dict[int, str]:
    """The living processes with a directory among their arguments, in their environment or as where they are, by id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            places = words + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
            if words and os.fsencode(directory) in places:
                found[int(entry.name)] = words.replace(b"\0", b" ").decode()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found
