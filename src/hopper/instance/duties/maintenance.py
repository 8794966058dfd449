"""Maintenance: the leading monitor puts back into service those whose time has come."""

import asyncio
from collections.abc import Callable

from hopper.errors import HopperError, NotFound, Unavailable
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.model.event import Event, EventType
from hopper.store.instances import InstanceStore

__all__ = ["MaintenanceEnds"]

ACTOR = "monitor"
_LOOK_S = 0.25
_AT_ONCE = 64


class MaintenanceEnds(Duty):
    """Ends each maintenance that has an end, by Redis' clock; a script decides, so that an early look ends nothing."""

    name = "maintenance"

    def __init__(self, post: Post, store: InstanceStore, *, redis_ms: Callable[[], float]) -> None:
        """`redis_ms` is Redis' clock as the monitor reckons it."""
        super().__init__(post)
        self._store = store
        self._redis_ms = redis_ms
        self._ends: dict[str, int] = {}

    def begin(self) -> None:
        """Note everybody's maintenance anew."""
        self._ends = {
            record.id: record.maintenance.until_ms
            for record in self._view.replica.records.values()
            if record.maintenance is not None and record.maintenance.until_ms is not None
        }

    def take(self, events: list[Event]) -> None:
        """Take in changes: a maintenance may have begun, changed or ended."""
        for event, record in of_instances(events):
            maintenance = None if event.type is EventType.DEREGISTERED else record.maintenance
            if maintenance is not None and maintenance.until_ms is not None:
                self._ends[record.id] = maintenance.until_ms
            else:
                self._ends.pop(record.id, None)

    async def run(self) -> None:
        """Look every quarter of a second whose time has come; ends by cancellation."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._leads() and self._ends:
                now_ms = self._redis_ms()
                due = [id for id, until_ms in self._ends.items() if until_ms <= now_ms]
                for start in range(0, len(due), _AT_ONCE):
                    await self._end(due[start : start + _AT_ONCE])

    async def _end(self, ids: list[str]) -> None:
        """End these. What is not told by the log afterwards is tried again with the next look."""
        for id, answer in zip(ids, await self._store.end_due_maintenance(ids, actor=ACTOR), strict=True):
            if isinstance(answer, NotFound):
                self._ends.pop(id, None)
            elif isinstance(answer, HopperError):
                told = self._logger.warning if isinstance(answer, Unavailable) else self._logger.error
                told("maintenance.not_ended", id=id, detail=str(answer))
