"""The replica: what is held, in which order, and what an index answers."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hopper.instance.replica import Replica
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State
from specs import ids


def record(id: str, revision: int, scope: Scope = Scope.ORCHESTRATION, **fields: Any) -> Record:
    return Record(id=id, name=fields.pop("name", id), scope=scope, revision=revision, **fields)


def event(kind: EventType, revision: int, of: Record | None, **fields: Any) -> Event:
    return Event(revision=revision, type=kind, id=of.id if of else None, at_ms=0, record=of, **fields)


def tree() -> Replica:
    replica = Replica()
    replica.put(record("g", 1, Scope.GLOBAL, created_revision=1))
    replica.put(record("p", 2, Scope.PROJECT, parent_id="g", created_revision=2))
    replica.put(record("o1", 3, parent_id="p", created_revision=3))
    replica.put(record("o2", 4, parent_id="p", created_revision=4))
    replica.put(record("alone", 5, created_revision=5))
    replica.revision = 5
    replica.settle()
    return replica


def test_a_record_that_is_older_than_the_one_held_is_not_taken():
    replica = Replica()
    replica.put(record("x", 7, version="new"))
    replica.put(record("x", 6, version="old"))
    replica.put(record("x", 7, version="as new"))
    assert replica.records["x"].version == "new"


def test_a_removal_that_is_older_than_the_record_held_is_not_taken():
    replica = Replica()
    replica.put(record("x", 7))
    replica.remove("x", 6)
    assert "x" in replica.records
    replica.remove("x", 8)
    assert "x" not in replica.records


def test_while_loading_a_record_that_is_older_than_its_removal_is_not_taken():
    replica = Replica()
    replica.remove("x", 8)
    replica.put(record("x", 7))
    assert "x" not in replica.records
    replica.put(record("x", 9))
    assert "x" in replica.records


def test_once_settled_removals_are_not_remembered():
    replica = tree()
    for revision in range(6, 106):
        gone = record(f"x{revision}", revision)
        replica.apply(event(EventType.REGISTERED, revision, gone))
        replica.remove(gone.id, revision)
    assert replica._removed is None
    assert len(replica) == 5


def test_an_event_moves_the_revision_and_keeps_its_json_as_it_came():
    replica = tree()
    after = record("o1", 6, parent_id="p", created_revision=3, state=State.PAUSED)
    replica.apply(event(EventType.STATE_CHANGED, 6, after, record_json=b'{"as": "it came"}'))
    assert replica.revision == 6
    assert replica.json("o1") == b'{"as": "it came"}'
    assert replica.state_counts()[State.PAUSED] == 1


def test_json_is_encoded_once_per_change():
    replica = tree()
    first = replica.json("p")
    assert replica.json("p") is first
    replica.put(record("p", 6, Scope.PROJECT, parent_id="g", version="2"))
    assert b'"version":"2"' in (replica.json("p") or b"")
    assert replica.json("nobody") is None


def test_the_family_of_an_instance():
    replica = tree()
    assert ids(replica.children("g")) == ["p"]
    assert ids(replica.children("p")) == ["o1", "o2"]
    assert ids(replica.ancestors("o1")) == ["p", "g"]
    assert ids(replica.descendants("g")) == ["p", "o1", "o2"]
    assert ids(replica.orphans()) == ["alone"]
    assert replica.global_id == "g"
    assert replica.children("nobody") == replica.ancestors("nobody") == replica.descendants("nobody") == []


def test_children_stay_in_the_order_of_creation_however_they_change():
    replica = tree()
    replica.put(record("o1", 6, parent_id="p", created_revision=3, health=Health.DOWN))
    assert ids(replica.children("p")) == ["o1", "o2"]
    replica.put(record("alone", 7, parent_id="p", created_revision=5))
    replica.put(record("o1", 8, created_revision=3))
    replica.put(record("o1", 9, parent_id="p", created_revision=3))
    assert ids(replica.children("p")) == ["o1", "o2", "alone"]
    assert list(replica.records) == ["g", "p", "o1", "o2", "alone"]


def test_a_parent_that_is_not_known_ends_the_line():
    replica = Replica()
    replica.put(record("o", 1, parent_id="not here yet"))
    assert replica.ancestors("o") == []
    assert replica.orphans() == []


def test_the_name_of_a_scope_finds_its_holder_and_no_other():
    replica = Replica()
    replica.put(record("p", 1, Scope.PROJECT, name="web"))
    replica.put(record("o", 2, name="web"))
    assert replica.named(Scope.PROJECT, "web") is replica.records["p"]
    assert replica.named(Scope.ORCHESTRATION, "web") is replica.records["o"]
    assert replica.named(Scope.GLOBAL, "web") is None
    replica.put(record("p", 3, Scope.PROJECT, name="shop"))
    assert replica.named(Scope.PROJECT, "web") is None
    assert replica.named(Scope.PROJECT, "shop") is replica.records["p"]


def test_a_global_that_goes_is_no_longer_the_global():
    replica = tree()
    replica.remove("g", 6)
    assert replica.global_id is None


def test_a_hold_is_there_from_its_start_to_its_end():
    replica = tree()
    replica.apply(event(EventType.HOLD_STARTED, 6, None, evidence={"reason": "a stall"}))
    assert replica.hold == {"reason": "a stall"}
    replica.apply(event(EventType.HOLD_ENDED, 7, None))
    assert (replica.hold, replica.revision) == (None, 7)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from([None, "p", "q"]),
        st.sampled_from(list(Health)),
        st.frozensets(st.sampled_from(["x", "y", "z"]), max_size=2),
        st.dictionaries(st.sampled_from(["zone", "rack"]), st.sampled_from(["1", "2"]), max_size=2),
        st.booleans(),
    ),
    max_size=30,
)


@given(STEPS)
def test_after_any_changes_the_indexes_are_those_of_a_replica_made_of_what_is_left(steps):
    changed = Replica()
    for revision, (id, parent_id, health, tags, metadata, removes) in enumerate(steps, start=1):
        if removes:
            changed.remove(id, revision)
        else:
            fields = {"parent_id": parent_id, "health": health, "tags": tuple(tags), "metadata": metadata}
            changed.put(record(id, revision, created_revision=revision, **fields))
    fresh = Replica()
    for one in changed.records.values():
        fresh.put(one)
    as_sets = [{key: set(members) for key, members in replica._index.items()} for replica in (changed, fresh)]
    assert as_sets[0] == as_sets[1]
    assert len(changed.select(Selector())) == len(changed)
