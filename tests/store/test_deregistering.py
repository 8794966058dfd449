"""Deregistering: what is left of an instance, and what makes room."""

import pytest

from census import events
from hopper.model.event import EventType
from servers import dump
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")


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
