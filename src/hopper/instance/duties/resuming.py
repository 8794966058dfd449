"""Resuming: the leading monitor finishes removals that whoever began them has abandoned."""

import asyncio
import time

from hopper.errors import HopperError
from hopper.instance.departures import Departures
from hopper.instance.duties.duty import Duty, Post
from hopper.model.record import Record

__all__ = ["Resuming"]

ACTOR = "monitor"
REASON = "resumed"


class Resuming(Duty):
    """Looks at the instances that are marked as leaving, and finishes the one whose subtree has stopped shrinking."""

    name = "resuming"

    def __init__(self, post: Post, departures: Departures) -> None:
        super().__init__(post)
        self._departures = departures
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    async def run(self) -> None:
        """Look every quarter of `departure_quiet_ms`; ends by cancellation."""
        while True:
            await asyncio.sleep(self._settings.departure_quiet_ms / 4000)
            for record in self._abandoned(time.monotonic()):
                await self._resume(record)

    def _abandoned(self, now: float) -> list[Record]:
        """Those without progress for `departure_quiet_ms`; of one that leaves with its parent only the parent."""
        replica = self._view.replica
        leaving = replica.leaving() if self._leads() and self._view.complete else []
        roots = [record for record in leaving if not _leaves(replica.records.get(record.parent_id or ""))]
        seen: dict[str, tuple[tuple[int, int], float]] = {}
        abandoned = []
        for record in roots:
            progress = (record.revision, replica.count_below(record.id))
            known, since = self._seen.get(record.id, ((-1, -1), now))
            seen[record.id] = (progress, since if known == progress else now)
            if known == progress and (now - since) * 1000 >= self._settings.departure_quiet_ms:
                abandoned.append(record)
        self._seen = seen
        return abandoned

    async def _resume(self, record: Record) -> None:
        if record.leaving is None:
            return
        self._logger.info("departure.resumed", id=record.id, children=record.leaving.children)
        try:
            await self._departures.finish(
                record.id, record.leaving, incarnation=record.incarnation, reason=REASON, actor=ACTOR
            )
        except HopperError as error:
            self._logger.warning("departure.not_finished", id=record.id, detail=str(error))


def _leaves(record: Record | None) -> bool:
    return record is not None and record.leaving is not None
