"""Departures: instances removed together with what becomes of those below them."""

import asyncio
from dataclasses import replace

import pytest

from hopper.errors import (
    Conflict,
    Exists,
    HasChildren,
    Invalid,
    Leaving,
    NotFound,
    PreconditionFailed,
    ScopeRule,
    StaleIncarnation,
    Unavailable,
)
from hopper.instance.departures import Departures, departure_of
from hopper.model.children import ChildrenMode
from hopper.model.event import EventType
from specs import ids, patching, spec

pytestmark = pytest.mark.usefixtures("redis_is_left_quiet")

MANY = 130
"""More than two batches."""


@pytest.fixture
async def wide(registry):
    """A Global with three Projects: `web` with many Orchestrations, `shop` with one, `bare` with none."""
    await registry.register(scope="global", id="g")
    for name in ("web", "shop", "bare"):
        await registry.register(scope="project", id=name, parent_id="g")
    specs = [{"scope": "orchestration", "id": f"run-{number}", "parent_id": "web"} for number in range(MANY)]
    await asyncio.gather(*(registry.register(**fields) for fields in specs))
    await registry.register(scope="orchestration", id="sale", parent_id="shop")
    return registry


async def seen(registry, since):
    """The events after a revision."""
    return await registry.log.between(since + 1, since + 500)


async def test_restrict_is_the_default_and_refuses_one_with_children(wide):
    revision = wide.view.revision
    with pytest.raises(HasChildren, match="project 'shop' cannot be removed: it still has children"):
        await wide.deregister("shop")
    assert wide.view.revision == revision
    await wide.deregister("bare")
    assert await wide.get("bare") is None


async def test_a_cascade_removes_all_below_leaves_first_and_names_its_root(wide):
    expected = await wide.would_deregister("g", children="cascade")
    revision = wide.view.revision
    assert set(expected) == set(wide.view.replica.records)
    await wide.deregister("g", children="cascade", reason="operator", actor="me")
    assert await wide.list() == []
    gone = [event for event in await seen(wide, revision) if event.type is EventType.DEREGISTERED]
    assert sorted(event.id for event in gone) == sorted(expected)
    place = {event.id: number for number, event in enumerate(gone)}
    for event in gone:
        parent = event.record.parent_id
        assert parent is None or place[event.id] < place[parent]
    assert {event.evidence.get("root") for event in gone[:-1]} == {"g"}
    assert (gone[-1].id, gone[-1].reason, gone[-1].actor) == ("g", "operator", "me")


async def test_orphans_stay_without_a_parent_and_keep_their_wish(wide):
    await wide.update("run-7", {"wish": {"name": "web"}})
    await wide.deregister("web", children=ChildrenMode.ORPHAN)
    orphans = await wide.orphans()
    assert len(orphans) == MANY
    assert {record.id: record.wish is not None for record in orphans}["run-7"]
    assert [record for record in orphans if record.wish is not None] == [await wide.get("run-7")]


async def test_children_move_to_another_of_the_same_scope(wide):
    revision = wide.view.revision
    await wide.deregister("web", children="reparent", reparent_to="shop")
    assert len(await wide.children("shop")) == MANY + 1
    moved = [event for event in await seen(wide, revision) if event.type is EventType.PARENT_CHANGED]
    assert {event.previous["parent_id"] for event in moved} == {"web"}
    assert len(moved) == MANY


async def test_where_there_is_no_room_nothing_moves(wide):
    await wide.update("bare", {"max_children": 10})
    revision = wide.view.revision
    with pytest.raises(ScopeRule, match=r"it would have 130, over 10 \(max_children\)"):
        await wide.deregister("web", children="reparent", reparent_to="bare")
    assert wide.view.revision == revision


