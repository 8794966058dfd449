"""The embedded Valkey for its users: start or join the one server of a data directory, and be counted while there.

Being counted is a shared lock on `DATA_DIR/users.lock`, so a user that is killed is gone for the kernel too, and the
server ends with the last of them. `keeper.py` says who holds which lock, and runs the server.
"""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType

import structlog

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.store.keeper import ServerState, open_lock, try_lock

__all__ = ["EmbeddedValkey", "join", "running_url"]

POLL_S = 0.01
PATIENCE_S = 120.0
"""Seconds a start or a join may take in all: others starting or ending first, and a large append-only file loading."""

log = structlog.get_logger(__name__)


class EmbeddedValkey:
    """The embedded server of `settings.data_dir`: `async with EmbeddedValkey(settings) as url`.

    - Starts the server if none runs for the directory (made with mode 0700 if absent), else joins the one that runs, at
      whatever port it has. However many start at the same time, there is one server.
    - Until the block ends, or this process dies, the server runs: if it crashes it comes back at the same URL with its
      data (`appendfsync everysec`: a crash of the machine may cost the last second). Only SIGTERM or SIGKILL of its
      keeper takes it from its users.
    - Leaving does not wait for the server to end. It does so within milliseconds if nobody else uses it.
    - Processes forked inside the block without `exec` are counted with this one until they end.
    - Entering waits 120 s at most. Raises `Unavailable`, with a sentence for the operator, if the port is taken, the
      directory cannot be used, or Valkey does not start; the sentence then has the end of its log.

    One object may be entered again after it was left, not twice at once.
    """

    def __init__(self, settings: Settings) -> None:
        self._data_dir = settings.data_dir
        self._port = settings.embedded_port
        self._seat: _Seat | None = None

    async def __aenter__(self) -> str:
        if self._seat is not None:
            raise RuntimeError("this EmbeddedValkey is in use already")
        self._seat = await _take_seat(self._data_dir, self._port)
        log.info("embedded_valkey", url=self._seat.url, data_dir=str(self._data_dir))
        return self._seat.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._seat is not None:
            self._seat.leave()
            self._seat = None


@asynccontextmanager
async def join(data_dir: Path) -> AsyncIterator[str]:
    """Use the server that runs for `data_dir`, without ever starting one: `async with join(data_dir) as url`.

    Counts as a user, so the server does not end inside the block. Waits, 120 s at most, for a server that is just
    starting or restarting. Raises `Unavailable` if none runs; makes no directory.
    """
    seat = await _take_seat(data_dir, None)
    try:
        yield seat.url
    finally:
        seat.leave()


def running_url(data_dir: Path) -> str | None:
    """Where the server of `data_dir` answers right now, or None.

    For display: it may end the next moment, since the caller is not counted. Blocks for a second at most.
    """
    state = ServerState.read(_absolute(data_dir))
    return state.url if state is not None and state.answers() else None


class _Seat:
    """One user's place: the shared lock, and the URL it is good for."""

    def __init__(self, data_dir: Path) -> None:
        self.url = ""
        self._lock = open_lock(data_dir, "users.lock")

    def take(self, patience: "_Patience") -> None:
        while not try_lock(self._lock, fcntl.LOCK_SH):  # the keeper tries whether it is alone, for a moment
            patience.pause("the keeper to let go of users.lock")

    def leave(self) -> None:
        os.close(self._lock)


