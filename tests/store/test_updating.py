"""Updating: which fields change, what is said of them, and when it is tried again."""

import contextlib
from dataclasses import replace

import pytest

from census import events
from hopper.errors import Conflict
from hopper.model.event import EventType
from hopper.model.record import Record
from hopper.model.spec import InstanceSpec, apply_patch
from hopper.store.instances import InstanceStore
from servers import dump
from specs import known, patching, spec

pytestmark = pytest.mark.usefixtures("agrees")


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


POLICY = {"mode": "on-failure", "max_restarts": 3}
CHECK = {"kind": "tcp", "interval_s": 5, "timeout_s": 1}


async def test_an_update_touches_no_field_whose_value_stays_however_its_numbers_were_written(store, tampered):
    given = spec("project", "p", address="web:80", restart=POLICY, check=CHECK, thresholds={"load": {"degraded": 1}})
    await store.register(given)
    await store.update("p", patching(thresholds={"load": {"degraded": 2.0}}))
    (event,) = await events(store, since=1)
    assert list(event.previous) == ["thresholds"]
    tampered.append("restart")
    await store.client.hset(store.keys.record("p"), "restart", '{"mode":"on-failure","window_s":60.0,"max_restarts":3}')
    await store.update("p", patching(thresholds={"load": {"degraded": 3}}))
    (event,) = await events(store, since=2)
    assert list(event.previous) == ["thresholds"]


async def test_a_flag_that_becomes_a_number_in_the_config_is_a_change(store, tampered):
    tampered.append("to Python, as to the census, True is 1")
    await store.register(spec("project", "p", config={"a": True, "b": 1.0}))
    assert await store.update("p", patching(config={"a": 1})) == 2
    assert (await store.client.hget(store.keys.record("p"), "config")) == b'{"a":1,"b":1.0}'


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
