"""The reaper: as process 1 of a container, `hopper run` inherits every orphan there, and sees off the dead ones."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Reaper"]

_LOOK_S = 0.5


class Reaper:
    """Reaps the orphans that this process has inherited, and none of the children that it has started itself.

    A context manager around the work of the process. Does nothing where there is no `/proc`.
    """

    def __init__(self) -> None:
        self._own = set(_children())
        """Whoever started these waits for them."""
        self._starting = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="reaper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.contextmanager
    def starting(self) -> Iterator[Callable[[int], None]]:
        """Reap nobody while a child is started; call what is answered with its id, so that it is left alone."""
        self._starting += 1
        try:
            yield self._own.add
        finally:
            self._starting -= 1

    async def _run(self) -> None:
        while True:
            self.reap()
            await asyncio.sleep(_LOOK_S)

    def reap(self) -> list[int]:
        """Reap the dead orphans that are there; answers their ids."""
        if self._starting:
            return []
        children = _children()
        self._own &= children.keys()
        dead = [pid for pid, state in children.items() if state == "Z" and pid not in self._own]
        for pid in dead:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return dead


def _children() -> dict[int, str]:
    """The children of this process, each with its state as the kernel tells it."""
    me, found = os.getpid(), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == me:
                found[int(stat.parent.name)] = state
    return found
