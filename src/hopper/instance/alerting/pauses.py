"""Pauses: holds and guards, in which nobody is judged, or nobody of a group; when their alerts begin and end.

The alert of a guard goes on to stand for those whom it leaves silent. It does no I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hopper.instance.alerting.conditions import is_routine, newest, over
from hopper.instance.alerting.deaths import Deaths
from hopper.instance.alerting.releases import Release, Releases, is_after, reach_ms, silent_of
from hopper.instance.replica import Replica
from hopper.model.alert import FOUND, Alert, AlertKind, AlertStatus
from hopper.model.event import Event, EventType
from hopper.model.group import group_name
from hopper.model.health import Health
from hopper.model.record import Record

__all__ = ["Pauses"]


class Pauses:
    """The alerts of holds and guards. `told` is what is told and not over of all alerts, and changed in its place.

    `is_dead` says of one that is no longer `suspect` whether it is dead all the same.
    """

    def __init__(
        self, told: dict[str, int], deaths: Deaths, releases: Releases, *, is_dead: Callable[[Record], bool]
    ) -> None:
        self._told = told
        self._deaths = deaths
        self._releases = releases
        self._is_dead = is_dead

    def hold(self, event: Event, replica: Replica) -> list[Alert]:
        """A hold has begun or ended."""
        if is_routine(event.evidence, event.reason):
            return []
        if event.type is EventType.HOLD_STARTED:
            return self._begun(Alert.of_event(AlertKind.HOLD, AlertStatus.FIRING, event, None), replica)
        return self._ended(Alert.of_event(AlertKind.HOLD, AlertStatus.RESOLVED, event, None))

    def guard(self, event: Event, replica: Replica) -> list[Alert]:
        """A guard was raised: whom an earlier one of the group has left is told of by this one."""
        alert = Alert.of_event(AlertKind.GUARD, AlertStatus.FIRING, event, None)
        group = str(event.evidence.get("group", ""))
        release = self._releases.get(group)
        if release is None or release.revision >= alert.revision:
            return self._begun(alert, replica)
        if self._told.get(alert.key, -1) >= alert.revision:
            return []
        ends = []
        if alert.key in self._told:
            release.again = release.pending  # else its end was decided before, and not noted as sent
            ends = [_end_of_guard(group, release, event.at_ms, event.revision)]
        if not release.again:
            self._releases.forget(group)
        self._told[alert.key] = alert.revision
        return [*ends, alert]

    def release(self, event: Event, replica: Replica) -> tuple[list[Alert], list[Record]]:
        """A guard was released: its alert is over if nobody is left silent.

        Answers also the dead of whom no alert tells any more, since that of the guard was over before.
        """
        alert = Alert.of_event(AlertKind.GUARD, AlertStatus.RESOLVED, event, None)
        group = str(event.evidence.get("group", ""))
        known, told = self._releases.get(group), self._told.get(alert.key, -1)
        if told > event.revision or (known is not None and known.revision >= event.revision):
            return [], []  # it was read before
        left = [record for record in self._left_by(group, replica) if _is_of(record, event.evidence)]
        if alert.key not in self._told:
            return [alert], [record for record in left if record.health is not Health.SUSPECT]
        release = Release(
            mark=str(event.revision),
            revision=event.revision,
            at_ms=event.at_ms,
            reason=event.reason,
            evidence=event.evidence,
        )
        return [] if self._leave(group, release, left, replica) else self._ended(alert), []

    def heed(self, event: Event, record: Record, replica: Replica) -> list[Alert]:
        """The alerts of guards that are over by what happened to an instance."""
        groups = self._releases.heed(event, record, replica)
        return [alert for group in groups for alert in self._over(group, event.at_ms, event.revision)]

    def forget_untold(self, replica: Replica) -> None:
        """Whom a guard left of which nobody was told is told of by nobody.

        Where revisions were lost, the next release has a lower one than this had, and is news all the same.
        """
        for group, release in self._releases.items():
            if f"{AlertKind.GUARD}:{group}" not in self._told:
                release.clear()
                release.revision = min(release.revision, replica.revision)

    def _leave(self, group: str, release: Release, left: Iterable[Record], replica: Replica) -> bool:
        """Whether a guard that is released leaves somebody silent: then its alert stands for these."""
        before = self._releases.get(group)
        for id, revision in before.left.items() if before is not None else ():
            release.add(id, revision)
        for record in left:
            release.add(record.id, release.revision)
        for id in release.left:
            release.excuse(id, replica)
        if release.pending:
            self._releases.put(group, release)
        else:
            self._releases.forget(group)
        return release.pending

    def _left_by(self, group: str, replica: Replica) -> Iterator[Record]:
        """Who of a group is silent, and no alert of its own nor that of another guard tells of it."""
        for record in silent_of(group, replica):
            if f"{AlertKind.DOWN}:{record.id}" in self._told or self._is_of_another(group, record, replica):
                continue
            if record.health is Health.SUSPECT or self._is_newly_dead(record, replica):
                yield record

    def _is_newly_dead(self, record: Record, replica: Replica) -> bool:
        """Whether one is dead, and was not so before there were alerts."""
        return self._is_dead(record) and not self._deaths.of(record, replica.revision).spared

    def _is_of_another(self, group: str, record: Record, replica: Replica) -> bool:
        """Whether the guard of a group within this one tells of it."""
        own = group_name(record)
        release = self._releases.get(own)
        return own != group and (own in replica.guards or (release is not None and record.id in release.left))

    def _over(self, group: str, at_ms: int, revision: int) -> list[Alert]:
        """Nobody whom the guard of a group left is awaited any more."""
        release = self._releases.get(group)
        if release is None or self._told.pop(f"{AlertKind.GUARD}:{group}", None) is None:
            return []
        release.clear()
        return [_end_of_guard(group, release, at_ms, revision)]

    def _begun(self, alert: Alert, replica: Replica) -> list[Alert]:
        """A guard or a hold begins: it is told, unless the leader before did. An earlier one is over."""
        earlier = self._told.get(alert.key, -1)
        if earlier >= alert.revision:
            return []
        ends = over(alert.key, earlier, replica, alert.at_ms) if alert.key in self._told else []
        self._told[alert.key] = alert.revision
        return [*ends, alert]

    def _ended(self, alert: Alert) -> list[Alert]:
        """A guard or a hold is over, also one whose begin was not told; unless another was told since."""
        if self._told.get(alert.key, -1) > alert.revision:
            return []
        self._told.pop(alert.key, None)
        return [alert]

    def compare(self, group: str, revision: int, replica: Replica, now_ms: int) -> list[Alert]:
        """What has become of a guard that was told of at a revision."""
        key, mark, release = f"{AlertKind.GUARD}:{group}", f"{group}@{revision}", self._releases.get(group)
        self._told[key] = min(revision, newest(key, replica))
        if release is not None:
            if release.revision > replica.revision:
                release.mark = mark  # its revision is lost, and may come again
            self._releases.refresh(group, replica)
        if group in replica.guards:
            if release is not None:
                release.again = True
            return []
        if release is None or release.again:
            left = [record for record in self._left_by(group, replica) if self._is_since(revision, record, replica)]
            if not self._leave(group, Release(mark=mark, revision=replica.revision), left, replica):
                del self._told[key]
                return over(key, revision, replica, now_ms)
        elif not release.pending:
            return self._over(group, now_ms, replica.revision)
        return []

    def _is_since(self, revision: int, record: Record, replica: Replica) -> bool:
        """Whether one may be silent since a guard told of at a revision: who is suspect may be in any case."""
        return record.health is Health.SUSPECT or self._deaths.of(record, replica.revision).revision >= revision


def _is_of(record: Record, guard: Mapping[str, Any]) -> bool:
    """Whether the silence of one may be of a guard, and is not from before it."""
    return record.down_at_ms is None or is_after(reach_ms(guard), record.down_at_ms)


def _end_of_guard(group: str, release: Release, at_ms: int, revision: int) -> Alert:
    """The alert of the end of a guard, by which nobody is awaited any more whom it left; or another one stands."""
    facts: dict[str, Any] = {"group": group, "left_down": release.count}
    if release.at_ms is not None:
        facts["released_at_ms"] = release.at_ms
    if release.again:
        facts["guarded_again"] = True
        facts["left_down"] = len(release.left)
    return Alert.make(
        AlertKind.GUARD,
        AlertStatus.RESOLVED,
        reason=release.reason or FOUND,
        why=release.reason,
        evidence={**release.evidence, **facts},
        at_ms=at_ms,
        revision=revision,
        origin=revision,
        mark=release.mark,
    )
