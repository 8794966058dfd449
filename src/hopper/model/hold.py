"""Holds: times in which nobody is judged, and what an instance is owed after one.

Heartbeats that were lost in a hold were lost for a reason that is not the instance's. So one whose TTL overlapped a
hold is judged only once Redis has worked, in sum, one TTL since that hold began: it has then had the time to heartbeat
that it was promised. All times are milliseconds of one monotonic clock.
"""

import math
from dataclasses import dataclass

__all__ = ["LEADERSHIP", "HoldLedger"]

LEADERSHIP = "leadership"
"""The reason of the hold with which every leader begins: routine, told to nobody."""


@dataclass(slots=True)
class _Hold:
    start_ms: float
    end_ms: float = math.inf


class HoldLedger:
    """The holds that can still matter, oldest first. The last one may be open."""

    def __init__(self, *, keep_ms: float = 2 * 86_400_000) -> None:
        self._holds: list[_Hold] = []
        self._keep_ms = keep_ms

    @property
    def open(self) -> bool:
        """Whether a hold is in force."""
        return bool(self._holds) and self._holds[-1].end_ms == math.inf

    def start(self, at_ms: float) -> None:
        """Begin a hold; it takes in those that are in force or ended no earlier than `at_ms`, so that none overlap."""
        while self._holds and self._holds[-1].end_ms >= at_ms:
            at_ms = min(at_ms, self._holds.pop().start_ms)
        self._holds.append(_Hold(at_ms))

    def end(self, at_ms: float) -> None:
        """End the hold in force; nothing where there is none. Forgets holds too old to matter."""
        if self.open:
            self._holds[-1].end_ms = max(at_ms, self._holds[-1].start_ms)
        self._holds = [hold for hold in self._holds if hold.end_ms > at_ms - self._keep_ms]

    def owed_ms(self, since_ms: float, ttl_ms: float, now_ms: float) -> float:
        """Milliseconds of working Redis still owed to an instance whose last sign of life was at `since_ms`.

        0 where no hold overlapped the time since; infinite while a hold is in force.
        """
        if self.open:
            return math.inf
        first_ms, held_ms = math.inf, 0.0
        for hold in reversed(self._holds):
            if hold.end_ms <= since_ms:
                break
            first_ms = max(hold.start_ms, since_ms)
            held_ms += hold.end_ms - first_ms
        if first_ms == math.inf:
            return 0.0
        return max(0.0, ttl_ms - (now_ms - first_ms - held_ms))
