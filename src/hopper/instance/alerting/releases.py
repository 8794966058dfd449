"""Releases: guards that were released, and whom they left silent: their alerts stand for these. It does no I/O.

A guard ends by time or by hand, also while all of its group are still silent. Those are told of by nobody else's alert,
and so it is over only when none of them is silent any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hopper.instance.alerting.deaths import Death
from hopper.instance.replica import Replica
from hopper.model.alert import KnownRelease
from hopper.model.event import Event, EventType
from hopper.model.group import ORPHANS, groups_around, project_of
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["LOST", "Release", "Releases", "is_after", "reach_ms", "silent_of"]

LOST = frozenset({Health.DOWN, Health.SUSPECT})


@dataclass(slots=True, kw_only=True)
class Release:
    """The last release of a group's guard. Times are milliseconds of Redis' clock.

    `revision` is that of the release, or where that was missed, of when it was found; `mark` names the delivery of its
    end. `left` has each that it left silent, by the revision from which on that is so. `again`: another guard stands,
    and its alert tells of those too.
    """

    mark: str
    revision: int
    at_ms: int | None = None
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    left: dict[str, int] = field(default_factory=dict)
    again: bool = False
    excused: set[str] = field(default_factory=set)
    """Those of them that are in maintenance: nobody waits for them."""

    @property
    def pending(self) -> bool:
        """Whether somebody whom it left is awaited."""
        return len(self.left) > len(self.excused)

    def drop(self, id: str) -> None:
        """It is not silent any more, or gone."""
        self.left.pop(id, None)
        self.excused.discard(id)

    def add(self, id: str, revision: int) -> None:
        """It is one of those that were left."""
        self.left[id] = revision
        self.count = max(self.count, len(self.left))

    def clear(self) -> None:
        """Nobody is one of those any more."""
        self.left.clear()
        self.excused.clear()

    def excuse(self, id: str, replica: Replica) -> None:
        """Look whether one is in maintenance now."""
        record = replica.records.get(id)
        if record is not None and record.maintenance is not None:
            self.excused.add(id)
        else:
            self.excused.discard(id)

    def had_lapsed(self, group: str, record: Record, event: Event) -> bool:
        """Whether this is the first verdict on a heartbeat that had lapsed before the release."""
        if record.health not in LOST or event.previous.get("health", Health.DOWN) in LOST:
            return False
        deadline_ms = event.evidence.get("deadline_ms")
        if self.at_ms is None or not isinstance(deadline_ms, int | float) or group not in groups_around(record):
            return False
        return deadline_ms < self.at_ms <= event.at_ms


def _kept(release: Release | KnownRelease) -> dict[str, Any]:
    """What is kept of a release in Redis, by the names that it has here and there."""
    values = {kept.name: getattr(release, kept.name) for kept in fields(KnownRelease)}
    return {**values, "left": dict(release.left)}


class Releases:
    """The last release of each group's guard that matters still, by group."""

    def __init__(self, known: Mapping[str, KnownRelease]) -> None:
        self._releases = {group: Release(**_kept(release)) for group, release in known.items()}

    def get(self, group: str) -> Release | None:
        """The release of a group's guard."""
        return self._releases.get(group)

    def put(self, group: str, release: Release) -> None:
        """A guard was released."""
        self._releases[group] = release

    def forget(self, group: str) -> None:
        """It matters no more."""
        self._releases.pop(group, None)

    def items(self) -> list[tuple[str, Release]]:
        """Each by its group."""
        return list(self._releases.items())

    def all(self) -> dict[str, KnownRelease]:
        """What another leader is to know of them."""
        return {group: KnownRelease(**_kept(release)) for group, release in self._releases.items()}

    def has(self, id: str) -> bool:
        """Whether the alert of a guard that was released stands for an instance."""
        return any(id in release.left for release in self._releases.values())

    def spare(self, record: Record, death: Death, guards: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether the alert of a guard tells of a death: of one that stands, or that left it silent.

        Not of one that was down before the guard, which has nothing to do with it.
        """
        if self.has(record.id):
            return True
        groups = groups_around(record)
        return any(group in groups and is_after(reach_ms(guard), death.at_ms) for group, guard in guards.items())

    def heed(self, event: Event, record: Record, replica: Replica) -> list[str]:
        """Take in what happened to an instance; answers the groups for whose guards nobody is awaited since.

        An event that was read before changes nothing. The replica may be newer than the event.
        """
        over: list[str] = []
        for group, release in self._releases.items():
            was_pending = release.pending
            if release.left.get(record.id, event.revision) < event.revision:
                if _is_left(event, record, release.left[record.id]):
                    release.excuse(record.id, replica)
                else:
                    release.drop(record.id)
            is_new = record.id not in release.left and event.revision > release.revision
            if was_pending and is_new and release.had_lapsed(group, record, event):
                release.add(record.id, event.revision)
                release.excuse(record.id, replica)
            if was_pending and not release.pending and not release.again:
                over.append(group)
        return over

    def refresh(self, group: str, replica: Replica) -> None:
        """Keep of those that a guard left who are so by a replica that is up to date."""
        release = self._releases[group]
        release.revision = min(release.revision, replica.revision)
        for id, revision in list(release.left.items()):
            record = replica.records.get(id)
            if record is None:
                if id not in replica.unreadable:
                    release.drop(id)
                continue
            release.left[id] = min(revision, record.revision)
            if record.incarnation > revision or not _is_silent(record):
                release.drop(id)
            else:
                release.excuse(id, replica)


def _is_silent(record: Record) -> bool:
    return record.health in LOST or (record.state is State.FAILED and record.down_at_ms is not None)


def _is_left(event: Event, record: Record, since: int) -> bool:
    """Whether one that a guard left silent still is after an event: the claim of a restart alone changes nothing."""
    if event.type is EventType.DEREGISTERED or record.incarnation > since:
        return False
    if record.health in LOST:
        return event.previous.get("health", Health.DOWN) in LOST
    return _is_silent(record) and event.type is not EventType.STATE_CHANGED


def reach_ms(guard: Mapping[str, Any]) -> int | None:
    """From when on a guard takes verdicts back: a TTL before it was raised. None where it does not say."""
    since_ms, ttl_ms = guard.get("since_ms"), guard.get("ttl_ms")
    if isinstance(since_ms, int | float) and isinstance(ttl_ms, int | float):
        return int(since_ms - ttl_ms)
    return None


def is_after(from_ms: int | None, at_ms: int) -> bool:
    """Whether a death is not from before a guard."""
    return from_ms is None or at_ms >= from_ms


def silent_of(group: str, replica: Replica) -> Iterator[Record]:
    """Who of a group is silent, or was until its restart was claimed. Looks only at what is lost or failed."""
    wanted: Iterable[Selector] = (
        Selector(health=frozenset({Health.SUSPECT})),
        Selector(health=frozenset({Health.DOWN})),
        Selector(state=frozenset({State.FAILED})),
    )
    project = project_of(group)
    for one in wanted:
        if project is not None:
            found = replica.select(replace(one, parent=project, scope=frozenset({Scope.ORCHESTRATION})))
        else:
            found = replica.select(replace(one, orphan=group == ORPHANS))
        for record in found:
            if _is_silent(record):
                yield record
