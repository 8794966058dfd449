"""The difference of two replicas as events, for listeners that must not miss what a gap in the log hid."""

from collections.abc import Mapping
from typing import Any

import orjson

from hopper.instance.replica import Replica
from hopper.model.event import Event, EventType
from hopper.model.record import FIELDS, Record

__all__ = ["difference", "difference_of_holds"]

_TYPE_OF_FIELD = (
    ("incarnation", EventType.SUPERSEDED),
    ("parent_id", EventType.PARENT_CHANGED),
    ("state", EventType.STATE_CHANGED),
    ("health", EventType.HEALTH_CHANGED),
)

_COMPARED = tuple(name for name in FIELDS if name not in {"revision", "updated_at_ms"})


def difference(old: Mapping[str, Record], new: Replica) -> list[Event]:
    """What leads from the records that were to a replica: at most one event per instance, removals first.

    An instance that changed in several ways gets the event of the first of: incarnation, parent, state, health, else
    `updated`; `previous` names every field, in its JSON form as the log has it. The events carry the revision of the
    new replica and `resync`. One whose record differs in its revision only is none.
    """
    removed = [record for id, record in old.items() if id not in new.records]
    events = [_event(new, EventType.DEREGISTERED, record) for record in reversed(removed)]
    for id, record in new.records.items():
        before = old.get(id)
        if before is None:
            events.append(_event(new, EventType.REGISTERED, record))
        elif before != record and (previous := _previous(before, record)):
            events.append(_event(new, _kind(before, record), record, previous))
    return events


def difference_of_holds(old: Replica, new: Replica) -> list[Event]:
    """What leads from the hold and the guards that were in force to those that are: ends first, then beginnings.

    One that ended and began anew, with other evidence, is both. `at_ms` is when it began, also of an end.
    """
    before, after = _in_force(old), _in_force(new)
    ended = [
        _hold_event(new, name, evidence, begins=False) for name, evidence in before if (name, evidence) not in after
    ]
    begun = [
        _hold_event(new, name, evidence, begins=True) for name, evidence in after if (name, evidence) not in before
    ]
    return ended + begun


def _in_force(replica: Replica) -> list[tuple[str, dict[str, Any]]]:
    hold = [] if replica.hold is None else [("", replica.hold)]
    return hold + [(name, {**evidence, "group": name}) for name, evidence in replica.guards.items()]


def _hold_event(new: Replica, name: str, evidence: dict[str, Any], *, begins: bool) -> Event:
    kinds = (
        (EventType.GUARD_RAISED, EventType.GUARD_RELEASED) if name else (EventType.HOLD_STARTED, EventType.HOLD_ENDED)
    )
    since_ms = evidence.get("since_ms")
    return Event(
        revision=new.revision,
        type=kinds[0] if begins else kinds[1],
        id=None,
        record=None,
        at_ms=since_ms if isinstance(since_ms, int) else 0,
        evidence=evidence,
        reason="resync",
        resync=True,
    )


def _previous(before: Record, after: Record) -> dict[str, Any]:
    changed = {name: getattr(before, name) for name in _COMPARED if getattr(before, name) != getattr(after, name)}
    document: dict[str, Any] = orjson.loads(orjson.dumps(changed))
    return document


def _kind(before: Record, after: Record) -> EventType:
    for name, kind in _TYPE_OF_FIELD:
        if getattr(before, name) != getattr(after, name):
            return kind
    return EventType.UPDATED


def _event(new: Replica, kind: EventType, record: Record, previous: Mapping[str, Any] | None = None) -> Event:
    return Event(
        revision=new.revision,
        type=kind,
        id=record.id,
        at_ms=record.updated_at_ms,
        record=record,
        record_json=new.json(record.id) or record.to_json(),
        previous=previous or {},
        reason="resync",
        resync=True,
    )
