"""The registry: the Python door to a namespace. What it answers has happened, and it has it."""

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from hopper import InstanceRegistry, InstanceSpec, Selector, Settings
from hopper.errors import (
    Compacted,
    Exists,
    GlobalExists,
    HasChildren,
    IllegalTransition,
    Invalid,
    NameTaken,
    NewerSchema,
    NotFound,
    PreconditionFailed,
    ScopeRule,
    StaleIncarnation,
    TooLarge,
    Unavailable,
)
from hopper.instance.topology import Format, draw
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import parse_spec
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from servers import dump
from waiting import wait_until


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[InstanceRegistry]:
    async with InstanceRegistry(settings) as entered:
        yield entered


@pytest.fixture
async def tree(registry: InstanceRegistry) -> InstanceRegistry:
    """g over web and shop, web over run-1 and run-2."""
    await registry.register(scope="global", id="g")
    await registry.register(scope="project", id="web", name="the web", parent_id="g", tags=["eu"])
    await registry.register(scope="project", id="shop", parent_id="g")
    await registry.register(scope="orchestration", id="run-1", parent_id="web")
    await registry.register(scope="orchestration", id="run-2", parent_id="web")
    return registry


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[InstanceStore]:
    """Another client of the same namespace."""
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]


# -- one per process -----------------------------------------------------------------------------------------------


async def test_there_is_one_registry_per_namespace_and_event_loop(settings, new_settings):
    first = InstanceRegistry.get(settings)
    assert InstanceRegistry.get(settings) is first
    assert InstanceRegistry.get(new_settings()) is not first
    elsewhere = await asyncio.to_thread(lambda: asyncio.run(another_loop(settings)))
    assert elsewhere is not first


async def another_loop(settings: Settings) -> InstanceRegistry:
    return InstanceRegistry.get(settings)


def test_a_registry_of_a_loop_that_has_ended_is_not_given_to_another(settings):
    async def one() -> InstanceRegistry:
        return await InstanceRegistry.get(settings)

    async def enter() -> int:
        async with InstanceRegistry.get(settings) as registry:
            await registry.register(scope="global", id="g")
            return id(registry)

    with asyncio.Runner() as runner:
        left_open = runner.run(one())
        seen = {id(left_open)}
        runner.run(left_open.aclose())
    for _ in range(5):
        number = asyncio.run(enter())
        assert number not in seen or left_open is None
        gc.collect()
    assert not any(key[0].is_closed() for key in InstanceRegistry._shared if key[2] == "nobody")


async def test_the_last_of_several_users_closes_it_and_the_next_gets_a_new_one(settings):
    registry = InstanceRegistry.get(settings)
    async with registry, InstanceRegistry.get(settings) as same:
        assert same is registry
        async with registry:
            pass
        assert registry.view.complete
        await registry.register(scope="global", id="g")
    assert not registry.view.complete
    await registry.aclose()
    assert InstanceRegistry.get(settings) is not registry


async def test_it_can_be_awaited_and_left_by_hand(settings):
    registry = await InstanceRegistry.get(settings)
    assert registry.view.complete
    await registry.aclose()


async def test_entered_again_it_works_and_calls_back_once_per_event(settings):
    registry = InstanceRegistry(settings)
    heard: list[Event] = []
    registry.on(None, heard.append)
    for number in range(3):
        async with registry:
            await registry.register(scope="project", id=f"p{number}")
            await wait_until(lambda number=number: len(heard) == number + 1)
    assert [event.id for event in heard] == ["p0", "p1", "p2"]


async def test_one_that_enters_while_the_last_one_leaves_has_a_registry_that_works(settings):
    registry = await InstanceRegistry.get(settings)
    with capture_logs() as logs:
        leaving = asyncio.create_task(registry.aclose())
        await asyncio.sleep(0)
        async with registry:
            await leaving
            await registry.register(scope="global", id="g")
            assert await registry.get("g", consistent=True)
            assert InstanceRegistry.get(settings) is registry
    assert {entry["event"] for entry in logs} <= {"view.loaded"}


async def test_nothing_is_left_running_after_the_exit(settings):
    before, threads = asyncio.all_tasks(), threading.active_count()
    async with InstanceRegistry(settings) as registry:
        await registry.register(scope="global", id="g")
        heard: list[Event] = []
        watching = aiter(registry.watch(since=0))
        heard.append(await anext(watching))
        await watching.aclose()
    assert asyncio.all_tasks() == before
    assert threading.active_count() == threads


async def test_a_registry_that_was_not_entered_says_so(settings):
    with pytest.raises(Unavailable, match="async with"):
        await InstanceRegistry(settings).get("g")


async def test_entering_without_redis_fails_after_the_time_a_read_may_wait(new_settings):
    registry = InstanceRegistry(new_settings(redis_url="redis://127.0.0.1:1/0", read_wait_s=0.2))
    before = asyncio.all_tasks()
    with pytest.raises(Unavailable, match="has not loaded"):
        async with registry:
            pass
    assert asyncio.all_tasks() == before


async def test_keys_of_a_newer_version_are_refused_on_entry_with_a_sentence(settings, store, client):
    await client.set(store.keys.schema, "99")
    began = time.monotonic()
    with pytest.raises(NewerSchema, match="99"):
        await InstanceRegistry(settings).start()
    assert time.monotonic() - began < settings.read_wait_s


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


# -- relationships -------------------------------------------------------------------------------------------------


async def test_a_link_moves_and_a_repeat_changes_nothing(tree):
    moved = await tree.link("run-1", "shop")
    assert moved.parent_id == "shop"
    revision = tree.view.revision
    assert (await tree.link("run-1", "shop")) is moved
    assert tree.view.revision == revision
    assert ids(await tree.children("web")) == ["run-2"]


