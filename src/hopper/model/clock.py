"""Redis' clock as the monitor reckons it from its own monotonic one, and what a pulse tells about both."""

from collections import deque
from dataclasses import dataclass

__all__ = ["Beat", "RedisClock"]

_ROUNDING_MS = 20.0
"""What whole milliseconds and the drift between two clocks over some seconds may add to a delay."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What one pulse told: Redis' delay in milliseconds, and by how much its clock jumped, 0 where it did not."""

    delay_ms: float
    moved_ms: float = 0.0


class RedisClock:
    """Maps the local monotonic clock to Redis' in milliseconds.

    Redis answers TIME when it handles a call, never before it was sent: so the least of `TIME - sent` over the last
    pulses is the offset of the two clocks plus the shortest way there. A pulse's delay is its own `TIME - sent` less
    that, so a reader that is late does not count as a slow Redis.
    """

    def __init__(self, *, samples: int = 40, jump_ms: float = 500.0) -> None:
        self._offsets: deque[float] = deque(maxlen=samples)
        self._floors: deque[float] = deque(maxlen=samples)
        self._jump_ms = jump_ms

    @property
    def known(self) -> bool:
        """Whether there has been a pulse since the last jump."""
        return bool(self._offsets)

    @property
    def offset_ms(self) -> float:
        """Redis' clock less the local one; 0 before the first pulse."""
        return min(self._offsets, default=0.0)

    def redis_ms(self, local_ms: float) -> float:
        """What Redis' clock shows at a local time."""
        return local_ms + self.offset_ms

    def local_ms(self, redis_ms: float) -> float:
        """The local time at which Redis' clock shows `redis_ms`."""
        return redis_ms - self.offset_ms

    def latest_local_ms(self, redis_ms: float) -> float:
        """The latest local time at which Redis' clock can have shown `redis_ms`: it answered before the answer came."""
        return redis_ms - max(self._floors, default=0.0)

    def observe(self, *, sent_ms: float, received_ms: float, redis_ms: float) -> Beat:
        """Take in one pulse. A delay longer than its own round trip, or below zero, is a clock that jumped.

        A jump of less than `jump_ms` is taken over without a word: nobody's TTL was cut short by much.
        """
        offset, floor = redis_ms - sent_ms, redis_ms - received_ms
        if not self._offsets:
            self._note(offset, floor)
            return Beat(delay_ms=0.0)
        delay_ms = offset - self.offset_ms
        if delay_ms < -self._jump_ms or delay_ms > received_ms - sent_ms + self._jump_ms:
            self._forget()
            self._note(offset, floor)
            return Beat(delay_ms=0.0, moved_ms=delay_ms)
        if delay_ms > received_ms - sent_ms + _ROUNDING_MS:
            self._forget()
            delay_ms = 0.0
        self._note(offset, floor)
        return Beat(delay_ms=max(0.0, delay_ms))

    def _note(self, offset: float, floor: float) -> None:
        self._offsets.append(offset)
        self._floors.append(floor)

    def _forget(self) -> None:
        self._offsets.clear()
        self._floors.clear()
