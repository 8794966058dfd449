"""The difference of two replicas as events, for listeners that must not miss what a gap in the log hid."""

from hopper.instance.replica import Replica
from hopper.model.event import Event, EventType
from hopper.model.record import FIELDS, Record

__all__ = ["difference"]

_TYPE_OF_FIELD = (
    ("incarnation", EventType.SUPERSEDED),
    ("parent_id", EventType.PARENT_CHANGED),
    ("state", EventType.STATE_CHANGED),
    ("health", EventType.HEALTH_CHANGED),
)


def difference(old: Replica, new: Replica) -> list[Event]:
    """What leads from one replica to the other: at most one event per instance, removals first.

    An instance that changed in several ways gets the event of the first of: incarnation, parent, state, health, else
    `updated`; `previous` names every field. The events carry the revision of the new replica and `resync`.
    """
    removed = [record for id, record in old.records.items() if id not in new.records]
    events = [_event(new, EventType.DEREGISTERED, record) for record in reversed(removed)]
    for id, record in new.records.items():
        before = old.records.get(id)
        if before is None:
            events.append(_event(new, EventType.REGISTERED, record))
        elif before != record:
            events.append(_event(new, _kind(before, record), record, before))
    return events


def _kind(before: Record, after: Record) -> EventType:
    for name, kind in _TYPE_OF_FIELD:
        if getattr(before, name) != getattr(after, name):
            return kind
    return EventType.UPDATED


def _event(new: Replica, kind: EventType, record: Record, before: Record | None = None) -> Event:
    previous = {}
    if before is not None:
        ignored = {"revision", "updated_at_ms"}
        changed = (name for name in FIELDS if name not in ignored and getattr(before, name) != getattr(record, name))
        previous = {name: getattr(before, name) for name in changed}
    return Event(
        revision=new.revision,
        type=kind,
        id=record.id,
        at_ms=record.updated_at_ms,
        record=record,
        record_json=new.json(record.id) or record.to_json(),
        previous=previous,
        reason="resync",
        resync=True,
    )
