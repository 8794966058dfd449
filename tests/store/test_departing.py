"""Departing: the mark, and the batches of removals and moves."""

from dataclasses import replace

import pytest

from census import events
from hopper.errors import Conflict
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import EventType
from hopper.model.policy import Wish
from hopper.model.state import State, Verb
from servers import dump
from specs import known, patching, spec

pytestmark = pytest.mark.usefixtures("agrees")

CASCADE = Departure(children=ChildrenMode.CASCADE)
ORPHAN = Departure(children=ChildrenMode.ORPHAN, wish=Wish(name="web"))


@pytest.fixture
async def tree(store):
    """A Global, two Projects, and three Orchestrations under the first."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    await store.register(spec("project", "q", parent_id="g"))
    for number in range(3):
        await store.register(spec("orchestration", f"o{number}", parent_id="p"))
    return store


@pytest.mark.parametrize("mark", [CASCADE, ORPHAN], ids=["cascade", "orphan"])
async def test_a_mark_is_in_the_record_and_in_the_log_once(mark, tree):
    incarnation = await tree.leave("p", mark, reason="why", actor="me")
    assert incarnation == (await known(tree, "p")).incarnation
    assert await tree.leave("p", mark) == incarnation
    (event,) = await events(tree, since=6)
    assert (event.type, event.id, event.reason, event.actor) == (EventType.UPDATED, "p", "why", "me")
    assert event.previous == {"leaving": None}
    assert event.record.leaving == mark == (await known(tree, "p")).leaving


async def test_a_mark_is_taken_back_only_by_who_knows_it(tree):
    await tree.leave("p", CASCADE)
    revision = (await tree.position()).revision
    assert await tree.stay("p", ORPHAN) == revision
    assert (await known(tree, "p")).leaving == CASCADE
    assert await tree.stay("p", CASCADE, reason="changed my mind") == revision + 1
    assert (await known(tree, "p")).leaving is None
    await tree.link("o0", "q")
    await tree.link("o0", "p")


async def test_a_mark_keeps_the_request_with_which_it_began_and_is_the_same_for_another_request(tree):
    await tree.leave("p", replace(CASCADE, token='first "one"'))
    revision = (await tree.position()).revision
    await tree.leave("p", replace(CASCADE, token="second"))
    await tree.leave("p", CASCADE)
    assert (await tree.position()).revision == revision
    assert (await known(tree, "p")).leaving.token == 'first "one"'
    await tree.stay("p", CASCADE)
    assert (await known(tree, "p")).leaving is None


async def test_a_dry_mark_changes_nothing(tree):
    before = await dump(tree.client, tree.settings.namespace)
    await tree.leave("p", CASCADE, dry=True)
    assert await dump(tree.client, tree.settings.namespace) == before


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.FAIL], ids=str)
async def test_one_that_stopped_or_failed_may_be_marked_as_dead(verb, tree):
    await tree.transition("p", verb)
    if verb is Verb.STOP:
        await tree.transition("p", Verb.STOPPED)
    await tree.leave("p", CASCADE, dead=True)
    assert (await known(tree, "p")).leaving == CASCADE


async def test_a_leaving_instance_still_changes_its_state_and_its_owner_may_describe_it(tree):
    await tree.leave("p", CASCADE)
    await tree.transition("p", Verb.STOP)
    assert (await known(tree, "p")).state is State.STOPPING


async def test_a_batch_removes_who_has_no_children_and_says_what_became_of_each(tree):
    await tree.link("o2", "q")
    outcomes = await tree.deregister_many(
        [("o0", "p"), ("nobody", "p"), ("o2", "p"), ("q", "g"), ("o1", "p")],
        evidence=b'{"root":"p"}',
        reason="cascade",
        actor="me",
    )
    assert outcomes == ["removed", "gone", "moved", "has-children", "removed"]
    first, last = await events(tree, since=7)
    assert [(event.type, event.id) for event in (first, last)] == [
        (EventType.DEREGISTERED, "o0"),
        (EventType.DEREGISTERED, "o1"),
    ]
    assert (first.reason, first.actor, first.evidence) == ("cascade", "me", {"root": "p"})
    assert await tree.deregister_many([("o0", "p")]) == ["gone"]


async def test_a_batch_removes_orphans_too(tree):
    await tree.unlink("o0")
    assert await tree.deregister_many([("o0", "")]) == ["removed"]


async def test_children_move_together_and_each_event_names_both_parents(tree):
    outcomes = await tree.reparent(
        ["o0", "nobody", "o1"], seen_parent="p", parent_id="q", reason="reparent", actor="me"
    )
    assert outcomes == ["moved", "gone", "moved"]
    assert await tree.reparent(["o0"], seen_parent="p", parent_id="q") == ["elsewhere"]
    moved = await events(tree, since=6)
    assert [(event.type, event.id, event.previous) for event in moved] == [
        (EventType.PARENT_CHANGED, id, {"parent_id": "p"}) for id in ("o0", "o1")
    ]
    assert {event.record.parent_id for event in moved} == {"q"}
    assert {(event.reason, event.actor) for event in moved} == {("reparent", "me")}


async def test_children_move_until_there_is_no_room(tree):
    await tree.register(spec("project", "small", max_children=2))
    outcomes = await tree.reparent(["o0", "o1", "o2"], seen_parent="p", parent_id="small")
    assert outcomes == ["moved", "moved", "refused"]
    assert (await known(tree, "o2")).parent_id == "p"


@pytest.mark.parametrize("wish", [None, Wish(name="web")], ids=["its own wish", "a new one"])
async def test_children_become_orphans_that_look_for_what_they_looked_for_or_for_something_new(wish, tree):
    await tree.register(spec("orchestration", "o9", parent_id="p", wish={"id": "x"}))
    assert await tree.reparent(["o9", "o0"], seen_parent="p", parent_id=None, wish=wish) == ["moved", "moved"]
    assert (await known(tree, "o9")).wish == (wish or Wish(id="x"))
    assert (await known(tree, "o0")).wish == wish
    assert await tree.client.smembers(tree.keys.orphans) == {b"o9", b"o0"}


async def test_the_children_of_one_are_told_in_parts(tree):
    found = [child async for part in tree.children_of("p") for child in part]
    assert sorted(found) == ["o0", "o1", "o2"]
    assert [part async for part in tree.children_of("nobody")] == []
    assert await tree.counts_of_children(["g", "p", "q", "nobody"]) == [2, 3, 0, 0]


# -- adoption ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", ["linked", "unlinked", "updated"])
async def test_an_orphan_that_has_changed_since_it_was_seen_is_not_adopted(meanwhile, tree):
    await tree.register(spec("orchestration", "o9", wish={"id": "q"}))
    seen = await known(tree, "o9")
    match meanwhile:
        case "linked":
            await tree.link("o9", "p")
        case "unlinked":
            await tree.unlink("o9")
        case _:
            await tree.update("o9", patching(wish={"id": "p"}))
    before = await dump(tree.client, tree.settings.namespace)
    (answer,) = await tree.adopt_many([(seen, "q")])
    assert isinstance(answer, Conflict)
    assert await dump(tree.client, tree.settings.namespace) == before


async def test_an_orphan_that_is_as_it_was_seen_is_adopted(tree):
    await tree.register(spec("orchestration", "o9", wish={"id": "q"}))
    (revision,) = await tree.adopt_many([(await known(tree, "o9"), "q")], actor="me")
    assert ((await known(tree, "o9")).parent_id, (await known(tree, "o9")).revision) == ("q", revision)
