"""Discovery: the same answers as a look at every record, in pages that do not move, and parents with room."""

import base64
from dataclasses import replace
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hopper.errors import Invalid
from hopper.instance.discovery import (
    SORT_FIELDS,
    Sample,
    discover,
    in_service_unless_told,
    page_of,
    parents_for,
    sample,
)
from hopper.instance.replica import Replica
from hopper.model.health import ALIVE, Health
from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.selector import Selector, in_service
from hopper.model.state import State

G, P, RUN = Scope.GLOBAL, Scope.PROJECT, Scope.ORCHESTRATION


def replica(*records: Record) -> Replica:
    made = Replica()
    for revision, record in enumerate(records, start=1):
        made.put(replace(record, revision=revision, created_revision=record.created_revision or revision))
    made.settle()
    return made


def record(id: str, scope: Scope = RUN, **fields: Any) -> Record:
    return Record(id=id, scope=scope, **{"name": id, "health": Health.HEALTHY, **fields})


FLEET = replica(
    record("g", G, version="1"),
    record("web", P, parent_id="g", name="web-eu", tags=("eu", "fast"), metadata={"zone": "a"}, max_children=3),
    record("shop", P, parent_id="g", name="web-us", tags=("us",), metadata={"zone": "b", "rack": "1"}),
    record("full", P, parent_id="g", max_children=1, tags=("eu",)),
    record("sick", P, parent_id="g", health=Health.DOWN),
    record("o1", parent_id="web", version="2", tags=("eu",)),
    record("o2", parent_id="web", state=State.PAUSED, metadata={"zone": "a"}),
    record("o3", parent_id="full", flapping=True),
    record("o4", parent_id="shop", maintenance=Maintenance(reason="x")),
    record("lost", health=Health.SUSPECT, tags=("eu", "fast")),
    record("stray", P, health=Health.UNKNOWN, state=State.STOPPED),
)
ALL = set(FLEET.records)

TABLE: dict[str, tuple[Selector, set[str]]] = {
    "nothing asked": (Selector(), ALL),
    "a scope": (Selector(scope=frozenset({P})), {"web", "shop", "full", "sick", "stray"}),
    "one of two scopes": (Selector(scope=frozenset({G, RUN})), {"g", "o1", "o2", "o3", "o4", "lost"}),
    "a state": (Selector(state=frozenset({State.PAUSED})), {"o2"}),
    "one of two states": (Selector(state=frozenset({State.PAUSED, State.STOPPED})), {"o2", "stray"}),
    "a health": (Selector(health=frozenset({Health.DOWN})), {"sick"}),
    "one of two healths": (Selector(health=frozenset({Health.DOWN, Health.SUSPECT})), {"sick", "lost"}),
    "a tag": (Selector(tags=frozenset({"eu"})), {"web", "full", "o1", "lost"}),
    "all of two tags": (Selector(tags=frozenset({"eu", "fast"})), {"web", "lost"}),
    "a tag nobody has": (Selector(tags=frozenset({"mars"})), set()),
    "an exact name": (Selector(name="web-eu"), {"web"}),
    "an id that is no name": (Selector(name="web"), set()),
    "a glob": (Selector(name="web-*"), {"web", "shop"}),
    "a glob of one character": (Selector(name="o?"), {"o1", "o2", "o3", "o4"}),
    "a glob of a set": (Selector(name="o[12]"), {"o1", "o2"}),
    "a parent": (Selector(parent="web"), {"o1", "o2"}),
    "a parent that is not there": (Selector(parent="nobody"), set()),
    "an ancestor": (Selector(ancestor="g"), ALL - {"g", "lost", "stray"}),
    "an ancestor and a scope": (Selector(ancestor="g", scope=frozenset({RUN})), {"o1", "o2", "o3", "o4"}),
    "an ancestor that is not there": (Selector(ancestor="nobody"), set()),
    "a version": (Selector(version="2"), {"o1"}),
    "metadata": (Selector(metadata={"zone": "a"}), {"web", "o2"}),
    "all of two metadata": (Selector(metadata={"zone": "b", "rack": "1"}), {"shop"}),
    "metadata with another value": (Selector(metadata={"zone": "c"}), set()),
    "orphans": (Selector(orphan=True), {"lost", "stray"}),
    "no orphans": (Selector(orphan=False), ALL - {"lost", "stray"}),
    "in service": (Selector(available=True), {"g", "web", "shop", "full", "o1"}),
    "not in service": (Selector(available=False), {"sick", "o2", "o3", "o4", "lost", "stray"}),
    "several": (Selector(scope=frozenset({RUN}), parent="web", tags=frozenset({"eu"}), available=True), {"o1"}),
}


