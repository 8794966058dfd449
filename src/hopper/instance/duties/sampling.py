"""Sampling: the leading monitor reads the metrics of instances that have thresholds, and reports who is over them."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from hopper.errors import HopperError
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.instance.duties.levels import Levels, begins_anew
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import ALIVE, Health
from hopper.model.heartbeat import parse_heartbeat
from hopper.model.policy import Threshold
from hopper.model.record import Record
from hopper.model.thresholds import Hysteresis, effective_thresholds, evaluate
from hopper.store.sampling import SampleStore

__all__ = ["Sampling"]

_PAUSE_S = 1.0
_AT_ONCE = 250
"""Heartbeats read and judged before the next pulse and the next probe have their turn: about a millisecond."""


class Sampling(Duty):
    """Samples each instance with thresholds once in `sample_s`, in small batches that are spread over that time.

    What it remembers of an instance is only what decides about the next level; the level itself is with `Levels`.
    """

    name = "sampling"
    source = Reason.THRESHOLDS

    def __init__(self, post: Post, store: SampleStore, levels: Levels) -> None:
        super().__init__(post)
        self._store = store
        self._levels = levels
        self._thresholds: dict[str, Mapping[str, Threshold]] = {}
        self._undecided: dict[str, Hysteresis] = {}

    def begin(self) -> None:
        """Find out anew who has thresholds."""
        self._thresholds.clear()
        self._undecided.clear()
        for record in self._view.replica.records.values():
            self._watch(record)

    def take(self, events: list[Event]) -> None:
        """Take in changes: of thresholds, and of what the samples so far were taken of."""
        if not self._leads():
            return
        for event, record in of_instances(events):
            if event.type is EventType.DEREGISTERED:
                self._drop(record.id)
                continue
            if begins_anew(event):
                self._undecided.pop(record.id, None)
            if not self._watch(record) and self._levels.level(record.id, Reason.THRESHOLDS) is not Health.HEALTHY:
                self._levels.report(record.id, Reason.THRESHOLDS, Health.HEALTHY)

    def _watch(self, record: Record) -> bool:
        """Watch an instance where it has thresholds and must heartbeat, else drop it; whether it is watched."""
        thresholds = effective_thresholds(self._settings.thresholds, record.thresholds)
        if not thresholds or not record.monitored:
            self._drop(record.id)
            return False
        self._thresholds[record.id] = thresholds
        return True

    def _drop(self, id: str) -> None:
        self._thresholds.pop(id, None)
        self._undecided.pop(id, None)

    async def run(self) -> None:
        """Sample everybody within each `sample_s`; ends by cancellation."""
        while True:
            started, period_s = time.monotonic(), self._settings.sample_s
            if not self._leads():
                await asyncio.sleep(min(period_s, _PAUSE_S))
                continue
            ids = list(self._thresholds)
            for start in range(0, len(ids), _AT_ONCE):
                due = started + period_s * start / len(ids)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not self._leads():
                    break
                try:
                    await self._sample(ids[start : start + _AT_ONCE])
                except HopperError as error:
                    self._logger.warning("sampling.failed", detail=str(error))
                    await asyncio.sleep(_PAUSE_S)
                    break
            await asyncio.sleep(max(0.0, started + period_s - time.monotonic()))

    async def _sample(self, ids: Sequence[str]) -> None:
        """Sample those that are alive, without the heartbeats that are gone or of a former incarnation."""
        values = await self._store.read_heartbeats(ids)
        records, thresholds, count = self._view.replica.records, self._thresholds, self._settings.sample_count
        for id, value in zip(ids, values, strict=True):
            record = records.get(id)
            if value is None or record is None or record.health not in ALIVE or id not in thresholds:
                continue
            metrics = parse_heartbeat(value)
            if metrics.incarnation is not None and metrics.incarnation < record.incarnation:
                continue
            sample = evaluate(metrics.as_json(), thresholds[id])
            level = self._levels.level(id, Reason.THRESHOLDS)
            known = self._undecided.get(id)
            if sample.level is level and known is None:
                continue
            kept, changed = (known or Hysteresis()).take(level, sample, count=count)
            if kept.recent:
                self._undecided[id] = kept
            else:
                self._undecided.pop(id, None)
            if changed is not None:
                evidence = changed.evidence if changed.metric is not None else None
                self._levels.report(id, Reason.THRESHOLDS, changed.level, evidence)
