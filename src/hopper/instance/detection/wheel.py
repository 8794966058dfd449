"""The timing wheel: what is due, by ticks of a few milliseconds."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Wheel"]


class Due(Protocol):
    """What a wheel holds: it remembers the one tick at which it is due, so that a new time replaces the old one."""

    tick: int


T = TypeVar("T", bound=Due)


class Wheel(Generic[T]):
    """Items by the tick at which they are due. Scheduling and popping cost the same at any size."""

    def __init__(self, *, tick_ms: int) -> None:
        self._tick_ms = tick_ms
        self._slots: dict[int, list[T]] = {}
        self._popped: int | None = None

    def schedule(self, item: T, at_ms: float) -> None:
        """Make `item` due at the first tick at or after `at_ms`, in place of any other time it had."""
        tick = int(-(-at_ms // self._tick_ms))
        if self._popped is not None and tick <= self._popped:
            tick = self._popped + 1
        if item.tick != tick:
            item.tick = tick
            self._slots.setdefault(tick, []).append(item)

    def cancel(self, item: T) -> None:
        """Make `item` due never."""
        item.tick = -1

    def pop_due(self, now_ms: float) -> Iterator[T]:
        """The items whose tick has come, each once; they are due no more."""
        current = int(now_ms // self._tick_ms)
        if self._popped is None or current - self._popped > len(self._slots):
            ticks = sorted(tick for tick in self._slots if tick <= current)
        else:
            ticks = list(range(self._popped + 1, current + 1))
        self._popped = current
        for tick in ticks:
            for item in self._slots.pop(tick, ()):
                if item.tick == tick:
                    item.tick = -1
                    yield item