async def test_where_the_room_is_lost_meanwhile_the_mark_is_taken_back(wide, monkeypatch):
    one_by_one = asyncio.Lock()

    async def reparent(children, **more):
        async with one_by_one:
            outcomes = await original(children, **more)
            await wide.store.update("bare", patching(max_children=1))
        return outcomes

    original = wide.store.reparent
    monkeypatch.setattr(wide.store, "reparent", reparent)
    with pytest.raises(ScopeRule, match="cannot have parent 'bare'"):
        await wide.deregister("web", children="reparent", reparent_to="bare")
    await wide.ready(consistent=True)
    assert (await wide.get("web")).leaving is None
    assert len(await wide.children("web")) + len(await wide.children("bare")) == MANY


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ({"children": "burn"}, "children is 'burn', not one of restrict, orphan, cascade, reparent"),
        ({"children": "reparent"}, "reparent_to is missing"),
        ({"children": "cascade", "reparent_to": "shop"}, "reparent_to is 'shop', and children=cascade moves nobody"),
    ],
    ids=["no mode", "no target", "a target too many"],
)
async def test_a_mode_that_is_none_is_named(conditions, says, wide):
    with pytest.raises(Invalid, match=says):
        await wide.deregister("web", **conditions)


@pytest.mark.parametrize(
    ("conditions", "error"),
    [({"incarnation": 1}, StaleIncarnation), ({"if_revision": 1}, PreconditionFailed)],
    ids=["incarnation", "revision"],
)
@pytest.mark.parametrize("mode", ["cascade", "orphan"])
async def test_a_fence_keeps_everything_as_it_is(mode, conditions, error, wide):
    revision = wide.view.revision
    with pytest.raises(error):
        await wide.deregister("web", children=mode, **conditions)
    assert (await wide.store.position()).revision == revision


@pytest.mark.parametrize(
    ("id", "mode", "expected"),
    [("web", "orphan", ["web"]), ("shop", "cascade", ["sale", "shop"]), ("bare", "restrict", ["bare"])],
    ids=["orphan", "cascade", "restrict"],
)
async def test_a_dry_run_tells_who_would_go_and_changes_nothing(id, mode, expected, wide):
    revision = wide.view.revision
    assert await wide.would_deregister(id, children=mode) == expected
    assert (await wide.store.position()).revision == revision


async def test_a_dry_run_refuses_what_the_removal_would_refuse(wide):
    with pytest.raises(HasChildren):
        await wide.would_deregister("web")
    with pytest.raises(NotFound):
        await wide.would_deregister("web", children="reparent", reparent_to="nobody")
    with pytest.raises(NotFound):
        await wide.would_deregister("nobody", children="cascade")


@pytest.mark.parametrize(
    "how",
    [{"children": "cascade"}, {"children": "orphan"}, {"children": "reparent", "reparent_to": "shop"}],
    ids=["cascade", "orphan", "reparent"],
)
async def test_a_request_that_is_repeated_is_answered_the_same(how, wide):
    first = await wide.deregister("web", token="once", **how)
    assert await wide.deregister("web", token="once", **how) == first
    with pytest.raises(NotFound):
        await wide.deregister("web", token="twice", **how)


async def test_several_who_remove_the_same_at_once_remove_each_instance_once(wide):
    revision = wide.view.revision
    answers = await asyncio.gather(
        *(wide.deregister("g", children="cascade") for _ in range(4)), return_exceptions=True
    )
    assert [answer for answer in answers if isinstance(answer, int)] != []
    assert {type(answer) for answer in answers} <= {int, NotFound}
    gone = [event.id for event in await seen(wide, revision) if event.type is EventType.DEREGISTERED]
    assert len(gone) == len(set(gone)) == MANY + 5


async def test_what_joins_a_project_while_the_global_goes_goes_too(wide, monkeypatch):
    original = wide.store.deregister_many
    joined = []

    async def deregister_many(members, **more):
        if not joined:
            joined.append(await wide.store.register(spec("orchestration", "late", parent_id="bare")))
        return await original(members, **more)

    monkeypatch.setattr(wide.store, "deregister_many", deregister_many)
    await wide.deregister("g", children="cascade")
    assert joined != []
    assert await wide.list() == []


async def test_a_target_that_does_not_exist_is_named_also_where_there_are_no_children(wide):
    for ask in (wide.would_deregister, wide.deregister):
        with pytest.raises(NotFound, match="cannot move to 'typo': it does not exist"):
            await ask("bare", children="reparent", reparent_to="typo")
    assert await wide.get("bare") is not None


async def test_a_removal_that_was_taken_back_is_not_gone_on_with(wide):
    departures, how = Departures(wide.store), departure_of("cascade")
    fence = await wide.store.leave("web", how)
    await wide.store.stay("web", how)
    revision = (await wide.store.position()).revision
    with pytest.raises(Conflict, match="instance 'web' is no longer being removed so"):
        await departures.finish("web", how, incarnation=fence)
    assert (await wide.store.position()).revision == revision


