"""Conditions: what alerts are about, and whether it is so by a replica alone. It does no I/O."""

from collections.abc import Mapping
from typing import Any

from hopper.instance.alerting.releases import LOST
from hopper.instance.replica import Replica
from hopper.model.alert import Alert, AlertKind, AlertStatus
from hopper.model.hold import LEADERSHIP
from hopper.model.record import Record
from hopper.model.state import State

__all__ = ["is_failing", "is_routine", "is_so", "newest", "over", "standing", "still_failed"]


def is_routine(hold: Mapping[str, Any], reason: str = "") -> bool:
    """Whether a hold is the one with which every leader begins."""
    return bool(hold.get("reason", reason) == LEADERSHIP)


def is_failing(record: Record) -> bool:
    """Whether another failure of it is not told."""
    return record.state is State.FAILED or record.flapping


def is_so(key: str, revision: int, replica: Replica) -> bool:
    """Whether what was told at a revision under a key is not over, as far as a replica can say."""
    kind, _, subject = key.partition(":")
    match kind:
        case AlertKind.HOLD:
            return replica.hold is not None and not is_routine(replica.hold)
        case AlertKind.DOWN | AlertKind.FAILED:
            record = replica.records.get(subject)
            if record is None:
                return subject in replica.unreadable
            if record.incarnation > revision and not record.flapping:
                return False  # it was of another incarnation
            return is_failing(record) if kind == AlertKind.FAILED else _is_still_down(record)
        case _:
            return True  # a newer version told of it


def _is_still_down(record: Record) -> bool:
    """Whether the end of a death is not to be told: one that flaps is not calm, though it lives."""
    dead = record.health in LOST or (record.state is State.FAILED and record.down_at_ms is not None)
    return dead or (record.flapping and record.monitored)


def newest(key: str, replica: Replica) -> int:
    """The latest revision at which what was told under a key can have begun."""
    kind, _, subject = key.partition(":")
    record = replica.records.get(subject) if kind in (AlertKind.DOWN, AlertKind.FAILED) else None
    return replica.revision if record is None else record.revision


def standing(replica: Replica, now_ms: int) -> list[Alert]:
    """The guards and the hold that are in force, as alerts."""
    found = [(AlertKind.GUARD, {**evidence, "group": group}) for group, evidence in replica.guards.items()]
    if replica.hold is not None and not is_routine(replica.hold):
        found.append((AlertKind.HOLD, replica.hold))
    return [_in_force(kind, evidence, replica.revision, now_ms) for kind, evidence in found]


def _in_force(kind: AlertKind, evidence: Mapping[str, Any], revision: int, now_ms: int) -> Alert:
    since_ms = evidence.get("since_ms")
    return Alert.make(
        kind,
        AlertStatus.FIRING,
        why=str(evidence.get("reason", "")),
        evidence=evidence,
        at_ms=since_ms if isinstance(since_ms, int) else now_ms,
        revision=revision,
        origin=revision,
        mark=f"{evidence.get('group', kind)}@{since_ms}",
    )


def still_failed(record: Record, at_ms: int, origin: int) -> Alert:
    """The alert of one that came to be failed before, and is."""
    return Alert.make(
        AlertKind.FAILED,
        AlertStatus.FIRING,
        id=record.id,
        record=record,
        at_ms=at_ms,
        revision=record.revision,
        origin=origin,
    )


def over(key: str, revision: int, replica: Replica, now_ms: int) -> list[Alert]:
    """The alert of the end of what was told at a revision; none where nobody waits for it."""
    kind, _, subject = key.partition(":")
    match kind:
        case AlertKind.DOWN:
            record = replica.records.get(subject)
            return [_no_longer_down(subject, record, revision, replica.revision, now_ms)]
        case AlertKind.GUARD | AlertKind.HOLD:
            return [
                Alert.make(
                    AlertKind(kind),
                    AlertStatus.RESOLVED,
                    evidence={"group": subject} if kind == AlertKind.GUARD else {},
                    at_ms=now_ms,
                    revision=replica.revision,
                    origin=replica.revision,
                    mark=f"{subject or kind}@{revision}",
                )
            ]
    return []


def _no_longer_down(id: str, record: Record | None, revision: int, origin: int, now_ms: int) -> Alert:
    return Alert.make(
        AlertKind.DOWN,
        AlertStatus.RESOLVED,
        id=id,
        record=record,
        why=f"it is {record.state} and {record.health}" if record else "it was deregistered",
        at_ms=record.updated_at_ms if record else now_ms,
        revision=record.revision if record else revision,
        origin=origin,
        mark="" if record else f"{id}@{revision}",
    )
