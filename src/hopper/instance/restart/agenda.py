"""An agenda: what is due when, so that nobody has to look at all there is."""

import asyncio
import heapq
import time
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["Agenda"]

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    """Keys by the time at which they are due, each once: the earlier time counts. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._order: list[tuple[float, int, K]] = []
        self._serial = 0
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def put(self, key: K, *, after_s: float = 0.0) -> None:
        """Have a key due after some seconds, unless it is due earlier."""
        at = time.monotonic() + after_s
        if at < self._due.get(key, float("inf")):
            self._due[key] = at
            self._serial += 1
            heapq.heappush(self._order, (at, self._serial, key))
            self._wake.set()

    def put_all(self, keys: Iterable[K], *, after_s: float = 0.0) -> None:
        """The same for several."""
        for key in keys:
            self.put(key, after_s=after_s)

    def drop(self, key: K) -> None:
        """Forget a key."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self._order.clear()

    async def next(self, limit: int) -> list[K]:
        """Wait until something is due; answers up to `limit` keys, the earliest first, which are due no more."""
        while True:
            self._wake.clear()
            found = self._pop_due(limit)
            if found:
                return found
            left_s = self._order[0][0] - time.monotonic() if self._order else None
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pop_due(self, limit: int) -> list[K]:
        now = time.monotonic()
        found: list[K] = []
        while self._order and len(found) < limit:
            at, _, key = self._order[0]
            if self._due.get(key) != at:
                heapq.heappop(self._order)  # it was forgotten, or put earlier
            elif at > now:
                break
            else:
                heapq.heappop(self._order)
                del self._due[key]
                found.append(key)
        return found
