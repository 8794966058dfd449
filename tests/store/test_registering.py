"""Registering: what is written, who is superseded, and what another language may send."""

from typing import Any

import orjson
import pytest

from census import events
from hopper.errors import Exists, GlobalExists, NameTaken
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.spec import parse_spec, spec_of
from hopper.model.state import MONITORED_STATES, State, Verb
from hopper.model.takeover import Takeover
from hopper.store.scripts import script
from servers import dump
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")

# -- what is written -----------------------------------------------------------------------------------------------


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
    "check": {"kind": "http", "path": "/healthz?deep=1", "address": "http", "interval_s": 4},
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


# -- an id that exists ---------------------------------------------------------------------------------------------


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


# -- callers in another language -----------------------------------------------------------------------------------


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
            "takeover": "always", "live": 0, "actor": "", "log_length": 1000,
            "fields": ["name", "p", "ttl_ms", "5000"], **changed,
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
