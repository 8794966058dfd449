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

import structlog

__all__ = ["ProcessGroup", "exit_code"]

_POLL_S = 0.02


class ProcessGroup:
    """A command and all it starts, as long as they stay in its group. It is killed when this process dies (Linux)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.left: list[int] = []
        """Who lives on after `end`, since this process may not signal them: programs of another user, as by sudo."""
        self._given_up = asyncio.Event()
        self._refused: set[signal.Signals] = set()
        self._logger = structlog.get_logger().bind(pid=process.pid)

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

    async def wait(self) -> int | None:
        """Wait for the command's end; answers its return code, None where `end` has given up on it."""
        waiting = {asyncio.ensure_future(self.process.wait()), asyncio.ensure_future(self._given_up.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return self.process.returncode

    def send(self, number: signal.Signals) -> bool:
        """Signal everyone in the group who may be signalled; whether there was anyone at all."""
        if self._has_a_successor():
            return False
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            if number not in self._refused:
                self._logger.warning("run.signal_refused", signal=number.name, detail=error.strerror)
            self._refused.add(number)
        return True

    async def end(self, number: signal.Signals, timeout_s: float) -> None:
        """Signal the group, and kill what is left of it after `timeout_s`, or at once if this is cancelled.

        One that was stopped goes on, so that it hears the signal. Who may not be signalled has the same time to end by
        itself; after that it is in `left`, and not waited for any more.
        """
        try:
            if not self.left and self.send(number):
                self.send(signal.SIGCONT)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        while self._lives():  # noqa: ASYNC110 - the kernel sends no event for a group
                            await asyncio.sleep(_POLL_S)
        finally:
            if self._lives():
                self.send(signal.SIGKILL)
        self.left = self._refusing()
        if self.process.pid in self.left:
            self._given_up.set()
        else:
            await self.process.wait()

    def _lives(self) -> bool:
        """Whether one of the group is more than a zombie, which may stay for long where nobody reaps orphans."""
        if self._has_a_successor():
            return False
        allowed = _signals(os.killpg, self.process.pid)
        if allowed is None or not Path("/proc").is_dir():
            return allowed is not None
        members = _members(self.process.pid)
        return any(members.values()) or (not members and not allowed)  # `/proc` may hide other users' processes

    def _has_a_successor(self) -> bool:
        """Whether the id of the command, which has ended, is another process' by now. While there is anyone left in a
        group the kernel gives its id to nobody: so the group is gone, and one of that id is none of ours."""
        return self.process.returncode is not None and _signals(os.kill, self.process.pid) is not None

    def _refusing(self) -> list[int]:
        """Who of the group lives and may not be signalled; the group's own id where that cannot be told."""
        if not self._lives():
            return []
        living = [pid for pid, lives in _members(self.process.pid).items() if lives]
        refusing = [pid for pid in living if _signals(os.kill, pid) is False]
        if not refusing and _signals(os.killpg, self.process.pid) is False:
            return [self.process.pid]
        return refusing


def _signals(send: Callable[[int, int], None], target: int) -> bool | None:
    """Whether a signal may be sent there; None where there is nobody."""
    try:
        send(target, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return False
    return True


def _members(group: int) -> dict[int, bool]:
    """Who is in a group as `/proc` shows it, and whether each is more than a zombie."""
    found: dict[int, bool] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group:
                found[int(stat.parent.name)] = state not in "ZX"
    return found


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
