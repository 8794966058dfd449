"""Waiting orphans: found by a parent without a look at all of them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from hopper.instance.duties.adoption import Waiting
from hopper.instance.parents import fits_wish
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import Scope

WISHES = st.none() | st.builds(
    Wish,
    id=st.none() | st.sampled_from(["a", "b"]),
    name=st.none() | st.sampled_from(["one", "two"]),
    tags=st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2).map(tuple),
)


def orphan(wish: Wish | None, scope: Scope = Scope.ORCHESTRATION, **fields: object) -> Record:
    return Record(id="o", name="o", scope=scope, wish=wish, **fields)  # type: ignore[arg-type]


PARENTS = st.builds(
    Record,
    id=st.sampled_from(["a", "b"]),
    name=st.sampled_from(["one", "two"]),
    scope=st.sampled_from(Scope),
    tags=st.lists(st.sampled_from(["x", "y"]), unique=True).map(tuple),
)


@given(WISHES, st.sampled_from([Scope.PROJECT, Scope.ORCHESTRATION]), PARENTS)
def test_whoever_looks_for_a_parent_is_found_by_it(wish, scope, parent):
    waiting = Waiting()
    held = waiting.put(orphan(wish, scope))
    if fits_wish(scope, wish, parent):
        assert held
        assert list(waiting.of(parent)) == ["o"]
    if not held:
        assert list(waiting.of(parent)) == []


def test_whoever_was_adopted_or_has_gone_is_forgotten():
    waiting = Waiting()
    assert waiting.put(orphan(Wish(id="a")))
    assert not waiting.put(orphan(Wish(id="a"), parent_id="a"))
    assert len(waiting) == 0
    waiting.put(orphan(Wish(id="a")))
    waiting.drop("o")
    waiting.drop("nobody")
    assert len(waiting) == 0


def test_another_wish_takes_the_place_of_the_first():
    waiting = Waiting()
    waiting.put(orphan(Wish(id="a")))
    waiting.put(orphan(Wish(name="two")))
    parent = Record(id="a", name="two", scope=Scope.PROJECT)
    assert list(waiting.of(parent)) == ["o"]
    assert list(waiting.of(Record(id="a", name="one", scope=Scope.PROJECT))) == []


@pytest.mark.parametrize("wish", [None, Wish()], ids=["none", "empty"])
def test_an_orchestration_that_names_nobody_waits_for_nobody(wish):
    assert not Waiting().put(orphan(wish))


def test_a_project_with_an_empty_wish_waits_for_whichever_global_there_is():
    waiting = Waiting()
    assert waiting.put(orphan(Wish(), Scope.PROJECT))
    assert list(waiting.of(Record(id="g", name="g", scope=Scope.GLOBAL))) == ["o"]
    assert not fits_wish(Scope.PROJECT, None, Record(id="g", name="g", scope=Scope.GLOBAL))