async def test_a_refused_removal_leaves_the_mark_of_another(wide):
    await wide.store.leave("web", departure_of("cascade"))
    with pytest.raises(Leaving, match="'web' cannot be removed in another way"):
        await wide.deregister("web", children="orphan")
    assert (await wide.store.read("web")).leaving == departure_of("cascade")


async def test_when_redis_goes_away_after_the_mark_the_outcome_is_unknown(wide, monkeypatch):
    async def away(id):
        raise Unavailable("Redis is away: connecting to it failed", outcome="not-applied")

    leave = wide.store.leave

    async def left(*args, **more):
        fence = await leave(*args, **more)
        monkeypatch.setattr(wide.store, "read", away)
        return fence

    monkeypatch.setattr(wide.store, "leave", left)
    with pytest.raises(Unavailable) as raised:
        await wide.deregister("web", children="cascade")
    assert raised.value.outcome == "unknown"


async def test_whoever_finishes_a_removal_keeps_the_answer_for_the_request_that_began_it(wide):
    how = replace(departure_of("cascade"), token="once")
    revision = (await wide.store.read("shop")).revision
    fence = await wide.store.leave("shop", how, if_revision=revision)
    again = wide.deregister("shop", children="cascade", token="once", if_revision=revision)
    record = await wide.store.read("shop")
    finished = await Departures(wide.store).finish("shop", record.leaving, incarnation=fence)
    assert await again == finished
    assert await Departures(wide.store).finish("shop", record.leaving, incarnation=fence) == finished


async def test_a_repeat_that_asks_for_a_revision_goes_on_with_what_has_begun(wide):
    revision = (await wide.store.read("shop")).revision
    await wide.store.leave("shop", departure_of("cascade"), if_revision=revision)
    await wide.deregister("shop", children="cascade", if_revision=revision)
    assert await wide.get("shop") is None


# -- a successor of the dead -------------------------------------------------------------------------------------------


async def test_a_dead_global_is_replaced_and_its_projects_look_for_the_new_one(wide):
    await wide.transition("g", "fail")
    new = await wide.register(scope="global", id="g2", takeover="if-dead")
    assert (await wide.global_instance()) is new
    assert await wide.get("g") is None
    assert {record.wish is not None for record in await wide.orphans()} == {True}
    assert ids(await wide.adopt()) == ["web", "shop", "bare"]
    assert ids(await wide.children("g2")) == ["web", "shop", "bare"]


async def test_a_dead_holder_of_a_name_is_replaced_and_its_children_look_for_the_name(wide):
    await wide.transition("shop", "fail")
    await wide.register(scope="project", id="shop-2", name="shop", parent_id="g", takeover="if-dead")
    assert await wide.get("shop") is None
    assert ids(await wide.adopt()) == ["sale"]
    assert (await wide.get("sale")).parent_id == "shop-2"


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"scope": "project", "id": "new", "name": "shop", "parent_id": "nobody"}, NotFound),
        ({"scope": "project", "id": "new", "name": "shop", "parent_id": "web"}, ScopeRule),
        ({"scope": "project", "id": "new", "name": "shop", "config": {"x": "y" * 7600}}, Invalid),
        ({"scope": "global", "id": "new", "parent_id": "web"}, ScopeRule),
    ],
    ids=["no parent", "wrong parent", "too large", "a global under one"],
)
async def test_the_dead_stay_where_the_registration_is_refused_for_another_reason(fields, error, wide):
    await wide.transition("g", "fail")
    await wide.transition("shop", "fail")
    revision = wide.view.revision
    with pytest.raises(error):
        await wide.register(takeover="if-dead", **fields)
    assert (await wide.store.position()).revision == revision


@pytest.mark.parametrize(
    "fields",
    [{"scope": "global", "id": "g2"}, {"scope": "project", "id": "other", "name": "shop"}],
    ids=["global", "name"],
)
@pytest.mark.parametrize("takeover", ["if-dead", "always", "never"])
async def test_a_living_holder_is_never_replaced(fields, takeover, wide):
    revision = wide.view.revision
    with pytest.raises(Exception, match="cannot be") as refused:
        await wide.register(takeover=takeover, **fields)
    assert not isinstance(refused.value, Exists)
    assert (await wide.store.position()).revision == revision
