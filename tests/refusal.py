"""Processes of another user, which this one may not signal: real ones where they can be made, else by a fake."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

__all__ = ["LONG", "SHORT", "refusals", "refusing", "running"]

LONG, SHORT = (f"{seconds}.75{os.getpid():07}" for seconds in (1000, 0))
"""Seconds that those who refuse sleep: they are known by them, and nobody else's by others."""

_CAP_KILL = 5
_VERSION_3 = 0x20080522
_SIGNALS = {"kill": os.kill, "killpg": os.killpg}


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _effective(change: Callable[[int], int]) -> int:
    """Change the first 32 effective capabilities of this thread; answers what they were."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capget")
    before = int(sets[0].effective)
    sets[0].effective = change(before)
    if libc.capset(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capset")
    return before


@cache
def _wrapper() -> tuple[str, ...]:
    """What makes a command another user's; empty where that cannot be."""
    words = ("setpriv", "--reuid", "65534", "--clear-groups")
    if sys.platform != "linux" or os.geteuid() != 0:
        return ()
    try:
        return words if subprocess.run([*words, "true"], check=False).returncode == 0 else ()
    except FileNotFoundError:
        return ()


def refusing(seconds: str = LONG) -> str:
    """A shell command that sleeps, and that may not be signalled within `refusals`."""
    return " ".join([*_wrapper(), "sleep", seconds])


def running() -> list[int]:
    """Who refuses and lives."""
    return [pid for pid in _pids() if _refuses(pid) and _stat(pid)[0] not in "ZX"]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _stat(pid: int) -> tuple[str, int]:
    with contextlib.suppress(OSError):
        state, _, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
        return state, int(group)
    return "X", 0


def _refuses(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[0] == b"sleep" and words[1].decode() in (LONG, SHORT)
    return False


def _kill(pid: int, number: int) -> None:
    if _refuses(pid):
        raise PermissionError(1, "Operation not permitted")
    _SIGNALS["kill"](pid, number)


def _killpg(group: int, number: int) -> None:
    """As the kernel does it: whoever may be signalled is, and it is refused where nobody may be."""
    members = [pid for pid in _pids() if _stat(pid)[1] == group]
    if not members:
        raise ProcessLookupError(3, "No such process")
    refused = []
    for pid in members:
        try:
            _kill(pid, number)
        except PermissionError as error:
            refused.append(error)
    if len(refused) == len(members):
        raise refused[0]


@contextlib.contextmanager
def _fake() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", _kill)
        patch.setattr(os, "killpg", _killpg)
        yield


@contextlib.contextmanager
def _real() -> Iterator[None]:
    before = _effective(lambda present: present & ~(1 << _CAP_KILL))
    try:
        yield
    finally:
        _effective(lambda _: before)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """This thread may not signal what `refusing` has started; in the end it is killed."""
    try:
        with _real() if _wrapper() else _fake():
            yield
    finally:
        for pid in running():
            os.kill(pid, signal.SIGKILL)
