"""The tree: who may stand under whom, and that a parent's children and a child's parent always tell the same."""

import asyncio

import pytest

from census import Census
from hopper.errors import Conflict, GlobalExists, HasChildren, NameTaken, NotFound, ScopeRule
from hopper.model.event import Event, EventType
from hopper.model.scope import Scope
from hopper.model.spec import apply_patch
from hopper.store.instances import InstanceStore
from servers import dump
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")

SCOPES = [scope.value for scope in Scope]
LEGAL = {("project", "global"), ("orchestration", "project")}


async def census(store: InstanceStore) -> Census:
    return await Census.take(store.client, store.settings.namespace)


async def last_event(store: InstanceStore) -> Event:
    return (await census(store)).events[-1]


@pytest.fixture
async def tree(store: InstanceStore) -> InstanceStore:
    """g over p and q, p over o; revisions 1 to 4."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    await store.register(spec("project", "q", parent_id="g"))
    await store.register(spec("orchestration", "o", parent_id="p"))
    return store


# -- scope rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", SCOPES)
@pytest.mark.parametrize("child", SCOPES)
async def test_linking_obeys_the_scopes(child, parent, store):
    await store.register(spec(parent, "above"))
    if (child, parent) == ("global", "global"):
        child_id = "above"
    else:
        child_id = "below"
        await store.register(spec(child, child_id))
    before = await dump(store.client, store.settings.namespace)
    if (child, parent) in LEGAL:
        await store.link(child_id, "above")
        assert (await known(store, child_id)).parent_id == "above"
        return
    with pytest.raises(ScopeRule) as refused:
        await store.link(child_id, "above")
    assert str(refused.value).startswith(f"{child} '{child_id}' cannot have parent 'above', a")
    assert await dump(store.client, store.settings.namespace) == before


@pytest.mark.parametrize("parent", SCOPES)
@pytest.mark.parametrize("child", SCOPES)
async def test_registering_under_a_parent_obeys_the_scopes(child, parent, store):
    await store.register(spec(parent, "above"))
    before = await dump(store.client, store.settings.namespace)
    if (child, parent) in LEGAL:
        await store.register(spec(child, "below", parent_id="above"))
        assert (await census(store)).children == {"above": {"below"}}
        return
    with pytest.raises((ScopeRule, GlobalExists)) as refused:
        await store.register(spec(child, "below", parent_id="above"))
    assert "'below'" in str(refused.value)
    assert "'above'" in str(refused.value)
    assert await dump(store.client, store.settings.namespace) == before


@pytest.mark.parametrize("scope", SCOPES)
async def test_nobody_is_its_own_parent(scope, store):
    await store.register(spec(scope, "x"))
    with pytest.raises(ScopeRule, match=f"{scope} 'x' cannot have parent 'x'"):
        await store.link("x", "x")


@pytest.mark.parametrize("scope", SCOPES)
async def test_nobody_is_registered_under_itself(scope, store):
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises((NotFound, ScopeRule), match="'x'"):
        await store.register(spec(scope, "x", parent_id="x"))
    assert await dump(store.client, store.settings.namespace) == before


async def test_a_refusal_says_what_the_rule_is(tree):
    with pytest.raises(ScopeRule) as refused:
        await tree.link("o", "g")
    assert str(refused.value) == "orchestration 'o' cannot have parent 'g', a global: its parent is a project"


# -- one global, unique names --------------------------------------------------------------------------------------


async def test_there_is_one_global(tree):
    with pytest.raises(GlobalExists, match="instance 'other' cannot be the global: 'g' is"):
        await tree.register(spec("global", "other"))


async def test_a_global_is_superseded_by_its_own_id(tree):
    registration = await tree.register(spec("global", "g"))
    assert registration.superseded
    assert (await census(tree)).children["g"] == {"p", "q"}


async def test_of_many_that_want_to_be_global_at_once_one_is(store):
    outcomes = await asyncio.gather(
        *(store.register(spec("global", f"g{i}")) for i in range(20)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, GlobalExists)]
    assert len(refused) == 19
    assert len((await census(store)).records) == 1


async def test_a_name_is_unique_within_its_scope_and_free_in_another(store):
    await store.register(spec("project", "a", name="web"))
    await store.register(spec("orchestration", "b", name="web"))
    with pytest.raises(NameTaken, match="project 'c' cannot be named 'web': 'a' is"):
        await store.register(spec("project", "c", name="web"))
    await store.deregister("a")
    await store.register(spec("project", "c", name="web"))


async def test_an_id_may_be_the_name_of_another(store):
    await store.register(spec("project", "a", name="b"))
    with pytest.raises(NameTaken, match="project 'b' cannot be named 'b': 'a' is"):
        await store.register(spec("project", "b"))
    await store.register(spec("project", "b", name="a"))
    assert (await census(store)).names == {"project:b": "a", "project:a": "b"}


# -- link, move, unlink --------------------------------------------------------------------------------------------


async def test_registering_with_a_parent_links_in_the_same_event(tree):
    taken = await census(tree)
    assert taken.children == {"g": {"p", "q"}, "p": {"o"}}
    assert taken.orphans == set()
    assert [event.type for event in taken.events] == [EventType.REGISTERED] * 4
    assert taken.events[3].record.parent_id == "p"


async def test_one_without_a_parent_is_an_orphan_but_the_global_never(store):
    for scope in SCOPES:
        await store.register(spec(scope, scope))
    assert (await census(store)).orphans == {"project", "orchestration"}


async def test_linking_an_orphan_ends_that(store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p"))
    revision = await store.link("p", "g", actor="me")
    taken = await census(store)
    assert (taken.orphans, taken.children) == (set(), {"g": {"p"}})
    event = taken.events[-1]
    assert (event.revision, event.type, event.actor) == (revision, EventType.PARENT_CHANGED, "me")
    assert (event.previous, event.record.parent_id) == ({"parent_id": None}, "g")


async def test_a_move_names_both_parents_in_one_event(tree):
    revision = await tree.link("o", "q")
    taken = await census(tree)
    assert revision == taken.revision == 5
    assert (taken.events[-1].previous, taken.events[-1].record.parent_id) == ({"parent_id": "p"}, "q")
    assert taken.children == {"g": {"p", "q"}, "q": {"o"}}


async def test_linking_where_it_stands_changes_nothing_and_answers_the_revision(tree):
    before = await dump(tree.client, tree.settings.namespace)
    assert await tree.link("o", "p") == 4
    assert await dump(tree.client, tree.settings.namespace) == before


async def test_a_move_with_an_old_parent_in_mind_reads_again(tree):
    stale = await known(tree, "o")
    await tree.link("o", "q")
    await tree.register(spec("project", "r"))
    await tree.link("o", "r", known=stale)
    assert (await census(tree)).children == {"g": {"p", "q"}, "r": {"o"}}


async def test_many_moves_of_one_child_at_once_leave_it_in_one_place(tree):
    projects = [f"r{i}" for i in range(5)]
    for id in projects:
        await tree.register(spec("project", id, parent_id="g"))
    outcomes = await asyncio.gather(*(tree.link("o", id) for id in projects * 4), return_exceptions=True)
    assert all(isinstance(outcome, int | Conflict) for outcome in outcomes), outcomes
    record = await known(tree, "o")
    assert record.parent_id in projects


async def test_unlinking_makes_an_orphan_without_a_wish(store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g", wish={"id": "g"}))
    revision = await store.unlink("p")
    taken = await census(store)
    assert (taken.orphans, taken.children) == ({"p"}, {})
    assert (taken.records["p"].parent_id, taken.records["p"].wish) == (None, None)
    event = taken.events[-1]
    assert (event.revision, event.type) == (revision, EventType.PARENT_CHANGED)
    assert event.previous["parent_id"] == "g"
    assert event.previous["wish"]["id"] == "g"


async def test_unlinking_an_orphan_only_clears_its_wish(store):
    await store.register(spec("project", "p", wish={"name": "main"}))
    await store.unlink("p")
    event = await last_event(store)
    assert (event.type, list(event.previous)) == (EventType.UPDATED, ["wish"])
    before = await dump(store.client, store.settings.namespace)
    assert await store.unlink("p") == event.revision
    assert await dump(store.client, store.settings.namespace) == before


async def test_the_global_is_never_unlinked(tree):
    with pytest.raises(ScopeRule, match="global 'g' cannot be taken from a parent: it never has one"):
        await tree.unlink("g")


# -- room ----------------------------------------------------------------------------------------------------------


async def test_a_parent_takes_as_many_children_as_it_says(store):
    await store.register(spec("project", "p", max_children=2))
    for id in ("a", "b", "c"):
        await store.register(spec("orchestration", id))
    await store.link("a", "p")
    await store.link("b", "p")
    with pytest.raises(ScopeRule, match=r"orchestration 'c' cannot have parent 'p': it has its 2 children"):
        await store.link("c", "p")
    await store.unlink("a")
    await store.link("c", "p")
    assert (await census(store)).children == {"p": {"b", "c"}}


async def test_a_parent_with_room_for_none_takes_none(store):
    await store.register(spec("project", "p", max_children=0))
    with pytest.raises(ScopeRule, match=r"it has its 0 children \(max_children\)"):
        await store.register(spec("orchestration", "o", parent_id="p"))


async def test_a_child_of_a_full_parent_may_register_again_under_it(store):
    await store.register(spec("project", "p", max_children=1))
    await store.register(spec("orchestration", "o", parent_id="p"))
    assert (await store.register(spec("orchestration", "o", parent_id="p"))).superseded


async def test_many_at_once_never_make_more_children_than_there_is_room_for(store):
    await store.register(spec("project", "p", max_children=3))
    outcomes = await asyncio.gather(
        *(store.register(spec("orchestration", f"o{i}", parent_id="p")) for i in range(20)), return_exceptions=True
    )
    assert len([outcome for outcome in outcomes if isinstance(outcome, ScopeRule)]) == 17
    assert len((await census(store)).children["p"]) == 3


async def test_less_room_than_children_keeps_those_there_are(store):
    await store.register(spec("project", "p"))
    for id in ("a", "b"):
        await store.register(spec("orchestration", id, parent_id="p"))
    await store.update("p", lambda record: apply_patch(record, {"max_children": 1}))
    assert (await census(store)).children == {"p": {"a", "b"}}


# -- superseding ---------------------------------------------------------------------------------------------------


async def test_superseding_keeps_children_parent_and_creation(tree):
    before = await known(tree, "p")
    await tree.register(spec("project", "p", version="2"))
    after = await known(tree, "p")
    assert (after.parent_id, after.version) == ("g", "2")
    assert (after.created_at_ms, after.created_revision) == (before.created_at_ms, before.created_revision)
    assert (await census(tree)).children == {"g": {"p", "q"}, "p": {"o"}}
    event = await last_event(tree)
    assert (event.type, event.previous["incarnation"]) == (EventType.SUPERSEDED, before.incarnation)


async def test_superseding_under_another_parent_moves(tree):
    await tree.register(spec("orchestration", "o", parent_id="q"))
    assert (await census(tree)).children == {"g": {"p", "q"}, "q": {"o"}}
    event = await last_event(tree)
    assert (event.type, event.previous["parent_id"]) == (EventType.SUPERSEDED, "p")


async def test_superseding_an_orphan_under_a_parent_ends_that(tree):
    await tree.register(spec("orchestration", "x"))
    await tree.register(spec("orchestration", "x", parent_id="q"))
    assert (await census(tree)).orphans == set()


async def test_superseding_under_a_parent_that_may_not_be_changes_nothing(tree):
    before = await dump(tree.client, tree.settings.namespace)
    with pytest.raises(ScopeRule):
        await tree.register(spec("orchestration", "o", parent_id="g"))
    assert await dump(tree.client, tree.settings.namespace) == before


# -- removal -------------------------------------------------------------------------------------------------------


async def test_one_with_children_is_not_removed_and_the_sentence_counts_them(tree):
    with pytest.raises(HasChildren, match=r"global 'g' cannot be removed: .*2"):
        await tree.deregister("g")


async def test_the_last_child_gone_the_parent_can_go(tree):
    for id in ("o", "p", "q", "g"):
        await tree.deregister(id)
    taken = await census(tree)
    assert (taken.records, taken.children, taken.names, taken.holder) == ({}, {}, {}, None)


async def test_a_removed_child_is_no_orphan_and_no_child(tree):
    await tree.deregister("o")
    taken = await census(tree)
    assert (taken.orphans, taken.children) == (set(), {"g": {"p", "q"}})


async def test_an_id_that_was_removed_starts_anew(tree):
    await tree.deregister("o")
    registration = await tree.register(spec("orchestration", "o"))
    record = await known(tree, "o")
    assert (registration.superseded, record.parent_id) == (False, None)
    assert record.created_revision == registration.revision == 6