@pytest.mark.parametrize(("selector", "expected"), TABLE.values(), ids=TABLE.keys())
def test_a_selector_finds_exactly_those_that_match(selector, expected):
    assert {one.id for one in FLEET.select(selector)} == expected


RECORDS = st.builds(
    record,
    id=st.uuids().map(str),
    scope=st.sampled_from(list(Scope)),
    name=st.sampled_from(["a", "ab", "b"]),
    parent_id=st.sampled_from([None, "p", "q"]),
    state=st.sampled_from([State.RUNNING, State.PAUSED, State.STOPPED]),
    health=st.sampled_from([Health.HEALTHY, Health.DEGRADED, Health.DOWN]),
    tags=st.frozensets(st.sampled_from("xyz"), max_size=2).map(tuple),
    metadata=st.dictionaries(st.sampled_from("km"), st.sampled_from("12"), max_size=2),
    version=st.sampled_from([None, "1", "2"]),
    flapping=st.booleans(),
    maintenance=st.sampled_from([None, Maintenance()]),
)
SELECTORS = st.builds(
    Selector,
    scope=st.frozensets(st.sampled_from(list(Scope)), max_size=2),
    state=st.frozensets(st.sampled_from([State.RUNNING, State.PAUSED]), max_size=2),
    health=st.frozensets(st.sampled_from(list(ALIVE)), max_size=2),
    tags=st.frozensets(st.sampled_from("xyz"), max_size=2),
    name=st.sampled_from([None, "a", "a*", "?", "[ab]", "nobody"]),
    parent=st.sampled_from([None, "p", "q", "nobody"]),
    version=st.sampled_from([None, "1"]),
    metadata=st.dictionaries(st.sampled_from("km"), st.sampled_from("12"), max_size=2),
    orphan=st.sampled_from([None, True, False]),
    available=st.sampled_from([None, True, False]),
)


def holds(selector: Selector, one: Record) -> bool:
    """What a selector means, said once more and without its code; names are told apart by hand."""
    names = {"a": {"a"}, "a*": {"a", "ab"}, "?": {"a", "b"}, "[ab]": {"a", "b"}, "nobody": set()}
    serving = one.state == "running" and one.health in ALIVE and not one.flapping and one.maintenance is None
    return all(
        [
            not selector.scope or one.scope in selector.scope,
            not selector.state or one.state in selector.state,
            not selector.health or one.health in selector.health,
            all(tag in one.tags for tag in selector.tags),
            selector.name is None or one.name in names[selector.name],
            selector.parent in (None, one.parent_id),
            selector.version in (None, one.version),
            all(item in one.metadata.items() for item in selector.metadata.items()),
            selector.orphan in (None, one.parent_id is None and one.scope != "global"),
            selector.available in (None, serving),
        ]
    )


@given(st.lists(RECORDS, max_size=20), st.lists(SELECTORS, min_size=1, max_size=5))
def test_an_index_finds_what_a_look_at_every_record_finds(records, selectors):
    fleet = replica(*records)
    for selector in selectors:
        assert {one.id for one in fleet.select(selector)} == {one.id for one in records if holds(selector, one)}


# -- what is discovered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given_", "asked"), [(None, True), (True, True), (False, None)])
def test_a_discovery_is_of_what_is_in_service_unless_it_says_otherwise(given_, asked):
    assert in_service_unless_told(Selector(name="x", available=given_)) == Selector(name="x", available=asked)


@pytest.mark.parametrize(
    ("child", "parents"), [(RUN, {"web", "shop", "sick", "stray"}), (P, {"g"}), (G, set())], ids=["o", "p", "g"]
)
def test_those_that_can_parent_are_of_the_scope_above_and_have_room(child, parents):
    assert {one.id for one in discover(FLEET, Selector(), can_parent=child)} == parents


def test_those_that_can_parent_must_be_of_the_scope_that_is_asked_for_too():
    assert discover(FLEET, Selector(scope=frozenset({G})), can_parent=RUN) == []
    assert {one.id for one in discover(FLEET, Selector(scope=frozenset({P, G})), can_parent=P)} == {"g"}


def test_available_parents_come_with_the_fewest_children_first_and_the_older_before_the_younger():
    assert [one.id for one in parents_for(FLEET, RUN)] == ["shop", "web"]
    even = replica(record("g", G), record("b", P, parent_id="g"), record("a", P, parent_id="g"))
    assert [one.id for one in parents_for(even, RUN)] == ["b", "a"]
    assert parents_for(FLEET, G) == []


