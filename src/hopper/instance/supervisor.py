"""The supervisor: one command as an instance of the registry, from its start to its end."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import tenacity

from hopper.config import Settings
from hopper.errors import HopperError, Unavailable
from hopper.instance.session import InstanceSession
from hopper.model.event import Reason
from hopper.model.heartbeat import seconds_of
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.keys import Keys

__all__ = ["Supervisor", "exit_code"]

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""What a shell answers for a command that it cannot run, or cannot find."""

_POLL_S = 0.02
_FAIL_PATIENCE_S = 5.0
"""Seconds in which a failure is reported again while Redis is away; after that the lapse tells of it."""


class Supervisor:
    """Runs a command as an instance: `starting` until its process runs, then `running`, and left when it has ended.

    The command has a process group of its own, this process' output, and its input unless that is a terminal. In its
    environment are `HOPPER_ID`, `HOPPER_NAMESPACE`, `HOPPER_INCARNATION`, `HOPPER_REDIS_URL`, and, for one that
    heartbeats itself (`heartbeats=False`), `HOPPER_HEARTBEAT_KEY` and `HOPPER_TTL_S`, so that
    `SETEX $HOPPER_HEARTBEAT_KEY $HOPPER_TTL_S ''` is a heartbeat. It is killed when this process dies (Linux).
    """

    def __init__(
        self,
        spec: InstanceSpec,
        command: Sequence[str],
        *,
        settings: Settings,
        heartbeats: bool = True,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self._command = list(command)
        self._settings = settings
        self._stop_timeout_s = stop_timeout_s
        self._session = InstanceSession(replace(spec, state=State.STARTING), settings=settings, heartbeats=heartbeats)
        self._group: _Group | None = None
        self._asked = asyncio.Event()
        self._signal = signal.SIGTERM
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, id=self._session.id)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the command to end: its group gets the signal now, and SIGKILL after `stop_timeout_s`. Repeatable."""
        self._signal = number
        self._asked.set()
        if self._group is not None:
            self._group.send(number)

    async def run(self) -> int:
        """Run the command to its end; answers its exit code, 128 and the number for one that a signal ended.

        A command that does not exist, or is not executable, is not registered: 127 and 126, as a shell answers.
        An exit with 0, or after `stop`, leaves the instance `stopped` (an ephemeral one deregistered); any other leaves
        it `failed`, reason `exit`. Nothing of the command's group outlives this call, however it ends. Raises
        `Superseded` when another registration has taken the id, and every refusal of the registration.
        """
        missing = _unusable(self._command[0])
        if missing is not None:
            self._logger.error("run.not_started", command=self._command[0], code=missing)
            return missing
        async with self._session as session:
            if self._asked.is_set():
                return 128 + self._signal
            try:
                self._group = await self._start(session)
            except OSError as error:
                self._logger.error("run.not_started", command=self._command[0], detail=error.strerror)
                await self._report_failure(session)
                return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            try:
                code = await self._attend(session, self._group)
                if code != 0 and not self._asked.is_set():
                    self._logger.warning("run.failed", code=code)
                    await self._report_failure(session)
                return code
            finally:
                await self._group.end(self._signal, self._stop_timeout_s)

    async def _start(self, session: InstanceSession) -> "_Group":
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=os.environ | self._environment(session),
            # Its group is not the terminal's: reading from there would stop it.
            stdin=asyncio.subprocess.DEVNULL if sys.stdin is not None and sys.stdin.isatty() else None,
            process_group=0,
            preexec_fn=_killed_with(os.getpid()),
        )
        self._logger.info("run.started", pid=process.pid, command=self._command[0])
        return _Group(process)

    def _environment(self, session: InstanceSession) -> dict[str, str]:
        return {
            "HOPPER_ID": session.id,
            "HOPPER_NAMESPACE": self._settings.namespace,
            "HOPPER_INCARNATION": str(session.incarnation),
            "HOPPER_HEARTBEAT_KEY": Keys(self._settings.namespace).heartbeat(session.id),
            "HOPPER_TTL_S": str(seconds_of(session.spec.ttl_ms or self._settings.ttl_ms)),
            "HOPPER_REDIS_URL": self._settings.redis_url or "",
        }

    async def _attend(self, session: InstanceSession, group: "_Group") -> int:
        """Wait for the command's own end, or bring it about once `stop` was called."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell(session))
            ending = tasks.create_task(self._end_when_asked(group))
            code = exit_code(await group.process.wait())
            telling.cancel()
            if not self._asked.is_set():
                ending.cancel()  # else the rest of the group has the rest of its time
        self._logger.info("run.ended", code=code)
        return code

    async def _tell(self, session: InstanceSession) -> None:
        await self._report(session, Verb.RUN)
        await self._asked.wait()
        await self._report(session, Verb.STOP)

    async def _end_when_asked(self, group: "_Group") -> None:
        await self._asked.wait()
        await group.end(self._signal, self._stop_timeout_s)

    async def _report(self, session: InstanceSession, verb: Verb) -> None:
        """Tell the registry, however long Redis is away. A refusal is no reason to end the command."""
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(Unavailable),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.transition(verb, reason=Reason.EXIT if verb is Verb.STOP else "")
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=verb.value, detail=str(error))

    async def _report_failure(self, session: InstanceSession) -> None:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_delay(_FAIL_PATIENCE_S),
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.fail(reason=Reason.EXIT)
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=Verb.FAIL.value, detail=str(error))


def _unusable(command: str) -> int | None:
    """The exit code for a command that is not there or cannot be run, so that none is registered; None for others."""
    if shutil.which(command) is not None:
        return None
    return NOT_EXECUTABLE if os.sep in command and Path(command).exists() else NOT_FOUND


class _Group:
    """The process group of a command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def send(self, number: signal.Signals) -> bool:
        """Signal everyone in the group; whether there was anyone."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def end(self, number: signal.Signals, timeout_s: float) -> None:
        """Signal the group, and kill what is left of it after `timeout_s`, or at once if this is cancelled."""
        try:
            if self.send(number):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        while self._lives():  # noqa: ASYNC110 - the kernel sends no event for a group
                            await asyncio.sleep(_POLL_S)
        finally:
            if self._lives():
                self.send(signal.SIGKILL)
        await self.process.wait()

    def _lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return _has_living_member(self.process.pid)


def _has_living_member(group: int) -> bool:
    """Whether one of a group that exists is more than a zombie, which may stay for long where nobody reaps orphans."""
    processes = Path("/proc")
    if not processes.is_dir():
        return True
    for stat in processes.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def exit_code(returncode: int) -> int:
    """A return code of `subprocess` as a shell tells it: 128 and the number for one that a signal ended."""
    return 128 - returncode if returncode < 0 else returncode


# Linux only. Elsewhere a command whose supervisor was killed runs on until it ends by itself.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _killed_with(parent: int) -> Callable[[], None] | None:
    """For the forked child, before it becomes the command: have the kernel kill it when its supervisor dies."""
    if _LIBC is None:
        return None
    prctl, signalled = _LIBC.prctl, ctypes.c_ulong(signal.SIGKILL)

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signalled, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return arrange
