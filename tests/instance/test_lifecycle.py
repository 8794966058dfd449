"""The lifecycle: from creation to deletion, hooks, and what a replacement of a record may and may not say."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from hopper import InstanceRegistry, Settings
from hopper.errors import Compacted, HasChildren, Invalid, NotFound, PreconditionFailed, StaleIncarnation
from hopper.model.spec import MUTABLE_FIELDS, parse_spec


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[InstanceRegistry]:
    async with InstanceRegistry(settings) as entered:
        await entered.register(scope="global", id="g")
        await entered.register(
            scope="project", id="web", name="the web", parent_id="g", tags=["a"], metadata={"x": "1"}, ttl_ms=5000
        )
        yield entered


async def test_a_replacement_sets_every_field_of_the_owner_and_none_of_the_registry(registry):
    before = await registry.get("web")
    await registry.lifecycle.replace("web", {"version": "2"})
    after = await registry.get("web", consistent=True)
    kept = [name for name in after.__slots__ if name not in {*MUTABLE_FIELDS, "revision", "updated_at_ms"}]
    assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert (after.version, after.name, after.tags, after.metadata, after.ttl_ms) == ("2", "web", (), {}, 15_000)


async def test_a_replacement_may_repeat_what_it_may_not_change(registry):
    same = {"id": "web", "scope": "project", "parent_id": "g", "state": "running"}
    revision = await registry.lifecycle.replace("web", same | {"tags": ["b"]})
    assert revision == 3


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "other"}, "id"),
        ({"scope": "global"}, "scope"),
        ({"state": "paused"}, "state"),
        ({"parent_id": None}, "parent_id"),
        ({"parent_id": "x"}, "parent_id"),
        ({"health": "down"}, "health"),
        ({"ttl_ms": 1}, "ttl_ms"),
        ("no object", ""),
    ],
)
async def test_a_replacement_that_would_change_more_is_refused_by_the_fields_name(document: Any, field, registry):
    with pytest.raises(Invalid) as refused:
        await registry.lifecycle.replace("web", document)
    assert refused.value.field == field
    assert registry.view.revision == 2


async def test_a_replacement_by_a_whole_record_is_told_as_a_patch_is_what_has_other_writers(registry):
    whole = orjson.loads((await registry.get("web")).to_json())
    with pytest.raises(Invalid, match="'health' is not changed by an update"):
        await registry.lifecycle.replace("web", whole)
    with pytest.raises(Invalid, match="'colour' is not a field"):
        await registry.lifecycle.replace("web", {"colour": "red"})


async def test_a_replacement_of_nobody_and_at_another_revision(registry):
    with pytest.raises(NotFound, match="'nobody'"):
        await registry.lifecycle.replace("nobody", {})
    with pytest.raises(PreconditionFailed, match="revision 2, not 1"):
        await registry.lifecycle.replace("web", {}, if_revision=1)


# -- from creation to deletion -----------------------------------------------------------------------------------------


async def test_an_instance_is_created_goes_through_its_states_and_is_deleted(registry):
    manager = registry.lifecycle
    done = await manager.create(parse_spec({"scope": "project", "id": "shop", "parent_id": "g"}), actor="me")
    states = [(await registry.at("shop", done.revision)).state]
    verbs = (manager.start, manager.run, manager.pause, manager.resume, manager.stop, manager.stopped)
    states += [(await registry.at("shop", await verb("shop", actor="me"))).state for verb in verbs]
    assert states == ["created", "starting", "running", "paused", "running", "stopping", "stopped"]
    await manager.start("shop")
    assert (await registry.at("shop", await manager.fail("shop", reason="exit 1"))).state == "failed"
    await registry.view.reach(await manager.delete("shop"))
    assert await registry.get("shop") is None


@pytest.mark.parametrize(
    ("verbs", "events"),
    [
        ([], ["state_changed", "state_changed", "deregistered"]),
        (["pause"], ["state_changed", "state_changed", "state_changed", "deregistered"]),
        (["stop"], ["state_changed", "state_changed", "deregistered"]),
        (["fail"], ["state_changed", "deregistered"]),
    ],
    ids=["running", "paused", "stopping", "failed"],
)
async def test_whoever_is_deleted_is_stopped_first(verbs, events, registry):
    for verb in verbs:
        await registry.lifecycle.transition("web", verb)
    await registry.view.reach(await registry.lifecycle.delete("web", reason="gone", actor="me"))
    story = await registry.events("web", since=2)
    assert [event.type for event in story.events] == events
    assert (story.events[-1].reason, story.events[-1].actor) == ("gone", "me")


async def test_whoever_may_not_be_deleted_is_not_stopped_either(registry):
    with pytest.raises(HasChildren, match="global 'g' cannot be deleted: it still has children"):
        await registry.lifecycle.delete("g")
    with pytest.raises(NotFound, match="'nobody'"):
        await registry.lifecycle.delete("web", children="reparent", reparent_to="nobody")
    assert (await registry.store.position()).revision == 2
    await registry.lifecycle.delete("g", children="cascade")
    await registry.ready(consistent=True)
    assert await registry.list() == []


# -- hooks -------------------------------------------------------------------------------------------------------------


async def test_hooks_are_called_around_transitions_in_their_order(registry):
    heard: list[tuple[str, str, str, str]] = []

    def note(when):
        async def hook(id, verb):
            heard.append((when, id, verb, (await registry.store.read(id)).state))

        return hook

    hooks = registry.lifecycle.hooks
    hooks.on_before(None, note("before any"))
    hooks.on_before("pause", note("before pause"))
    hooks.on_after("pause", note("after pause"))
    await registry.transition("web", "pause")
    await registry.transition("web", "resume")
    assert heard == [
        ("before any", "web", "pause", "running"),
        ("before pause", "web", "pause", "running"),
        ("after pause", "web", "pause", "paused"),
        ("before any", "web", "resume", "paused"),
    ]


async def test_a_hook_before_a_transition_can_forbid_it(registry):
    def forbid(id, verb):
        raise RuntimeError(f"{id} is not to {verb} now")

    registry.lifecycle.hooks.on_before("stop", forbid)
    with pytest.raises(RuntimeError, match="web is not to stop now"):
        await registry.transition("web", "stop")
    assert (await registry.store.position()).revision == 2


async def test_a_hook_after_a_transition_that_fails_is_reported_and_the_transition_stands(registry):
    called = []

    def broken(id, verb):
        raise RuntimeError("a fault of the caller's")

    registry.lifecycle.hooks.on_after(None, broken)
    registry.lifecycle.hooks.on_after(None, lambda *call: called.append(call))
    with capture_logs() as logs:
        assert (await registry.transition("web", "pause")).state == "paused"
    assert [entry["id"] for entry in logs if entry["event"] == "hook.failed"] == ["web"]
    assert called == [("web", "pause")]


async def test_a_transition_may_expect_a_state(registry):
    with pytest.raises(PreconditionFailed, match="it is running, not paused"):
        await registry.transition("web", "stop", expected_state="paused")
    assert (await registry.transition("web", "stop", expected_state="running")).state == "stopping"
    assert (await registry.transition("web", "stop", expected_state="running")).state == "stopping"


async def test_a_verb_of_an_older_incarnation_is_fenced(registry):
    await registry.register(scope="project", id="web")
    with pytest.raises(StaleIncarnation, match="incarnation 3 now, not 2"):
        await registry.lifecycle.stop("web", incarnation=2)


async def test_what_cannot_be_is_named_before_anything_changes(registry):
    with pytest.raises(Invalid, match="expected_state is 'bogus'"):
        await registry.lifecycle.start("web", expected_state="bogus")
    with pytest.raises(Invalid, match="verb is 'jump'"):
        registry.lifecycle.hooks.on_before("jump", print)
    with pytest.raises(Invalid, match="state is 'running'"):
        await registry.lifecycle.create(scope="project", id="x", state="running")
    with pytest.raises(Invalid, match="items has"):
        await registry.link_many([("web", "g"), ("web",)])
    with pytest.raises(Invalid, match="since is -4"):
        registry.on("registered", print, since=-4)
    with pytest.raises(Compacted, match="revision 99 has not been reached"):
        await registry.events("web", since=99)
    assert (await registry.store.position()).revision == 2


async def test_an_instance_is_created_from_its_fields_too(registry):
    done = await registry.lifecycle.create(scope="project", id="shop", parent_id="g")
    assert (await registry.at("shop", done.revision)).state == "created"
    many = await registry.register_many([{"scope": "orchestration", "id": "o", "parent_id": "shop"}])
    assert [one.id for one in many] == ["o"]
