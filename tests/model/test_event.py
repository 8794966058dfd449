"""Events: one entry of the log, read from the stream and written for those who watch."""

import orjson
import pytest
from hypothesis import given

from hopper.model.event import Event, EventType, Reason
from hopper.model.record import Record
from hopper.model.scope import Scope
from records import records

RECORD = Record(id="web", name="Web", scope=Scope.PROJECT, revision=7)


def entry(**fields: bytes) -> dict[bytes, bytes]:
    whole = {
        "type": b"updated", "id": b"web", "at_ms": b"1700000000000", "record": RECORD.to_json(),
        "previous": b'{"name":"web"}', "reason": b"lapsed", "actor": b"cli", "evidence": b'{"lateness_ms":3}',
    } | fields  # fmt: skip
    return {name.encode(): value for name, value in whole.items()}


def test_an_entry_is_read_field_by_field():
    event = Event.from_entry(b"7-0", entry())
    assert (event.revision, event.type, event.id, event.at_ms) == (7, EventType.UPDATED, "web", 1_700_000_000_000)
    assert (event.record, event.record_json) == (RECORD, RECORD.to_json())
    assert (event.previous, event.evidence) == ({"name": "web"}, {"lateness_ms": 3})
    assert (event.reason, event.actor, event.resync) == ("lapsed", "cli", False)


def test_an_entry_about_nobody_has_neither_id_nor_record():
    event = Event.from_entry(b"8-0", entry(type=b"hold_started", id=b"", record=b"", previous=b""))
    assert (event.id, event.record, event.previous, event.record_json) == (None, None, {}, b"")


def test_fields_that_may_be_missing_have_their_default():
    event = Event.from_entry(b"1-0", {b"type": b"registered", b"id": b"web", b"at_ms": b"5"})
    assert (event.record, event.previous, event.reason, event.actor, event.evidence) == (None, {}, "", "", {})


FOREIGN = {
    "another type": (b"1-0", entry(type=b"exploded")),
    "no type": (b"1-0", {b"id": b"web", b"at_ms": b"5"}),
    "no time": (b"1-0", {b"type": b"updated", b"id": b"web"}),
    "a time that is none": (b"1-0", entry(at_ms=b"noon")),
    "a record that is no JSON": (b"1-0", entry(record=b"{")),
    "a record that is no object": (b"1-0", entry(record=b"[]")),
    "old values that are no object": (b"1-0", entry(previous=b"7")),
    "evidence that is no object": (b"1-0", entry(evidence=b"[]")),
    "an id that is no revision": (b"x-0", entry()),
}


@pytest.mark.parametrize(("entry_id", "fields"), FOREIGN.values(), ids=FOREIGN.keys())
def test_an_entry_that_is_not_ours_is_refused(entry_id, fields):
    with pytest.raises((ValueError, KeyError)):
        Event.from_entry(entry_id, fields)


@given(records)
def test_the_document_shows_the_record_as_it_is(record):
    event = Event.from_entry(b"9-0", entry(record=record.to_json(), id=record.id.encode()))
    document = orjson.loads(event.to_json())
    assert list(document) == ["revision", "type", "id", "at_ms", "record", "previous", "reason", "actor", "evidence"]
    assert document["record"] == orjson.loads(record.to_json())
    assert (document["revision"], document["type"], document["id"]) == (9, "updated", record.id)


def test_the_document_of_an_event_about_nobody_has_null_for_both():
    document = orjson.loads(Event(revision=1, type=EventType.HOLD_ENDED, id=None, at_ms=5, record=None).to_json())
    assert (document["id"], document["record"]) == (None, None)


BY_CONTRACT = (
    "registered superseded updated parent_changed state_changed health_changed restart_claimed restart_exhausted "
    "deregistered hold_started hold_ended guard_raised guard_released"
)


def test_types_and_reasons_are_those_of_the_contract():
    assert " ".join(EventType) == BY_CONTRACT
    assert {"lapsed", "grace", "guard", "thresholds", "check", "exit", "operator"} <= set(Reason)
