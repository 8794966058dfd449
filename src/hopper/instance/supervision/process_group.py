"""The process group of a command: started, signalled and ended as a whole, so that nothing of it is left behind."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

__all__ = ["ProcessGroup", "exit_code"]

_POLL_S = 0.02


class ProcessGroup:
    """A command and all it starts, as long as they stay in its group. It is killed when this process dies (Linux)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, command: Sequence[str], *, environment: Mapping[str, str]) -> Self:
        """Start a command in a group of its own, with this process' output, and its input unless that is a terminal.

        Raises `OSError` where it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            # Its group is not the terminal's: reading from there would stop it.
            stdin=asyncio.subprocess.DEVNULL if sys.stdin is not None and sys.stdin.isatty() else None,
            process_group=0,
            preexec_fn=_killed_with(os.getpid()),
        )
        return cls(process)

    def send(self, number: signal.Signals) -> bool:
        """Signal everyone in the group; whether there was anyone."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def end(self, number: signal.Signals, timeout_s: float) -> None:
        """Signal the group, and kill what is left of it after `timeout_s`, or at once if this is cancelled.

        One that was stopped goes on, so that it hears the signal.
        """
        try:
            if self.send(number):
                self.send(signal.SIGCONT)
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