class _Patience:
    """The bound of one entry's waits, and the way to call it off from the event loop."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + PATIENCE_S
        self._called_off = threading.Event()

    def call_off(self) -> None:
        self._called_off.set()

    def pause(self, what: str) -> None:
        """Sleep a moment. Raises `Unavailable` when it is enough, saying what was waited for."""
        if self._called_off.wait(POLL_S):
            raise Unavailable(f"the wait for {what} was called off")
        if time.monotonic() > self._deadline:
            raise Unavailable(f"waited {PATIENCE_S:g} s for {what}")


async def _take_seat(data_dir: Path, port: int | None) -> _Seat:
    """Be a user of the server of `data_dir`; `port` None: only of one that runs. Leaves nothing behind if cancelled."""
    patience = _Patience()
    work = asyncio.create_task(asyncio.to_thread(_enter, data_dir, port, patience))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_leave_unused)
        patience.call_off()
        await asyncio.wait([work])
        raise


def _leave_unused(work: asyncio.Task[_Seat]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().leave()


def _enter(data_dir: Path, port: int | None, patience: _Patience) -> _Seat:
    data_dir = _absolute(data_dir)
    try:
        if port is not None:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not data_dir.is_dir():
            raise none_runs(data_dir)
        start = open_lock(data_dir, "start.lock")
        try:
            while not try_lock(start, fcntl.LOCK_EX):
                patience.pause(f"another start or end of the Valkey of {data_dir}")
            seat = _Seat(data_dir)
            try:
                seat.take(patience)  # before there is a keeper: it ends when nobody holds this
                seat.url = _find_or_start(data_dir, port, patience)
            except BaseException:
                seat.leave()
                raise
            return seat
        finally:
            os.close(start)
    except OSError as error:
        raise Unavailable(f"the data directory {data_dir} cannot be used: {error}") from error


def _find_or_start(data_dir: Path, port: int | None, patience: _Patience) -> str:
    """The URL of the server of `data_dir`; for the holder of `start.lock`."""
    keeper_lock = open_lock(data_dir, "keeper.lock")
    try:
        while not try_lock(keeper_lock, fcntl.LOCK_EX):
            # There is a keeper. If its server does not answer, it is starting, or starting again after a crash.
            state = ServerState.read(data_dir)
            if state is not None and state.answers():
                return state.url
            patience.pause(f"the Valkey of {data_dir} to answer ({data_dir / 'valkey.log'} may say why)")
        if port is None:
            raise none_runs(data_dir)
        return _start(data_dir, port, keeper_lock, patience)
    finally:
        os.close(keeper_lock)


def _start(data_dir: Path, port: int, keeper_lock: int, patience: _Patience) -> str:
    """Start a keeper, which from now on has `keeper_lock`, and wait for its report."""
    # -P: a redis.py in the working directory is not ours. -W: -m warns of a module that its package imports too.
    interpreter = [sys.executable, "-P", "-W", "ignore::RuntimeWarning"]
    command = [*interpreter, "-m", "hopper.store.keeper", str(data_dir), str(port)]
    pipe = subprocess.PIPE
    # A session of its own: Ctrl-C in our terminal is not meant for a server that others may use.
    with subprocess.Popen(  # noqa: S603
        command, stdin=keeper_lock, stdout=pipe, stderr=pipe, start_new_session=True, text=True
    ) as keeper:
        try:
            report, complaint = _communicate(keeper, data_dir, patience)
        except Unavailable:
            keeper.kill()  # what it has started by now sees that it has no user
            raise
    try:
        answer = json.loads(report)
    except ValueError:
        raise Unavailable(f"the keeper of {data_dir} did not start: {complaint.strip()[-2000:]}") from None
    if "error" in answer:
        raise Unavailable(answer["error"])
    return str(answer["url"])


def _communicate(keeper: subprocess.Popen[str], data_dir: Path, patience: _Patience) -> tuple[str, str]:
    while True:
        try:
            return keeper.communicate(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            patience.pause(f"the Valkey of {data_dir} to start ({data_dir / 'valkey.log'} may say why)")


def _absolute(data_dir: Path) -> Path:
    return data_dir.expanduser().absolute()


def none_runs(data_dir: Path) -> Unavailable:
    """What to raise where no URL is set and nothing runs for `data_dir`."""
    return Unavailable(
        f"no Redis: HOPPER_REDIS_URL is not set and no embedded Valkey runs on {data_dir} (`hopper serve` starts one)"
    )
