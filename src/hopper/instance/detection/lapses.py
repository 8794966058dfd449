"""Lapses: who has lapsed, when and with what TTL, and how many of them together. Times are local milliseconds.

Whoever lapses at `t` with a TTL of `T` fell silent somewhere between `t - T` and `t`. So those may have fallen silent
together of whom there is a moment within all these spans; and then they lapsed within the largest TTL among them. A
slow one that has lapsed makes no two quick ones one that did so far from each other.
"""

import heapq
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass
from math import inf

__all__ = ["Lapses", "Together"]


@dataclass(frozen=True, slots=True)
class Together:
    """So many may have fallen silent at one moment; the largest TTL among them."""

    count: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class _Lapse:
    at_ms: float
    ttl_ms: int
    place: str


class Lapses:
    """Each id that lapsed, once, and nothing more, however often it did."""

    def __init__(self) -> None:
        self._lapses: OrderedDict[str, _Lapse] = OrderedDict()
        self._times: list[float] = []
        """When each of them lapsed, the earliest first."""
        self._floor_ms = float("-inf")
        self._most = 0
        """How many at most fell silent together when that was last looked at."""
        self._added = 0
        """How many have lapsed since."""

    def __len__(self) -> int:
        return len(self._lapses)

    def put(self, id: str, at_ms: float, ttl_ms: int, place: str) -> None:
        """Count one that lapsed in place of an earlier lapse of its own. `place` names the group that it is of."""
        self.pop(id)
        if at_ms < self._floor_ms:
            return
        self._lapses[id] = _Lapse(at_ms, ttl_ms, place)
        insort(self._times, at_ms)
        self._added += 1

    def pop(self, id: str) -> float | None:
        """Count one no more; answers when it lapsed, None where it was not counted."""
        lapse = self._lapses.pop(id, None)
        if lapse is None:
            return None
        if lapse.at_ms >= self._floor_ms:
            del self._times[bisect_left(self._times, lapse.at_ms)]
        return lapse.at_ms

    def pop_of(self, place: str) -> None:
        """Count nobody of a group any more."""
        for id in [id for id, lapse in self._lapses.items() if lapse.place == place]:
            self.pop(id)

    def clear(self) -> None:
        """Count nobody any more."""
        self._lapses.clear()
        self._times.clear()
        self._most = self._added = 0

    def prune(self, before_ms: float) -> None:
        """Count nobody any more who lapsed before this."""
        self._floor_ms = max(self._floor_ms, before_ms)
        while self._lapses:
            id, lapse = next(iter(self._lapses.items()))
            if lapse.at_ms >= self._floor_ms:
                break
            del self._lapses[id]
        del self._times[: bisect_left(self._times, self._floor_ms)]

    def at_ms(self, id: str) -> float | None:
        """When one lapsed, None where it is not counted."""
        lapse = self._lapses.get(id)
        return None if lapse is None else lapse.at_ms

    def since(self, from_ms: float, to_ms: float = inf) -> int:
        """How many have lapsed from a time on, up to another."""
        return bisect_right(self._times, to_ms) - bisect_left(self._times, from_ms)

    def together(self, now_ms: float, more_than: float) -> Together | None:
        """The most that may have fallen silent together, the last of them no longer ago than the largest TTL among
        them, where they are more than that; else None.

        It looks at all of them only where so many have lapsed since it last did that it may be so.
        """
        if min(len(self), self._most + self._added) <= more_than:
            return None
        self._most, found = self._sweep(now_ms)
        self._added = 0
        return found if found is not None and found.count > more_than else None

    def _sweep(self, now_ms: float) -> tuple[int, Together | None]:
        """How many fell silent together at most, and the most of those of whom one lapsed within their largest TTL."""
        most, found, latest_ms = 0, None, float("-inf")
        ends: list[float] = []
        ttls: list[tuple[int, float]] = []
        for start_ms, lapse in sorted(((one.at_ms - one.ttl_ms, one) for one in self._lapses.values()), key=_start):
            heapq.heappush(ends, lapse.at_ms)
            heapq.heappush(ttls, (-lapse.ttl_ms, lapse.at_ms))
            while ends[0] < start_ms:
                heapq.heappop(ends)
            while ttls[0][1] < start_ms:
                heapq.heappop(ttls)
            most, ttl_ms, latest_ms = max(most, len(ends)), -ttls[0][0], max(latest_ms, lapse.at_ms)
            if latest_ms >= now_ms - ttl_ms and (found is None or len(ends) >= found.count):
                found = Together(len(ends), ttl_ms)
        return most, found


def _start(one: tuple[float, _Lapse]) -> float:
    return one[0]
