"""The store of instances, method by method: what it does, what a repeat does, and what it refuses."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from census import Census
from hopper.errors import (
    BY_LUA_CODE,
    Conflict,
    Exists,
    GlobalExists,
    HasChildren,
    HopperError,
    IllegalTransition,
    Invalid,
    NameTaken,
    NewerSchema,
    NotFound,
    PreconditionFailed,
    ScopeRule,
    StaleIncarnation,
    TooLarge,
)
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec, apply_patch, parse_spec, spec_of
from hopper.model.state import MONITORED_STATES, TRANSITIONS, State, Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore
from hopper.store.scripts import script
from servers import dump


def spec(scope: str, id: str, **fields: Any) -> InstanceSpec:
    return parse_spec({"scope": scope, "id": id, **fields})


async def events(store: InstanceStore, since: int = 0) -> list[Any]:
    census = await Census.take(store.client, store.settings.namespace)
    return [event for event in census.events if event.revision > since]


@pytest.fixture
def tampered() -> list[str]:
    """What a test has changed behind the log's back."""
    return []


@pytest.fixture(autouse=True)
async def _agrees(store: InstanceStore, tampered: list[str]) -> AsyncIterator[None]:
    """After each test the tree, the indexes and the log must tell the same."""
    yield
    census = await Census.take(store.client, store.settings.namespace)
    assert tampered or census.problems == []


async def known(store: InstanceStore, id: str) -> Record:
    record = await store.read(id)
    assert record is not None
    return record


# -- open and position ---------------------------------------------------------------------------------------------


async def test_a_fresh_namespace_has_an_epoch_that_names_the_run_and_revision_zero(store):
    opened = await store.open()
    run = (await store.client.info("server"))["run_id"][:8]
    assert opened.epoch.startswith(f"{run}-")
    assert opened.revision == 0
    position = await store.position()
    assert (position.epoch, position.revision) == (opened.epoch, 0)


async def test_opening_again_keeps_the_epoch_and_tells_the_revision_and_the_time(store):
    first = await store.open()
    registration = await store.register(spec("global", "g"))
    again = await store.open()
    assert again.epoch == first.epoch
    assert again.revision == registration.revision == 1
    seconds, micros = await store.client.time()
    assert 0 <= seconds * 1000 + micros // 1000 - again.now_ms < 5000


