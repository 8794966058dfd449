"""Remains: what restored data still have of an incarnation that nobody heartbeats for any more."""

import asyncio

from hopper.errors import Unavailable
from hopper.store.instances import InstanceStore

__all__ = ["Remains"]

_SLACK_S = 0.2
"""Seconds by which the clocks of Redis and of this process may part while a heartbeat lapses."""


class Remains:
    """The heartbeat of an incarnation up to `newest`, in the way of a registration that takes over only a dead one.

    One that is left over lapses in its time. One that is renewed belongs to another program.
    """

    def __init__(self, store: InstanceStore, id: str, *, newest: int) -> None:
        self._store = store
        self._id = id
        self._newest = newest
        self._seen: tuple[int, float] | None = None
        """The incarnation that was found first, and when its heartbeat must have lapsed."""

    async def may_lapse(self) -> bool:
        """Whether the heartbeat has lapsed, or may yet; False where somebody renews it, or has registered meanwhile.

        Also true while Redis is away.
        """
        try:
            record = await self._store.read(self._id)
            _, left_ms = await self._store.read_heartbeat(self._id)
        except Unavailable:
            return True
        if record is not None and record.incarnation > self._newest:
            return False
        if record is None or left_ms <= 0:
            return True
        now = asyncio.get_running_loop().time()
        if self._seen is None:
            self._seen = record.incarnation, now + left_ms / 1000 + _SLACK_S
        return record.incarnation == self._seen[0] and now < self._seen[1]
