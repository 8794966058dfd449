"""Levels: how well each instance that is alive does, as the worst that any source says of it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hopper.errors import HopperError, NotLeader, StaleIncarnation, Unavailable
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.instance.duties.inbox import Inbox
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import ALIVE, Health, severity
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.thresholds import effective_thresholds
from hopper.store.sampling import Assessment, SampleStore

__all__ = ["SOURCES", "Levels", "Report", "begins_anew"]

Report = Callable[[str, Health, dict[str, Any]], None]
"""`report(id, level, evidence)`: what one source says of an instance from now on."""

SOURCES: Final = (Reason.THRESHOLDS, Reason.CHECK, Reason.CHILDREN)
"""What may have a say in the health of an instance that is alive."""

_PAUSE_S = 1.0
_AT_ONCE = 200
"""Instances written before the next pulse and the next probe have their turn."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one source says of one instance."""

    level: Health
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Levels(Duty):
    """Writes the worst that the sources say into the record, once, and again where something else has overwritten it.

    A source calls `report` with every outcome, good ones too; a repeat costs nothing. What `thresholds` said ends with
    the heartbeats it was said of: after a lapse or another registration the metrics start anew. What the others said
    stands over both, and is written again as soon as the record says that the instance is alive.

    A new leader knows no source. It takes the record's health for what each source that applies would say, until that
    source reports, at most for as long as it may take to: nobody shall be healthy for a moment at a change of leaders.
    It must begin before the sources do, since that forgets what they have said, and never without them: a source may
    have nothing new to say for long.
    """

    name = "levels"

    def __init__(self, post: Post, store: SampleStore) -> None:
        super().__init__(post)
        self._store = store
        self._words: dict[str, dict[Reason, _Word]] = {}
        self._due: Inbox[Reason] = Inbox()

    # -- what the sources say --------------------------------------------------------------------------------------

    def report(self, id: str, source: Reason, level: Health, evidence: Mapping[str, Any] | None = None) -> None:
        """What a source says of an instance from now on: `healthy`, `degraded` or `unhealthy`. Does not wait.

        `evidence` goes into the event, with sentences as `reasons` where there are any. Raises `ValueError` for another
        source or level. Whoever is not monitored or has no record is forgotten.
        """
        if source not in SOURCES or level not in ALIVE:
            raise ValueError(f"{source} cannot say of '{id}' that it is {level}")
        known = self.level(id, source)
        if level is not Health.HEALTHY:
            self._words.setdefault(id, {})[source] = _Word(level, evidence or {})
        else:
            self._forget(id, source)
        record = self._view.replica.records.get(id)
        if record is None or not record.monitored:
            self._words.pop(id, None)
        elif level is not known or record.health is not self.effective(id):
            self._put(id, source)

    def reporter(self, source: Reason) -> Report:
        """`report` for one source."""

        def report(id: str, level: Health, evidence: dict[str, Any]) -> None:
            self.report(id, source, level, evidence)

        return report

    def level(self, id: str, source: Reason) -> Health:
        """What a source says of an instance; `healthy` where it has not spoken."""
        word = self._words.get(id, {}).get(source)
        return Health.HEALTHY if word is None else word.level

    def effective(self, id: str) -> Health:
        """The worst that any source says of an instance."""
        return max((word.level for word in self._words.get(id, {}).values()), key=severity, default=Health.HEALTHY)

    def _forget(self, id: str, source: Reason) -> None:
        words = self._words.get(id)
        if words is not None:
            words.pop(source, None)
            if not words:
                del self._words[id]

    # -- what the log tells ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget what the sources have said, and believe the records until they speak again."""
        self._words.clear()
        self._due.clear()
        for record in self._view.replica.records.values():
            if _does_badly(record):
                self._inherit(record, self._applying(record))

    def _applying(self, record: Record) -> list[Reason]:
        """The sources that may have put a record where it is."""
        sources = []
        if effective_thresholds(self._settings.thresholds, record.thresholds):
            sources.append(Reason.THRESHOLDS)
        if record.check is not None:
            sources.append(Reason.CHECK)
        has_children = self._view.replica.count("parent", record.id) > 0
        if record.scope is Scope.PROJECT and record.health is Health.UNHEALTHY and has_children:
            sources.append(Reason.CHILDREN)
        return sources

    def _inherit(self, record: Record, sources: list[Reason], evidence: Mapping[str, Any] | None = None) -> None:
        """Take a record's health for what these sources say. Metrics are sampled soon, the others get some time."""
        words = {source: _Word(record.health, evidence or {}) for source in sources}
        if not words:
            self._words.pop(record.id, None)
            self._put(record.id, Reason.THRESHOLDS)
            return
        self._words[record.id] = words
        for source, word in words.items():
            self._await(record, source, word)

    def doubt(self, source: Reason) -> None:
        """A source begins anew and has forgotten what it said: believe it until it speaks again, as a new leader would.

        Sampling has forgotten nothing: what it compares its samples with is here.
        """
        for id, words in self._words.items():
            record = self._view.replica.records.get(id)
            if record is not None and source in words:
                words[source] = replace(words[source])
                self._await(record, source, words[source])

    def _await(self, record: Record, source: Reason, word: _Word) -> None:
        if source is not Reason.THRESHOLDS:
            asyncio.get_running_loop().call_later(self._limit_s(record, source), self._lapse, record.id, source, word)

    def _limit_s(self, record: Record, source: Reason) -> float:
        """Seconds in which a source that watches an instance has spoken."""
        samples_s = 2 * self._settings.sample_count * self._settings.sample_s
        if source is Reason.CHECK and record.check is not None:
            return samples_s + (record.check.threshold + 1) * (record.check.interval_s + record.check.timeout_s)
        return samples_s

    def _lapse(self, id: str, source: Reason, word: _Word) -> None:
        """The time of a source to confirm what was inherited is over."""
        if self._words.get(id, {}).get(source) is word:
            self._forget(id, source)
            self._put(id, Reason.THRESHOLDS)

    def take(self, events: list[Event]) -> None:
        """Take in changes: whose record says otherwise than the sources is written again."""
        if not self._leads():
            return
        for event, record in of_instances(events):
            if event.type is EventType.DEREGISTERED or not record.monitored:
                self._words.pop(record.id, None)
                continue
            if begins_anew(event):
                self._forget(record.id, Reason.THRESHOLDS)
            elif self._is_anothers(event):
                self._inherit_verdict(record, event)
            if event.resync and _does_badly(record) and record.id not in self._words:
                self._inherit(record, self._applying(record))
            if record.health in ALIVE and record.health is not self.effective(record.id):
                self._put(record.id, Reason.THRESHOLDS)

    def _is_anothers(self, event: Event) -> bool:
        """Whether the leader before this one wrote an assessment that its view tells of only now."""
        alive = event.record is not None and event.record.health in ALIVE
        assessed = alive and event.type is EventType.HEALTH_CHANGED and event.reason in SOURCES
        return assessed and event.evidence.get("monitor") != self._monitor_id

    def _inherit_verdict(self, record: Record, event: Event) -> None:
        if _does_badly(record):
            sources = [source for source in self._applying(record) if source == event.reason]
            self._inherit(record, sources, event.evidence)
        else:
            self._words.pop(record.id, None)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _put(self, id: str, why: Reason) -> None:
        self._due.put([id], why)

    async def run(self) -> None:
        """Write whatever is due; ends by cancellation."""
        while True:
            due = await self._due.take()
            if not self._leads():
                continue
            waiting = [one for id, why in due.items() if (one := self._assessment(id, why)) is not None]
            for start in range(0, len(waiting), _AT_ONCE):
                if not await self._write(waiting[start : start + _AT_ONCE]):
                    self._due.put_back({one.id: due[one.id] for one in waiting[start:]})
                    await asyncio.sleep(_PAUSE_S)
                    break
                await asyncio.sleep(0)

    def _assessment(self, id: str, why: Reason) -> Assessment | None:
        """What is to be written of an instance, None where nothing is. `why` is told where it got better."""
        record = self._view.replica.records.get(id)
        if record is None or not record.monitored or record.health not in ALIVE:
            return None
        level = self.effective(id)
        if level is record.health:
            return None
        evidence: Mapping[str, Any] = {}
        for source, word in self._words.get(id, {}).items():
            if word.level is level:
                why, evidence = source, word.evidence
                break
        return Assessment(id, record.incarnation, level.value, why.value, {**evidence, "monitor": self._monitor_id})

    async def _write(self, batch: list[Assessment]) -> bool:
        """Write a batch; whether Redis took it. What became of a record that has changed meanwhile the log tells."""
        try:
            answers = await self._store.assess(batch, monitor_id=self._monitor_id)
        except HopperError as error:
            self._logger.warning("levels.failed", instances=len(batch), detail=str(error))
            return False
        taken = True
        for one, answer in zip(batch, answers, strict=True):
            match answer:
                case ["assessed", *_]:
                    self._logger.info("levels.assessed", id=one.id, health=one.health, reason=one.reason)
                case NotLeader() | StaleIncarnation() | [*_]:
                    pass
                case Unavailable():
                    taken = False
                case _:
                    self._logger.error("levels.refused", id=one.id, detail=str(answer))
        if not taken:
            self._logger.warning("levels.failed", instances=len(batch), detail="Redis did not take all of them")
        return taken


def begins_anew(event: Event) -> bool:
    """Whether the heartbeats of an instance are no longer those it was sampled by: a lapse, or another registration."""
    previous = event.previous
    lapsed = previous.get("health") in (Health.SUSPECT, Health.DOWN)
    return lapsed or "incarnation" in previous or event.type in (EventType.REGISTERED, EventType.SUPERSEDED)


def _does_badly(record: Record) -> bool:
    return record.health is Health.DEGRADED or record.health is Health.UNHEALTHY