async def test_another_run_of_the_server_is_another_epoch_with_the_same_revision(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        await store.register(spec("global", "g"))
    private_server.restart()
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        after = await store.open()
        assert after.epoch != before.epoch
        assert after.revision == 1
        assert (await known(store, "g")).id == "g"


async def test_a_flush_is_another_epoch(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        with private_server.connect() as direct:
            direct.flushall()
        after = await store.open()
        assert (after.epoch != before.epoch, after.revision) == (True, 0)


async def test_a_flush_that_nobody_noticed_is_another_epoch_with_the_first_write(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        before = await store.open()
        with private_server.connect() as direct:
            direct.flushall()
        await store.register(spec("global", "g"))
        between = await store.position()
        after = await store.open()
        assert between.epoch not in ("", before.epoch)
        assert after.epoch not in ("", before.epoch)


async def test_keys_of_a_newer_version_are_refused_with_a_sentence_and_left_alone(store):
    await store.client.set(store.keys.schema, 2)
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises(NewerSchema, match="the keys have version 2 and this hopper knows 1: upgrade it"):
        await store.open()
    assert await dump(store.client, store.settings.namespace) == before


# -- register ------------------------------------------------------------------------------------------------------


async def test_registering_writes_the_record_its_first_heartbeat_and_one_event(store):
    await store.register(spec("global", "g"))
    registration = await store.register(
        spec("project", "web", name="Web", parent_id="g", tags=["eu"], metadata={"a": "b"}, ttl_ms=5000), actor="me"
    )
    assert (registration.revision, registration.incarnation, registration.superseded) == (2, 2, False)
    record = await known(store, "web")
    assert (record.name, record.scope, record.parent_id) == ("Web", Scope.PROJECT, "g")
    assert (record.state, record.health) == (State.RUNNING, Health.HEALTHY)
    assert (record.tags, record.metadata, record.ttl_ms) == (("eu",), {"a": "b"}, 5000)
    assert record.revision == record.incarnation == record.created_revision == 2
    assert record.created_at_ms == record.updated_at_ms == record.started_at_ms > 0
    assert (record.stopped_at_ms, record.down_at_ms, record.restarts, record.flapping) == (None, None, 0, False)
    assert 0 < await store.client.pttl(store.keys.heartbeat("web")) <= 5000
    (event,) = await events(store, since=1)
    assert (event.type, event.id, event.actor, event.record) == (EventType.REGISTERED, "web", "me", record)
    assert event.record_json == event.record.to_json()


async def test_an_id_and_a_name_are_made_up_where_they_are_absent(store):
    registration = await store.register(parse_spec({"scope": "project"}))
    record = await known(store, registration.id)
    assert record.id.startswith("project-")
    assert record.name == record.id


@pytest.mark.parametrize("state", list(State), ids=str)
async def test_an_instance_registered_in_a_state_is_monitored_or_not(state, store):
    await store.register(spec("project", "p", state=state.value))
    record = await known(store, "p")
    monitored = state in MONITORED_STATES
    assert record.health is (Health.HEALTHY if monitored else Health.UNKNOWN)
    assert (record.started_at_ms is not None) == monitored
    assert bool(await store.client.exists(store.keys.heartbeat("p"))) == monitored


EVERY_FIELD: dict[str, Any] = {
    "name": 'The "Web" / päge',
    "address": {"http": "https://web:8443/x", "metrics": "web:9100"},
    "version": "1.2.3",
    "description": "two\nlines",
    "tags": ["eu", "gpu", "ünïcode"],
    "metadata": {"zone": "a/b", "empty": "", 'quo"te': "\\"},
    "config": {"list": [], "object": {}, "deep": [{"a": None}, 1.5, True]},
    "ephemeral": True,
    "ttl_ms": 7000,
    "grace_ms": 100,
    "deregister_after_ms": 1,
    "restart": {"mode": "always", "max_restarts": 0, "webhook": "http://x/"},
    "thresholds": {"queue_depth": {"degraded": 5, "unhealthy": 50}},
    "check": {"kind": "tcp"},
    "wish": {"tags": ["eu"]},
    "max_children": 3,
}


async def test_every_field_of_an_owner_comes_back_as_it_was_given_from_hash_and_log(store):
    given = spec("project", "p", **EVERY_FIELD)
    await store.register(given)
    record = await known(store, "p")
    assert spec_of(record) == given
    (event,) = await events(store)
    assert event.record == record
    assert orjson.loads(event.record_json) == orjson.loads(record.to_json())


async def test_superseding_keeps_what_is_not_the_owners_and_takes_the_rest_from_the_new_owner(store, tampered):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g", tags=["old"], version="1"))
    await store.register(spec("orchestration", "o", parent_id="p"))
    tampered.append("maintenance")
    await store.client.hset(store.keys.record("p"), "maintenance", '{"reason":"disk","until_ms":null}')
    before = await known(store, "p")
    registration = await store.register(spec("project", "p", tags=["new"]), known=before)
    assert registration.superseded
    after = await known(store, "p")
    assert (after.tags, after.version) == (("new",), None)
    assert (after.parent_id, after.maintenance.reason) == ("g", "disk")
    assert (after.created_revision, after.created_at_ms) == (before.created_revision, before.created_at_ms)
    assert after.incarnation == after.revision == registration.incarnation == 4
    assert await store.client.smembers(store.keys.children("p")) == {b"o"}


async def test_superseding_a_down_instance_makes_it_healthy_again(store):
    await store.register(spec("project", "p", state="running"))
    await store.transition("p", Verb.FAIL)
    await store.register(spec("project", "p"))
    record = await known(store, "p")
    assert (record.state, record.health, record.stopped_at_ms) == (State.RUNNING, Health.HEALTHY, None)


async def test_superseding_in_an_unmonitored_state_ends_the_heartbeat(store):
    await store.register(spec("project", "p"))
    await store.register(spec("project", "p", state="created"))
    assert not await store.client.exists(store.keys.heartbeat("p"))


async def test_superseding_under_another_name_frees_the_old_one(store):
    await store.register(spec("project", "p", name="one"))
    await store.register(spec("project", "p", name="two"))
    await store.register(spec("project", "q", name="one"))
    assert (await store.read_name("project", "one"), await store.read_name("project", "two")) == ("q", "p")


async def test_a_registration_that_believes_in_an_old_parent_reads_again_and_succeeds(store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p"))
    stale = await known(store, "p")
    await store.link("p", "g")
    await store.register(spec("project", "p", tags=["x"]), known=stale)
    assert (await known(store, "p")).parent_id == "g"


TAKEOVERS = {
    "always, alive": (Takeover.ALWAYS, "running", True, True),
    "always, lapsed": (Takeover.ALWAYS, "running", False, True),
    "if dead, alive": (Takeover.IF_DEAD, "running", True, False),
    "if dead, lapsed": (Takeover.IF_DEAD, "running", False, True),
    "if dead, not monitored": (Takeover.IF_DEAD, "stopped", False, True),
    "never, alive": (Takeover.NEVER, "running", True, False),
    "never, lapsed": (Takeover.NEVER, "running", False, False),
    "never, not monitored": (Takeover.NEVER, "stopped", False, False),
}


@pytest.mark.parametrize(("takeover", "state", "beats", "allowed"), TAKEOVERS.values(), ids=TAKEOVERS.keys())
async def test_an_id_that_exists_is_superseded_as_takeover_says(takeover, state, beats, allowed, store):
    await store.register(spec("project", "p", state=state))
    if not beats:
        await store.client.delete(store.keys.heartbeat("p"))
    before = await dump(store.client, store.settings.namespace)
    if allowed:
        assert (await store.register(spec("project", "p"), takeover=takeover)).superseded
    else:
        with pytest.raises(
            Exists, match=f"instance 'p' exists, a project in state {state}, and takeover is {takeover}"
        ):
            await store.register(spec("project", "p"), takeover=takeover)
        assert await dump(store.client, store.settings.namespace) == before


@pytest.mark.parametrize("id", ["global", "name"])
async def test_if_dead_does_not_replace_a_holder_that_lives(id, store):
    await store.register(spec("global", "old", name="web"))
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises((GlobalExists, NameTaken), match="'old'"):
        await store.register(spec("global", "new", name="web"), takeover=Takeover.IF_DEAD)
    assert await dump(store.client, store.settings.namespace) == before


# -- update --------------------------------------------------------------------------------------------------------


def patching(**patch: Any) -> Any:
    return lambda record: apply_patch(record, patch)


async def test_an_update_changes_the_fields_named_and_says_what_was_there_before(store):
    await store.register(spec("project", "p", tags=["a"], version="1"))
    revision = await store.update("p", patching(tags=["b"], metadata={"k": "v"}), actor="me")
    record = await known(store, "p")
    assert revision == record.revision == 2
    assert (record.tags, record.metadata, record.version) == (("b",), {"k": "v"}, "1")
    assert record.incarnation == 1
    (event,) = await events(store, since=1)
    assert (event.type, event.actor, event.previous) == (EventType.UPDATED, "me", {"tags": ["a"], "metadata": {}})


async def test_an_update_that_changes_nothing_appends_nothing_and_answers_the_last_revision(store):
    await store.register(spec("project", "p", tags=["a"]))
    await store.register(spec("project", "q"))
    before = await dump(store.client, store.settings.namespace)
    assert await store.update("p", patching(tags=["a"])) == 2
    assert await dump(store.client, store.settings.namespace) == before


async def test_a_new_name_frees_the_old_one(store):
    await store.register(spec("project", "p", name="one"))
    await store.update("p", patching(name="two"))
    assert (await store.read_name("project", "one"), await store.read_name("project", "two")) == (None, "p")


async def test_an_update_of_an_old_record_is_made_again_with_the_new_one(store):
    await store.register(spec("project", "p", metadata={"a": "1"}))
    stale = await known(store, "p")
    await store.update("p", patching(metadata={"b": "2"}))
    await store.update("p", patching(metadata={"c": "3"}), known=stale)
    assert (await known(store, "p")).metadata == {"a": "1", "b": "2", "c": "3"}


async def test_an_update_of_the_revision_asked_for_is_made(store):
    await store.register(spec("project", "p"))
    assert await store.update("p", patching(version="2"), if_revision=1) == 2


async def test_a_conflict_that_never_ends_is_raised(new_settings):
    async with contextlib.aclosing(InstanceStore(new_settings(conflict_retries=3))) as store:
        await store.register(spec("project", "p"))
        tries = 0

        def overtaken(record: Record) -> InstanceSpec:
            nonlocal tries
            tries += 1
            return apply_patch(replace(record), {"version": str(tries)})

        stale = replace(await known(store, "p"), revision=99)

        async def always_stale(id: str) -> Record:
            return stale

        store.read = always_stale
        with pytest.raises(Conflict, match="instance 'p' is at revision 1, not 99"):
            await store.update("p", overtaken)
        assert tries == 3


# -- deregister ----------------------------------------------------------------------------------------------------


async def test_deregistering_leaves_nothing_of_an_instance_but_its_last_event(store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    last = await known(store, "p")
    assert await store.deregister("p", reason="done", actor="me") == 3
    (event,) = await events(store, since=2)
    assert (event.type, event.id, event.record) == (EventType.DEREGISTERED, "p", last)
    assert (event.reason, event.actor) == ("done", "me")
    left = await dump(store.client, store.settings.namespace)
    assert not [key for key in left if key.endswith(":p")]
    assert await store.read("p") is None


async def test_deregistering_the_global_makes_room_for_another(store):
    await store.register(spec("global", "g"))
    await store.deregister("g")
    await store.register(spec("global", "h"))
    assert await store.client.get(store.keys.globe) == b"h"


async def test_deregistering_with_an_old_parent_in_mind_reads_again(store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p"))
    stale = await known(store, "p")
    await store.link("p", "g")
    await store.deregister("p", known=stale)
    assert not await store.client.exists(store.keys.children("g"))


async def test_deregistering_the_incarnation_and_revision_asked_for_is_done(store):
    await store.register(spec("project", "p"))
    record = await known(store, "p")
    await store.deregister("p", incarnation=record.incarnation, if_revision=record.revision)
    assert await store.read("p") is None


# -- transition ----------------------------------------------------------------------------------------------------

LEADING_TO: dict[State, list[Verb]] = {
    State.CREATED: [],
    State.STARTING: [Verb.START],
    State.RUNNING: [Verb.START, Verb.RUN],
    State.PAUSED: [Verb.START, Verb.RUN, Verb.PAUSE],
    State.STOPPING: [Verb.START, Verb.STOP],
    State.STOPPED: [Verb.START, Verb.STOP, Verb.STOPPED],
    State.FAILED: [Verb.START, Verb.FAIL],
}


@pytest.mark.parametrize("state", list(State), ids=str)
@pytest.mark.parametrize("verb", list(Verb), ids=str)
async def test_each_verb_does_in_each_state_what_the_table_says(verb, state, store):
    await store.register(spec("project", "p", state="created"))
    for step in LEADING_TO[state]:
        await store.transition("p", step)
    before = await dump(store.client, store.settings.namespace)
    rule = TRANSITIONS[verb]
    record = await known(store, "p")
    assert record.state is state
    if state is rule.target:
        assert await store.transition("p", verb) == record.revision
        assert await dump(store.client, store.settings.namespace) == before
    elif state not in rule.origins:
        with pytest.raises(IllegalTransition, match=f"instance 'p' cannot '{verb}' to {rule.target}: it is {state}"):
            await store.transition("p", verb)
        assert await dump(store.client, store.settings.namespace) == before
    else:
        revision = await store.transition("p", verb, reason="because", actor="me")
        after = await known(store, "p")
        assert (after.state, after.revision) == (rule.target, revision)
        assert bool(await store.client.exists(store.keys.heartbeat("p"))) == after.monitored
        assert after.health is (Health.HEALTHY if after.monitored else Health.UNKNOWN)
        (event,) = await events(store, since=record.revision)
        assert (event.type, event.reason, event.actor) == (EventType.STATE_CHANGED, "because", "me")
        assert event.previous["state"] == state
        if not after.monitored:
            assert after.stopped_at_ms == event.at_ms
        if after.monitored and not record.monitored:
            assert (after.started_at_ms, after.stopped_at_ms) == (event.at_ms, None)


async def test_a_transition_of_the_present_incarnation_is_made(store):
    registration = await store.register(spec("project", "p"))
    await store.transition("p", Verb.PAUSE, incarnation=registration.incarnation)
    assert (await known(store, "p")).state is State.PAUSED


# -- what is refused -----------------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[Any, type[HopperError], str]] = {
    "register a second global": (lambda s: s.register(spec("global", "g2")), GlobalExists,
        "instance 'g2' cannot be the global: 'g' is"),
    "register a name of its scope": (lambda s: s.register(spec("project", "p9", name="p")), NameTaken,
        "project 'p9' cannot be named 'p': 'p' is"),
    "register under nobody": (lambda s: s.register(spec("project", "p9", parent_id="nobody")), NotFound,
        "instance 'nobody' cannot be the parent of 'p9': it does not exist"),
    "register under the wrong scope": (lambda s: s.register(spec("orchestration", "o9", parent_id="g")), ScopeRule,
        "orchestration 'o9' cannot have parent 'g', a global: its parent is a project"),
    "register the global under one": (lambda s: s.register(spec("global", "g", parent_id="p")), ScopeRule,
        "global 'g' cannot have parent 'p', a project: the global has no parent"),
    "register under a full one": (lambda s: s.register(spec("orchestration", "o9", parent_id="full")), ScopeRule,
        r"orchestration 'o9' cannot have parent 'full': it has its 1 children \(max_children\)"),
    "register as another scope": (lambda s: s.register(spec("orchestration", "p")), Exists,
        "instance 'p' exists as a project and cannot become a orchestration|an orchestration"),
    "register a record too large": (lambda s: s.register(replace(spec("project", "p9"), config={"x": "y" * 9000})),
        Invalid, "instance 'p9' has a record of 9[0-9]{3} bytes, and at most 7936 are stored"),
    "update nobody": (lambda s: s.update("nobody", patching(version="1")), NotFound, "there is no instance 'nobody'"),
    "update to a name that is taken": (lambda s: s.update("q", patching(name="p")), NameTaken,
        "project 'q' cannot be named 'p': 'p' is"),
    "update another revision": (lambda s: s.update("p", patching(version="1"), if_revision=1), PreconditionFailed,
        "instance 'p' is at revision 2, not 1"),
    "update a record too large": (lambda s: s.update("p", lambda r: replace(spec_of(r), config={"x": "y" * 9000})),
        Invalid, "instance 'p' has a record of 9[0-9]{3} bytes"),
    "deregister nobody": (lambda s: s.deregister("nobody"), NotFound, "there is no instance 'nobody'"),
    "deregister one with children": (lambda s: s.deregister("p"), HasChildren,
        "project 'p' cannot be removed: .*1"),
    "deregister an old incarnation": (lambda s: s.deregister("q", incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "deregister another revision": (lambda s: s.deregister("q", if_revision=1), PreconditionFailed,
        "instance 'q' is at revision 5, not 1"),
    "link nobody": (lambda s: s.link("nobody", "g"), NotFound, "there is no instance 'nobody' to put under 'g'"),
    "link to nobody": (lambda s: s.link("p", "nobody"), NotFound,
        "instance 'nobody' cannot be the parent of 'p': it does not exist"),
    "link against the scopes": (lambda s: s.link("o", "g"), ScopeRule,
        "orchestration 'o' cannot have parent 'g', a global: its parent is a project"),
    "link to itself": (lambda s: s.link("p", "p"), ScopeRule, "project 'p' cannot have parent 'p'"),
    "link to a full one": (lambda s: s.link("o", "full"), ScopeRule, "cannot have parent 'full': it has its 1 child"),
    "unlink nobody": (lambda s: s.unlink("nobody"), NotFound, "there is no instance 'nobody' to take from its parent"),
    "unlink the global": (lambda s: s.unlink("g"), ScopeRule,
        "global 'g' cannot be taken from a parent: it never has one"),
    "a verb for nobody": (lambda s: s.transition("nobody", Verb.STOP), NotFound, "there is no instance 'nobody'"),
    "a verb for an old incarnation": (lambda s: s.transition("q", Verb.STOP, incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "a verb the state has not": (lambda s: s.transition("p", Verb.STOPPED), IllegalTransition,
        "instance 'p' cannot 'stopped' to stopped: it is running"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "says"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_is_refused_changes_not_one_key_and_names_both_sides(act, kind, says, store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p"))
    await store.register(spec("project", "full", max_children=1))
    await store.register(spec("orchestration", "o", parent_id="p"))
    await store.register(spec("project", "q", parent_id="g"))
    await store.register(spec("orchestration", "only", parent_id="full"))
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises(kind, match=says) as refused:
        await act(store)
    assert type(refused.value) is kind
    assert await dump(store.client, store.settings.namespace) == before


def test_every_error_that_a_script_of_the_store_declares_is_met_in_a_test_of_this_directory():
    met = {kind for _, kind, _ in REFUSALS.values()} | {Conflict, NewerSchema}
    names = ("register", "update", "deregister", "link", "unlink", "transition", "open")
    declared = {BY_LUA_CODE[entry.name] for name in names for entry in script(name).header.errors}
    assert declared - met == set()


BAD_ARGUMENTS = {
    "a scope": ("scope", "galaxy", "scope is 'galaxy', not one of global, project, orchestration"),
    "a state": ("state", "asleep", "state is 'asleep', which is no state"),
    "a field of the registry": ("fields", ["name", "p", "ttl_ms", "5000", "health", "healthy"],
        "'health' of instance 'p' is no field of its owner's"),
    "tags that are no list": ("fields", ["tags", "eu"], "tags of instance 'p' is 'eu', which is no list"),
    "broken JSON": ("fields", ["metadata", "{"], "metadata of instance 'p' is '{', which is no object"),
    "an address of broken JSON": ("fields", ["address", "{a}:80"], "address of instance 'p' is '{a}:80'"),
    "a flag that is none": ("fields", ["ephemeral", "yes"], "ephemeral of instance 'p' is 'yes', which is no flag"),
    "a ttl that is no number": ("fields", ["ttl_ms", "soon"], "ttl_ms of instance 'p' is 'soon', which is no integer"),
    "an integer of any length": ("fields", ["max_children", "9" * 16], "max_children"),
    "a ttl that is no time": ("fields", ["name", "p", "ttl_ms", "0"], "ttl_ms"),
    "a ttl of a fraction": ("fields", ["name", "p", "ttl_ms", "1500.5"], "ttl_ms"),
    "a field without a value": ("fields", ["name", "p", "ttl_ms", "5000", "version"], "version"),
}  # fmt: skip


async def register_by_hand(store, **changed):
    keys = store.keys
    await script("register")(
        store.client,
        keys={
            "record": keys.record("p"), "heartbeat": keys.heartbeat("p"), "instances": keys.instances,
            "names": keys.names, "global": keys.globe, "parent": keys.record(""), "siblings": keys.children(""),
            "old_siblings": keys.children(""), "orphans": keys.orphans, "down": keys.down,
            "request": keys.request("t"), **keys.log(),
        },
        arguments={
            "id": "p", "scope": "project", "state": "running", "parent_id": "", "seen_parent": "",
            "takeover": "always", "actor": "", "log_length": 1000, "fields": ["name", "p", "ttl_ms", "5000"], **changed,
        },
    )  # fmt: skip


@pytest.mark.parametrize(("argument", "value", "says"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
async def test_register_checks_what_a_caller_in_another_language_may_send(argument, value, says, store):
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises(Exception, match=says):
        await register_by_hand(store, **{argument: value})
    assert await dump(store.client, store.settings.namespace) == before


async def test_a_caller_in_another_language_may_leave_every_field_to_its_default(store):
    await register_by_hand(store, fields=["tags", "", "version", "7"])
    record = await store.read("p")
    assert (record.name, record.ttl_ms, record.tags, record.metadata, record.ephemeral) == ("p", 15_000, (), {}, False)
    assert (record.version, record.wish, record.max_children) == ("7", None, None)


async def test_a_verb_that_no_table_has_is_invalid(store):
    await store.register(spec("project", "p"))

    class Nonsense:
        value = "explode"

    with pytest.raises(Invalid, match="verb is 'explode', which no state knows"):
        await store.transition("p", Nonsense())


# -- heartbeats ----------------------------------------------------------------------------------------------------


async def test_a_heartbeat_is_a_setex_of_whole_seconds_with_the_value_given(store):
    await store.register(spec("project", "p"))
    await store.heartbeat("p", ttl_ms=2500, value=b'{"active_tasks":1}')
    value, left_ms = await store.read_heartbeat("p")
    assert value == b'{"active_tasks":1}'
    assert 2500 < left_ms <= 3000


async def test_a_heartbeat_too_large_is_refused_before_it_is_sent(store):
    await store.register(spec("project", "p"))
    with pytest.raises(TooLarge, match="the heartbeat of 'p' has 4097 bytes, over 4096"):
        await store.heartbeat("p", ttl_ms=1000, value=b"x" * 4097)


async def test_heartbeats_are_read_together_and_a_lapsed_one_is_none(store):
    for id in ("p", "q", "r"):
        await store.register(spec("project", id))
    await store.heartbeat("q", ttl_ms=1000, value=b"beat")
    await store.client.delete(store.keys.heartbeat("r"))
    assert await store.read_heartbeats(["r", "q", "p"]) == [None, b"beat", b"{}"]
    assert await store.read_heartbeats([]) == []
    value, left_ms = await store.read_heartbeat("r")
    assert value is None
    assert left_ms < 0


# -- reads ---------------------------------------------------------------------------------------------------------


async def test_what_is_not_there_is_read_as_none(store):
    assert await store.read("nobody") is None
    assert await store.read_name("project", "nobody") is None
    assert await store.surveillance() == (None, {})


async def test_a_name_is_found_in_its_scope_only(store):
    await store.register(spec("project", "p", name="web"))
    assert await store.read_name("project", "web") == "p"
    assert await store.read_name("orchestration", "web") is None


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 11])
async def test_a_snapshot_has_every_record_once_in_the_order_of_creation(count, store, monkeypatch):
    monkeypatch.setattr("hopper.store.reading._READ_BATCH", 5)
    ids = [f"p{(i * 7919) % 100003}" for i in range(count)]
    for id in ids:
        await store.register(spec("project", id))
    batches = [batch async for batch in store.snapshot()]
    assert [record.id for batch in batches for record in batch] == ids
    assert all(len(batch) <= 5 for batch in batches)


async def test_a_snapshot_leaves_out_what_is_removed_meanwhile(store, monkeypatch):
    monkeypatch.setattr("hopper.store.reading._READ_BATCH", 5)
    for i in range(6):
        await store.register(spec("project", f"p{i}"))
    seen = []
    async for batch in store.snapshot():
        seen.extend(record.id for record in batch)
        if len(seen) == 5:
            await store.deregister("p5")
    assert seen == [f"p{i}" for i in range(5)]


async def test_surveillance_tells_the_leader_and_what_is_in_force(store):
    await store.client.set(store.keys.monitor, "m1", px=60_000)
    await store.client.hset(store.keys.holds, "hold", '{"reason":"stall"}')
    assert await store.surveillance() == ("m1", {"hold": b'{"reason":"stall"}'})


async def test_closing_twice_is_fine(settings):
    store = InstanceStore(settings)
    await store.open()
    await store.aclose()
    await store.aclose()


async def test_a_record_at_the_limit_can_still_be_paused_stopped_and_linked(store):
    """What the registry adds to a record by itself must never make it too large to be changed."""
    await store.register(spec("global", "g" * 100))
    await store.register(spec("project", "p"))
    size = len((await events(store))[-1].record_json)
    await store.update("p", patching(config={"x": "y" * (8192 - 256 - size - len('"x":""') - 1)}))
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.STOP, Verb.STOPPED, Verb.START, Verb.FAIL):
        await store.transition("p", verb)
    await store.link("p", "g" * 100)
