"""The record: the same in Python, in its hash and in JSON."""

import re

import orjson
import pytest
from hypothesis import given

from hopper.model.policy import Threshold, Wish
from hopper.model.record import FIELDS, MIXED_FIELDS, TEXT_FIELDS, Record, encode_field
from hopper.model.scope import Scope
from hopper.model.state import MONITORED_STATES, State
from records import records

BY_CONTRACT = (
    "id name scope parent_id state health address version description tags metadata config ephemeral ttl_ms grace_ms "
    "deregister_after_ms restart thresholds check wish max_children maintenance incarnation revision created_revision "
    "created_at_ms updated_at_ms started_at_ms stopped_at_ms down_at_ms restarts flapping"
)


def as_hash(record: Record) -> dict[bytes, bytes]:
    return {name.encode(): encode_field(name, getattr(record, name)).encode() for name in FIELDS}


def test_the_fields_are_those_of_the_contract_in_its_order_and_one_more():
    assert " ".join(FIELDS) == f"{BY_CONTRACT} leaving"


@given(records)
def test_a_record_comes_back_from_its_hash_as_it_was(record):
    assert Record.from_hash(as_hash(record)) == record


@given(records)
def test_a_record_comes_back_from_its_json_as_it_was(record):
    document = orjson.loads(record.to_json())
    assert tuple(document) == FIELDS
    assert Record.from_document(document) == record


@given(records)
def test_a_value_in_the_hash_is_text_or_json_and_empty_where_absent(record):
    document = orjson.loads(record.to_json())
    for name in FIELDS:
        text = encode_field(name, getattr(record, name))
        if document[name] is None:
            assert text == ""
        elif name in TEXT_FIELDS or (name in MIXED_FIELDS and not text.startswith("{")):
            assert text == document[name]
        else:
            assert orjson.loads(text) == document[name]


ENCODED = {
    "an absent value": ("parent_id", None, ""),
    "a text": ("name", 'a "b"', 'a "b"'),
    "an enumeration": ("scope", Scope.PROJECT, "project"),
    "an integer": ("ttl_ms", 15_000, "15000"),
    "a boolean": ("ephemeral", True, "true"),
    "a list": ("tags", ("a", "b"), '["a","b"]'),
    "an empty list": ("tags", (), "[]"),
    "an empty object": ("metadata", {}, "{}"),
    "an address": ("address", "web:80", "web:80"),
    "addresses": ("address", {"http": "web:80"}, '{"http":"web:80"}'),
    "a whole number with a fraction": (
        "thresholds",
        {"load": Threshold(degraded=1000.0, unhealthy=0.5)},
        '{"load":{"degraded":1000,"unhealthy":0.5}}',
    ),
    "a number of its owner's": ("config", {"x": 1.0}, '{"x":1.0}'),
    "a wish": ("wish", Wish(name="x"), '{"id":null,"name":"x","tags":[]}'),
}


@pytest.mark.parametrize(("name", "value", "text"), ENCODED.values(), ids=ENCODED.keys())
def test_an_operator_reads_a_value_in_the_hash_as_this_text(name, value, text):
    assert encode_field(name, value) == text


def test_fields_of_a_newer_version_are_left_out():
    record = Record(id="p", name="p", scope=Scope.PROJECT)
    assert Record.from_hash({**as_hash(record), b"colour": b"blue"}) == record
    assert Record.from_document({**orjson.loads(record.to_json()), "colour": "blue"}) == record


def test_fields_that_an_older_version_did_not_write_have_their_default():
    assert Record.from_hash({b"id": b"p", b"name": b"p", b"scope": b"project"}) == Record(
        id="p", name="p", scope=Scope.PROJECT
    )


@pytest.mark.parametrize("state", list(State), ids=str)
def test_a_record_is_monitored_in_a_monitored_state(state):
    assert Record(id="p", name="p", scope=Scope.PROJECT, state=state).monitored == (state in MONITORED_STATES)


@pytest.mark.parametrize("scope", list(Scope), ids=str)
def test_everyone_without_a_parent_but_the_global_is_an_orphan(scope):
    assert Record(id="x", name="x", scope=scope).is_orphan == (scope is not Scope.GLOBAL)
    assert not Record(id="x", name="x", scope=scope, parent_id="y").is_orphan


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("state", b"asleep", "state is 'asleep'"),
        ("ttl_ms", b"soon", "ttl_ms is 'soon'"),
        ("restart", b'{"colour": 1}', "restart is '{\"colour\": 1}'"),
        ("name", b"\xff", "name is '�'"),
    ],
)
def test_what_is_no_record_is_told_in_words_by_its_field(field, value, says):
    hashed = {b"id": b"p", b"name": b"p", b"scope": b"project", field.encode(): value}
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        Record.from_hash(hashed)


def test_a_record_without_what_it_must_have_says_what_that_is():
    with pytest.raises(ValueError, match=r"^it has no name, no scope$"):
        Record.from_hash({b"id": b"p"})
