"""The difference of two replicas: what a listener is told after a gap."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopper.instance.difference import difference, difference_of_holds
from hopper.instance.replica import Replica
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State


def record(id: str, revision: int = 1, **fields: Any) -> Record:
    return Record(id=id, name=id, scope=Scope.ORCHESTRATION, revision=revision, created_revision=revision, **fields)


def replica(*records: Record, revision: int = 10) -> Replica:
    made = Replica()
    for one in records:
        made.put(one)
    made.revision = revision
    made.settle()
    return made


def test_what_is_new_is_registered_and_what_is_gone_is_deregistered_first():
    events = difference(replica(record("a"), record("b", 2)).records, replica(record("c", 9)))
    assert [(event.type, event.id) for event in events] == [
        (EventType.DEREGISTERED, "b"),
        (EventType.DEREGISTERED, "a"),
        (EventType.REGISTERED, "c"),
    ]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"tags": ("x",)}, EventType.UPDATED),
        ({"health": Health.DOWN}, EventType.HEALTH_CHANGED),
        ({"state": State.PAUSED, "health": Health.DOWN}, EventType.STATE_CHANGED),
        ({"parent_id": "p", "state": State.PAUSED}, EventType.PARENT_CHANGED),
        ({"incarnation": 9, "parent_id": "p"}, EventType.SUPERSEDED),
    ],
    ids=["the rest", "health", "state before health", "parent before state", "incarnation before all"],
)
def test_one_event_tells_of_all_that_changed_and_is_named_after_the_weightiest(changes, kind):
    (event,) = difference(replica(record("a")).records, replica(record("a", 9, **changes)))
    assert event.type is kind
    assert set(event.previous) == {*changes, "created_revision"}
    assert (event.resync, event.reason, event.revision) == (True, "resync", 10)
    assert event.record is not None
    assert event.record_json == event.record.to_json()


def test_previous_values_are_in_their_json_form_as_in_the_log():
    before = record("a", tags=("x", "y"), wish=Wish(name="web"))
    (event,) = difference(replica(before).records, replica(record("a", 9)))
    assert event.previous["tags"] == ["x", "y"]
    assert event.previous["wish"]["name"] == "web"


def test_a_record_that_came_back_to_what_it_was_is_no_event():
    before, after = record("a"), Record(id="a", name="a", scope=Scope.ORCHESTRATION, revision=9, created_revision=1)
    assert before != after
    assert difference(replica(before).records, replica(after)) == []


FLEETS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.sampled_from([None, "p"]), st.sampled_from(list(State)), st.sampled_from(list(Health))),
)


@given(FLEETS, FLEETS)
def test_applied_to_the_old_replica_the_difference_leads_to_the_new_one(old_fleet, new_fleet):
    serial = itertools.count(1)

    def build(fleet: Any) -> Replica:
        return replica(
            *(
                record(id, next(serial), parent_id=parent, state=state, health=health)
                for id, (parent, state, health) in fleet.items()
            )
        )

    old, new = build(old_fleet), build(new_fleet)
    for event in difference(old.records, new):
        old.apply(event)
    assert old.records == new.records


HOLDS = st.builds(
    lambda hold, guards: {"hold": hold, "guards": guards},
    st.sampled_from([None, {"since_ms": 1}, {"since_ms": 2}]),
    st.dictionaries(
        st.sampled_from(["global", "project:web"]), st.builds(lambda ms: {"since_ms": ms}, st.integers(1, 3))
    ),
)


def holding(hold: dict[str, Any] | None, guards: dict[str, dict[str, Any]]) -> Replica:
    made = replica()
    made.hold, made.guards = hold, {name: {**figures, "group": name} for name, figures in guards.items()}
    return made


@given(HOLDS, HOLDS)
def test_applied_to_the_old_replica_the_difference_of_holds_leads_to_the_new_one(before, after):
    old, new = holding(**before), holding(**after)
    for event in difference_of_holds(old, new):
        old.apply(event)
    assert (old.hold, old.guards) == (new.hold, new.guards)
    assert difference_of_holds(old, new) == []


def test_a_guard_that_fell_and_rose_again_in_a_gap_is_both_with_the_figures_of_each():
    old, new = (holding(None, {"project:web": {"since_ms": ms, "lapsed": ms}}) for ms in (1, 5))
    events = difference_of_holds(old, new)
    assert [(event.type, event.id, event.at_ms, event.evidence["lapsed"]) for event in events] == [
        (EventType.GUARD_RELEASED, None, 1, 1),
        (EventType.GUARD_RAISED, None, 5, 5),
    ]
    assert {(event.resync, event.reason, event.revision, event.record) for event in events} == {
        (True, "resync", 10, None)
    }
