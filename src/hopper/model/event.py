"""Events: one entry of the log per visible change of a namespace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from hopper.model.record import Record

__all__ = ["Event", "EventType", "Reason"]


class EventType(StrEnum):
    """What changed."""

    REGISTERED = "registered"
    SUPERSEDED = "superseded"
    UPDATED = "updated"
    PARENT_CHANGED = "parent_changed"
    STATE_CHANGED = "state_changed"
    HEALTH_CHANGED = "health_changed"
    RESTART_CLAIMED = "restart_claimed"
    RESTART_EXHAUSTED = "restart_exhausted"
    DEREGISTERED = "deregistered"
    HOLD_STARTED = "hold_started"
    HOLD_ENDED = "hold_ended"
    GUARD_RAISED = "guard_raised"
    GUARD_RELEASED = "guard_released"


class Reason(StrEnum):
    """Why a verdict was given."""

    LAPSED = "lapsed"
    GRACE = "grace"
    GUARD = "guard"
    THRESHOLDS = "thresholds"
    CHECK = "check"
    CHILDREN = "children"
    """More of its children than it allows have exhausted their restarts."""
    EXIT = "exit"
    FAILED = "failed"
    """The instance had said so itself."""
    NOT_REGISTERED = "not-registered"
    """Its restart was sent, and it has not registered in its time."""
    OPERATOR = "operator"
    HEARTBEAT = "heartbeat"
    """The instance heartbeats again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change. `record` is the state after it; for `deregistered` the last one there was.

    `previous` holds the old values of the fields that changed. `evidence` holds the figures behind a verdict or a hold.
    `resync` marks an event that a view made up from the difference of two snapshots, since the log had a gap.
    """

    revision: int
    type: EventType
    id: str | None
    at_ms: int
    record: Record | None
    record_json: bytes = b""
    previous: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    actor: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    resync: bool = False

    @classmethod
    def from_entry(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> "Event":
        """Read one entry of the stream. Raises `ValueError` or `KeyError` where it is not one of ours."""
        record_json = fields.get(b"record", b"")
        return cls(
            revision=int(entry_id.split(b"-")[0]),
            type=EventType(fields[b"type"].decode()),
            id=fields[b"id"].decode() or None,
            at_ms=int(fields[b"at_ms"]),
            record=Record.from_document(_object(record_json)) if record_json else None,
            record_json=record_json,
            previous=_object(fields.get(b"previous")),
            reason=fields.get(b"reason", b"").decode(),
            actor=fields.get(b"actor", b"").decode(),
            evidence=_object(fields.get(b"evidence")),
        )

    def to_json(self) -> bytes:
        """The JSON document of the event, as `hopper watch` and the event stream show it."""
        head = {"revision": self.revision, "type": self.type, "id": self.id, "at_ms": self.at_ms}
        tail = {"previous": self.previous, "reason": self.reason, "actor": self.actor, "evidence": self.evidence}
        document = {**head, "record": orjson.Fragment(self.record_json or b"null"), **tail}
        return orjson.dumps(document)


def _object(value: bytes | None) -> dict[str, Any]:
    document = orjson.loads(value or b"{}")
    if not isinstance(document, dict):
        raise ValueError(f"{document!r} is not an object")
    return document