def test_a_parent_of_every_scope_is_in_service():
    for scope in Scope:
        for one in parents_for(FLEET, scope):
            assert in_service(one)
            assert one.scope is PARENT_SCOPE[scope]


def test_the_least_loaded_come_first_and_a_random_order_has_them_all():
    records = list(FLEET.records.values())
    load = {one.id: number % 3 for number, one in enumerate(records)}
    ordered = sample(records, Sample.LEAST_LOADED, load=lambda one: load[one.id])
    assert [load[one.id] for one in ordered] == sorted(load.values())
    orders = {tuple(one.id for one in sample(records, Sample.RANDOM, load=lambda _: 0)) for _ in range(20)}
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset(ALL)}


# -- pages ---------------------------------------------------------------------------------------------------------


def walk(records: list[Record], *, sort: str, limit: int) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = page_of(records, sort=sort, limit=limit, cursor=cursor)
        pages.append([one.id for one in page.records])
        cursor = page.next_cursor
        if cursor is None:
            return pages


@pytest.mark.parametrize("descending", ["", "-"], ids=["up", "down"])
@pytest.mark.parametrize("field", SORT_FIELDS)
def test_pages_put_together_are_the_sorted_list(field, descending):
    records = list(FLEET.records.values())
    pages = walk(records, sort=descending + field, limit=3)

    def place(one: Record) -> tuple[bool, Any, str]:
        value = getattr(one, field)
        return (value is not None, value if value is not None else 0, one.id)

    expected = sorted(records, key=place, reverse=bool(descending))
    assert [id for page in pages for id in page] == [one.id for one in expected]
    assert [len(page) for page in pages] == [3, 3, 3, 2]


def test_a_page_that_holds_all_has_no_next_one():
    records = list(FLEET.records.values())
    assert page_of(records, limit=len(records)).next_cursor is None
    assert page_of(records, limit=len(records) - 1).next_cursor is not None
    assert page_of([], limit=5) == page_of([], limit=1)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from("xyz"), min_size=4, max_size=12),
    st.sets(st.integers(0, 11)),
    st.integers(0, 8),
    st.sampled_from(["name", "-name", "created_revision", "-id", "version"]),
)
def test_records_that_come_and_go_between_pages_move_no_other(names, gone, new, sort):
    serial = count(1)
    fleet = [record(f"r{next(serial):02}", name=name, created_revision=next(serial)) for name in names]
    first = page_of(fleet, sort=sort, limit=3)
    stay = [one for number, one in enumerate(fleet) if number not in gone]
    later = [*stay, *(record(f"n{number}", name="y", created_revision=next(serial)) for number in range(new))]
    seen = [one.id for one in first.records]
    if first.next_cursor is not None:
        cursor: str | None = first.next_cursor
        while cursor is not None:
            page = page_of(later, sort=sort, limit=2, cursor=cursor)
            seen += [one.id for one in page.records]
            cursor = page.next_cursor
    assert len(seen) == len(set(seen))
    assert {one.id for one in stay} <= set(seen)


def test_an_unknown_field_to_sort_by_is_refused_by_its_name():
    for sort in ("colour", "-colour", "--id", "", "tags"):
        with pytest.raises(Invalid, match="sort is") as refused:
            page_of([], sort=sort, limit=1)
        assert refused.value.field == "sort"


def encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(document)).decode().rstrip("=")


CURSORS = {
    "another sort": page_of(list(FLEET.records.values()), sort="name", limit=1).next_cursor,
    "the other direction": page_of(list(FLEET.records.values()), sort="-id", limit=1).next_cursor,
    "not base64": "!!!",
    "not ASCII": "é",
    "not JSON": base64.urlsafe_b64encode(b"{").decode(),
    "an object": encoded({"a": 1}),
    "a number": encoded(7),
    "too short": encoded(["id", True]),
    "a place that is no id": encoded(["id", True, "x", 7]),
    "a value of another type": encoded(["id", True, 7, "x"]),
    "a value that is a list": encoded(["id", True, [], "x"]),
    "a presence that is none": encoded(["id", 1, "x", "x"]),
}


@pytest.mark.parametrize("cursor", CURSORS.values(), ids=CURSORS.keys())
def test_a_cursor_that_no_list_with_this_sort_has_given_is_refused(cursor):
    with pytest.raises(Invalid, match="cursor") as refused:
        page_of(list(FLEET.records.values()), sort="id", limit=1, cursor=cursor)
    assert refused.value.field == "cursor"
