"""Tending: a background task that accompanies a body."""

import asyncio
from types import TracebackType
from typing import Any, Self

__all__ = ["Tending"]


class Tending:
    """A background task whose failure ends the body it accompanies, with the failure itself."""

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    def start(self, work: Any) -> None:
        self._task = self._tasks.create_task(work)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._task.cancel()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            ours = [inner for inner in group.exceptions if inner is not error]
            if not ours:
                return False
            raise ours[0] from error
        return False
