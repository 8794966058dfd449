"""The registry: the Python door to a namespace. What it answers has happened, and it has it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hopper import InstanceRegistry, InstanceSpec, Selector
from hopper.errors import (
    Exists,
    GlobalExists,
    HasChildren,
    IllegalTransition,
    Invalid,
    NameTaken,
    NotFound,
    PreconditionFailed,
    ScopeRule,
    StaleIncarnation,
    TooLarge,
    Unavailable,
)
from hopper.instance.topology import Format, draw
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.spec import parse_spec
from hopper.model.state import State, Verb
from servers import dump
from specs import ids
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("redis_is_left_quiet")

# -- registration --------------------------------------------------------------------------------------------------


async def test_what_is_registered_is_there_at_once_by_id_and_by_name(registry):
    record = await registry.register(scope="Project", name="web", tags=["a"], metadata={"zone": "1"})
    assert record.id.startswith("project-")
    assert (record.state, record.health) == (State.RUNNING, Health.HEALTHY)
    assert await registry.get(record.id) is record
    assert await registry.get_by_name("project", "web") is record
    assert await registry.get_by_name(Scope.ORCHESTRATION, "web") is None
    assert await registry.get("nobody") is None


async def test_a_spec_registers_as_its_fields_do(registry):
    record = await registry.register(InstanceSpec(scope=Scope.GLOBAL, id="g"))
    assert (await registry.global_instance()) is record


async def test_every_write_is_in_memory_when_it_is_answered(registry):
    for number in range(20):
        record = await registry.register(scope="project", id=f"p{number}")
        assert registry.view.replica.records[f"p{number}"] is record
        changed = await registry.update(record.id, {"version": "2"})
        assert registry.view.replica.records[f"p{number}"] is changed
        paused = await registry.transition(record.id, "pause")
        assert registry.view.replica.records[f"p{number}"] is paused
        revision = await registry.deregister(record.id)
        assert registry.view.revision >= revision
        assert f"p{number}" not in registry.view.replica.records


REFUSED: dict[str, tuple[Callable[[InstanceRegistry], Any], type[Exception], str]] = {
    "an unknown scope": (lambda r: r.register(scope="team"), Invalid, "scope is 'team'"),
    "an unknown field": (lambda r: r.register(scope="project", colour="red"), Invalid, "unknown field 'colour'"),
    "an unknown takeover": (lambda r: r.register(scope="project", takeover="maybe"), Invalid, "takeover is 'maybe'"),
    "a second global": (lambda r: r.register(scope="global", id="g2"), GlobalExists, "'g2'.*'g'"),
    "a name that is taken": (lambda r: r.register(scope="project", id="x", name="the web"), NameTaken, "'x'.*'web'"),
    "a parent of the wrong scope": (
        lambda r: r.register(scope="project", id="x", parent_id="web"), ScopeRule, "'x'.*'web'",
    ),
    "a parent that is not there": (
        lambda r: r.register(scope="project", id="x", parent_id="nobody"), NotFound, "'nobody'.*'x'",
    ),
    "an id that is taken": (
        lambda r: r.register(scope="project", id="web", takeover="never"), Exists, "'web'",
    ),
    "an id that lives": (lambda r: r.register(scope="project", id="web", takeover="if-dead"), Exists, "'web'"),
    "another scope for an id": (lambda r: r.register(scope="orchestration", id="web"), Exists, "'web'.*project"),
    "a patch of nobody": (lambda r: r.update("nobody", {"version": "1"}), NotFound, "'nobody'"),
    "a patch of what has a verb": (lambda r: r.update("web", {"state": "paused"}), Invalid, "'state'"),
    "a patch of no field": (lambda r: r.update("web", {"colour": "red"}), Invalid, "'colour'"),
    "a patch at another revision": (
        lambda r: r.update("web", {"version": "1"}, if_revision=1), PreconditionFailed, "revision 2, not 1",
    ),
    "a removal of nobody": (lambda r: r.deregister("nobody"), NotFound, "'nobody'"),
    "a removal of a parent": (lambda r: r.deregister("web"), HasChildren, "'web'.*2"),
    "a removal at another revision": (lambda r: r.deregister("shop", if_revision=1), PreconditionFailed, "not 1"),
    "a removal of an older one": (lambda r: r.deregister("shop", incarnation=1), StaleIncarnation, "not 1"),
    "a link of nobody": (lambda r: r.link("nobody", "web"), NotFound, "'nobody'.*'web'"),
    "a link to nobody": (lambda r: r.link("run-1", "nobody"), NotFound, "'nobody'.*'run-1'"),
    "a link across the levels": (lambda r: r.link("run-1", "g"), ScopeRule, "'run-1'.*'g'"),
    "a link to oneself": (lambda r: r.link("web", "web"), ScopeRule, "'web'"),
    "an unlink of nobody": (lambda r: r.unlink("nobody"), NotFound, "'nobody'"),
    "an unlink of the global": (lambda r: r.unlink("g"), ScopeRule, "'g'"),
    "a verb of another state": (lambda r: r.transition("web", "start"), IllegalTransition, "'web'.*'start'.*running"),
    "an unknown verb": (lambda r: r.transition("web", "jump"), Invalid, "verb is 'jump'"),
    "a transition of nobody": (lambda r: r.transition("nobody", "pause"), NotFound, "'nobody'"),
    "a transition of an older one": (lambda r: r.transition("web", "pause", incarnation=1), StaleIncarnation, "not 1"),
    "a heartbeat of nobody": (lambda r: r.heartbeat("nobody"), NotFound, "'nobody'"),
    "a heartbeat that is too large": (lambda r: r.heartbeat("web", {"x": "y" * 5000}), TooLarge, "'web'.*4096"),
    "a heartbeat in bytes that is too large": (lambda r: r.heartbeat("web", b"y" * 5000), TooLarge, "'web'.*4096"),
    "a heartbeat that is no JSON": (lambda r: r.heartbeat("web", {"x": object()}), Invalid, "'web'"),
    "children of nobody": (lambda r: r.children("nobody"), NotFound, "'nobody'"),
    "ancestors of nobody": (lambda r: r.ancestors("nobody"), NotFound, "'nobody'"),
    "descendants of nobody": (lambda r: r.descendants("nobody"), NotFound, "'nobody'"),
    "a topology under nobody": (lambda r: r.topology(root="nobody"), NotFound, "'nobody'"),
    "the health of nobody": (lambda r: r.health("nobody"), NotFound, "'nobody'"),
    "a name in no scope": (lambda r: r.get_by_name("team", "x"), Invalid, "scope is 'team'"),
    "parents for no scope": (lambda r: r.parents_for("team"), Invalid, "scope is 'team'"),
    "a child of no scope": (lambda r: r.discover(can_parent="team"), Invalid, "can_parent is 'team'"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "error", "sentence"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_names_its_parties_and_leaves_every_key_as_it_was(
    act, error, sentence, tree, client, settings
):
    before = await dump(client, settings.namespace)
    with pytest.raises(error, match=sentence):
        await act(tree)
    assert await dump(client, settings.namespace) == before


async def test_an_unknown_event_to_listen_to_is_refused(registry):
    with pytest.raises(Invalid, match="event is 'born'"):
        registry.on("born", print)


async def test_a_token_registers_once_even_where_the_id_is_made_up(registry):
    first = await registry.register(scope="project", token="t-1")
    again = await registry.register(scope="project", token="t-1")
    assert again.id == first.id
    assert len(await registry.list()) == 1
    assert (await registry.register(scope="project", token="t-2")).id != first.id


async def test_an_update_at_a_revision_that_this_registry_has_not_seen_yet_is_made(registry, other):
    await registry.register(scope="project", id="p")
    registry.view.replica.put = lambda *_: None  # a view that lags behind
    seen = await other.transition("p", Verb.PAUSE)
    await wait_until(lambda: registry.view.revision == seen)
    assert registry.view.replica.records["p"].revision != seen
    del registry.view.replica.put
    await registry.lifecycle.update("p", {"version": "2"}, if_revision=seen)
    record = await other.read("p")
    assert record is not None
    assert record.version == "2"


async def test_a_repeated_update_with_a_token_is_answered_though_the_revision_has_moved_on(registry):
    record = await registry.register(scope="project", id="p")
    first = await registry.lifecycle.update("p", {"version": "2"}, if_revision=record.revision, token="t")
    await registry.update("p", {"version": "3"})
    assert await registry.lifecycle.update("p", {"version": "2"}, if_revision=record.revision, token="t") == first
    assert (await registry.get("p")).version == "3"


async def test_an_address_that_would_be_taken_for_an_object_is_refused(registry):
    for act in (
        registry.register(scope="project", address="{x:80"),
        registry.register(InstanceSpec(scope=Scope.PROJECT, address="{x:80")),
    ):
        with pytest.raises(Invalid, match="address"):
            await act
    await registry.register(scope="project", id="p")
    with pytest.raises(Invalid, match="address"):
        await registry.update("p", {"address": "{x:80"})
    assert registry.view.complete


# -- reads ---------------------------------------------------------------------------------------------------------


async def test_lists_are_in_the_order_of_creation_and_of_what_matches(tree):
    await tree.update("web", {"version": "2"})
    assert ids(await tree.list()) == ["g", "web", "shop", "run-1", "run-2"]
    assert ids(await tree.list(Selector(parent="web"))) == ["run-1", "run-2"]
    assert await tree.list(Selector(parent="nobody")) == []


async def test_the_family_of_an_instance(tree):
    assert ids(await tree.children("g")) == ["web", "shop"]
    assert ids(await tree.ancestors("run-1")) == ["web", "g"]
    assert ids(await tree.descendants("g")) == ["web", "run-1", "run-2", "shop"]
    assert await tree.children("run-1") == await tree.ancestors("g") == []
    assert await tree.orphans() == []


async def test_a_discovery_finds_what_is_in_service_unless_told_otherwise(tree):
    await tree.transition("run-1", "pause")
    project = Selector(scope=frozenset({Scope.ORCHESTRATION}))
    assert ids(await tree.discover(project)) == ["run-2"]
    assert ids(await tree.discover()) == ["g", "web", "shop", "run-2"]
    everyone = Selector(scope=frozenset({Scope.ORCHESTRATION}), available=False)
    assert ids(await tree.discover(everyone)) == ["run-1", "run-2"]
    assert ids(await tree.discover(can_parent="orchestration")) == ["web", "shop"]
    assert ids(await tree.parents_for("orchestration")) == ["shop", "web"]
    assert ids(await tree.parents_for(Scope.PROJECT)) == ["g"]


async def test_the_topology_is_the_tree(tree):
    text = draw(await tree.topology(), Format.TEXT)
    assert [line.split()[-4] for line in text.splitlines()] == ["g", "web)", "run-1", "run-2", "shop"]
    assert (await tree.topology(root="web", depth=0)).root.hidden == 2


async def test_the_global_is_found_and_after_it_went_there_is_none(registry):
    assert await registry.global_instance() is None
    await registry.register(scope="global", id="g")
    assert (await registry.global_instance()).id == "g"
    await registry.deregister("g")
    assert await registry.global_instance() is None


async def test_a_consistent_read_sees_what_another_client_wrote_just_before(registry, other):
    for number in range(20):
        await other.register(parse_spec({"scope": "project", "id": f"p{number}"}))
        assert await registry.get(f"p{number}", consistent=True)


async def test_a_read_waits_for_the_revision_it_asks_for(registry, other):
    done = await other.register(parse_spec({"scope": "project", "id": "p"}))
    assert await registry.get("p", min_revision=done.revision)
    assert ids(await registry.list(min_revision=done.revision)) == ["p"]


async def test_a_revision_that_redis_has_not_reached_is_refused_at_once(registry):
    with pytest.raises(PreconditionFailed, match=r"revision 99.*at 0"):
        await registry.get("p", min_revision=99)


# -- health --------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_carries_metrics_and_says_when_it_expires(tree, client):
    expires_at_ms = await tree.heartbeat("web", {"queue_depth": 7, "error_rate": 2, "colour": "red"})
    seconds, micros = await client.time()
    assert 14_000 < expires_at_ms - (seconds * 1000 + micros // 1000) <= 15_000
    health = await tree.health("web")
    assert health.metrics == {"queue_depth": 7, "colour": "red"}
    assert health.problems == ("error_rate is 2, not in 0..1",)
    assert health.heartbeat is True
    assert 0 < health.expires_in_ms <= 15_000
    await tree.heartbeat("web", b"not JSON")
    assert (await tree.health("web")).problems == ("the value is not JSON",)
    await tree.heartbeat("web")


async def test_the_health_of_all_counts_and_says_who_watches(tree):
    await tree.transition("run-1", "fail")
    summary = await tree.health()
    assert (summary.total, summary.orphans, summary.monitor, summary.status) == (5, 0, None, "degraded")
    assert summary.health["healthy"] == 4
    assert summary.scopes == {"global": 1, "project": 2, "orchestration": 2}
    assert summary.states["failed"] == 1
    assert summary.by_scope["orchestration"] == {"unknown": 1, "healthy": 1}


async def test_a_heartbeat_nested_too_deep_for_any_answer_is_a_problem_and_not_a_fault(tree):
    await tree.heartbeat("web", b'{"x":' + b"[" * 400 + b"]" * 400 + b"}")
    assert (await tree.health("web")).problems == ("the value is nested too deep",)


# -- Redis away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["failed", "down", "suspect", "unhealthy"])
async def test_the_status_is_degraded_by_who_does_badly_but_for_one_in_maintenance(store, settings, how):
    await store.register(InstanceSpec(scope=Scope.GLOBAL, id="g"))
    await store.client.set(store.keys.monitor, "m", ex=60)
    async with InstanceRegistry(settings) as registry:
        assert (await registry.health()).status == "ok"
    await store.client.hset(store.keys.record("g"), "state" if how == "failed" else "health", how)
    async with InstanceRegistry(settings) as registry:
        summary = await registry.health()
        assert (summary.status, summary.troubled[how].ids) == ("degraded", ("g",))
        await registry.maintenance("g", reason="moved")
        summary = await registry.health()
        assert (summary.status, summary.troubled) == ("ok", {})


async def test_without_redis_reads_go_on_and_writes_say_what_became_of_them(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, read_wait_s=0.5)
    async with InstanceRegistry(settings) as registry:
        await registry.register(scope="global", id="g")
        await asyncio.to_thread(private_server.kill)
        await wait_until(lambda: not registry.view.complete)
        assert (await registry.get("g")).id == "g"
        assert ids(await registry.list()) == ["g"]
        with pytest.raises(Unavailable):
            await registry.transition("g", "pause")  # perhaps on a connection that was open: nobody knows
        with pytest.raises(Unavailable) as refused:
            await registry.transition("g", "pause")
        assert refused.value.outcome == "not-applied"
        with pytest.raises(Unavailable):
            await registry.get("g", consistent=True)
        summary = await registry.health()
        assert (summary.status, summary.total) == ("unavailable", 1)
        assert (await registry.health("g")).heartbeat is None
        assert [report.heartbeat for report in await registry.reports.detail(await registry.list())] == [None]


async def test_a_write_that_was_made_is_never_said_not_to_be_applied(registry, monkeypatch):
    """Redis goes away between the write and the reads that follow it."""

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("Redis is away", outcome="not-applied")

    monkeypatch.setattr(registry.view, "reach", away)
    monkeypatch.setattr(registry.store, "read", away)
    with pytest.raises(Unavailable) as late:
        await registry.register(scope="project", id="p")
    assert late.value.outcome == "unknown"
    assert await registry.deregister("p") == 2