async def test_an_unlink_makes_an_orphan_that_looks_for_nobody(tree):
    await tree.register(scope="orchestration", id="run-3", wish={"name": "the web"}, parent_id="web")
    gone = await tree.unlink("run-3")
    assert (gone.parent_id, gone.wish) == (None, None)
    assert ids(await tree.orphans()) == ["run-3"]
    assert await tree.adopt() == []


async def test_orphans_are_adopted_by_the_parent_they_look_for(registry):
    for name, wish in {"by-id": {"id": "web"}, "by-name": {"name": "the web"}, "by-tags": {"tags": ["eu"]}}.items():
        await registry.register(scope="orchestration", id=name, wish=wish)
    await registry.register(scope="orchestration", id="content")
    await registry.register(scope="orchestration", id="elsewhere", wish={"name": "nobody"})
    await registry.register(scope="project", id="web", name="the web", tags=["eu", "fast"])
    await registry.register(scope="project", id="younger", tags=["eu"])
    adopted = await registry.adopt(actor="test")
    assert {record.id: record.parent_id for record in adopted} == dict.fromkeys(["by-id", "by-name", "by-tags"], "web")
    await registry.register(scope="global", id="g")
    assert {record.id: record.parent_id for record in await registry.adopt()} == {"web": "g", "younger": "g"}
    assert ids(await registry.orphans()) == ["content", "elsewhere"]
    assert await registry.adopt() == []


async def test_an_orphan_whose_parent_is_full_stays_one_and_the_others_are_adopted(registry):
    await registry.register(scope="project", id="small", max_children=1)
    for number in range(3):
        await registry.register(scope="orchestration", id=f"o{number}", wish={"id": "small"})
    assert ids(await registry.adopt()) == ["o0"]
    assert ids(await registry.orphans()) == ["small", "o1", "o2"]


async def test_a_wish_for_an_instance_of_the_wrong_scope_is_not_fulfilled(registry):
    await registry.register(scope="global", id="g")
    await registry.register(scope="orchestration", id="o", wish={"id": "g"})
    assert await registry.adopt() == []


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


# -- events --------------------------------------------------------------------------------------------------------


async def test_callbacks_hear_what_others_change_in_order(registry, other):
    heard: list[tuple[Any, ...]] = []
    registry.on("state_changed", lambda event: heard.append(("state", event.id)))
    registry.on_child_added(lambda parent_id, child: heard.append(("added", parent_id, child.id)))
    registry.on_child_removed(lambda parent_id, child: heard.append(("removed", parent_id, child.id)))
    registry.on_parent_changed(lambda child, old, new: heard.append(("moved", child.id, old, new)))
    for fields in (
        {"scope": "global", "id": "g"},
        {"scope": "project", "id": "p", "parent_id": "g"},
        {"scope": "project", "id": "q"},
    ):
        await other.register(parse_spec(fields))
    await other.link("q", "g")
    await other.transition("q", Verb.PAUSE)
    await other.unlink("q")
    await other.deregister("p")
    await wait_until(lambda: len(heard) == 9)
    assert heard == [
        ("added", "g", "p"),
        ("moved", "p", None, "g"),
        ("added", "g", "q"),
        ("moved", "q", None, "g"),
        ("state", "q"),
        ("removed", "g", "q"),
        ("moved", "q", "g", None),
        ("removed", "g", "p"),
        ("moved", "p", "g", None),
    ]


async def test_a_watch_tells_everything_since_a_revision_and_then_what_comes(tree):
    async with contextlib.aclosing(tree.watch(since=2)) as events:
        seen = [await anext(events) for _ in range(3)]
        await tree.transition("run-1", "pause")
        seen.append(await anext(events))
    assert [event.revision for event in seen] == [3, 4, 5, 6]
    assert (seen[-1].type, seen[-1].id) == (EventType.STATE_CHANGED, "run-1")


async def test_a_watch_of_a_revision_that_is_not_reached_is_refused(tree):
    with pytest.raises(Compacted, match="99"):
        await anext(tree.watch(since=99))


async def test_waiting_for_instances_ends_when_they_are_there(registry, other):
    wanted = Selector(scope=frozenset({Scope.PROJECT}), state=frozenset({State.PAUSED}))
    waiting = asyncio.create_task(registry.wait_for(wanted, 2, timeout_s=5))
    for id in ("p", "q"):
        await other.register(parse_spec({"scope": "project", "id": id}))
    await other.transition("q", Verb.PAUSE)
    await wait_until(lambda: registry.view.revision == 3)
    assert not waiting.done()
    await other.transition("p", Verb.PAUSE)
    assert ids(await waiting) == ["p", "q"]
    assert ids(await registry.wait_for(wanted)) == ["p", "q"]
    assert await registry.wait_for(Selector(name="nobody"), 0) == []
    assert len(registry.view._listeners) == 1


async def test_waiting_for_instances_that_do_not_come_ends_with_the_count(tree):
    with pytest.raises(TimeoutError, match=r"2 of 3 instances are there after 0\.05 s"):
        await tree.wait_for(Selector(scope=frozenset({Scope.PROJECT})), 3, timeout_s=0.05)
    assert len(tree.view._listeners) == 1


# -- Redis away ----------------------------------------------------------------------------------------------------


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


@pytest.fixture(autouse=True)
async def _redis_is_left_quiet(client: redis.asyncio.Redis, settings: Settings) -> AsyncIterator[None]:
    """After each test no connection of the registry is left."""
    yield
    blocked = [entry for entry in await client.client_list() if entry["cmd"] == "xread"]
    assert len(blocked) <= 1, "only the registry of the fixture may still read the log"
