"""Maintenance in the store: a word of an operator that outlives registrations."""

import time

import orjson
import pytest

from census import events
from hopper.errors import Invalid, NotFound
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.policy import Maintenance
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")


async def test_a_maintenance_is_one_event_and_so_is_its_end(store):
    await store.register(spec("project", "p"))
    await store.maintain("p", MaintenanceRequest(reason='new "disk" 50%/é'), actor="cli")
    assert (await known(store, "p")).maintenance == Maintenance(reason='new "disk" 50%/é')
    await store.end_maintenance("p", actor="cli")
    assert (await known(store, "p")).maintenance is None
    begun, ended = (await events(store))[1:]
    assert [(event.type, event.reason, event.actor) for event in (begun, ended)] == [("updated", "operator", "cli")] * 2
    assert begun.previous == {"maintenance": None}
    assert ended.previous["maintenance"]["reason"] == 'new "disk" 50%/é'


async def test_a_length_of_time_counts_from_now_by_redis_clock(store):
    await store.register(spec("project", "p"))
    revision = await store.maintain("p", MaintenanceRequest(for_ms=5_000))
    record = await known(store, "p")
    assert record.maintenance.until_ms == record.updated_at_ms + 5_000
    assert record.revision == revision


async def test_another_maintenance_replaces_the_one_that_stands(store):
    await store.register(spec("project", "p"))
    await store.maintain("p", MaintenanceRequest(reason="disk", until_ms=10**14))
    await store.maintain("p", MaintenanceRequest(reason="disk"))
    assert (await known(store, "p")).maintenance == Maintenance(reason="disk")


async def test_ending_none_changes_nothing_and_answers_the_last_revision(store):
    await store.register(spec("project", "p"))
    assert await store.end_maintenance("p") == 1


async def test_only_those_are_ended_whose_time_has_passed(store, tampered):
    for id in ("past", "future", "endless", "none"):
        await store.register(spec("project", id))
    tampered.append("maintenance")
    at_ms = int(time.time() * 1000)
    await store.client.hset(
        store.keys.record("past"), "maintenance", orjson.dumps({"reason": '"until_ms":9', "until_ms": at_ms - 1})
    )
    await store.maintain("future", MaintenanceRequest(until_ms=at_ms + 60_000, reason='"until_ms":5'))
    await store.maintain("endless", MaintenanceRequest(reason='"until_ms":5'))
    before = (await store.position()).revision
    answers = await store.end_due_maintenance(["past", "future", "endless", "none", "nobody"], actor="monitor")
    assert answers[:4] == [before + 1] * 4
    assert isinstance(answers[4], NotFound)
    assert (await known(store, "past")).maintenance is None
    assert (await known(store, "future")).maintenance is not None
    assert (await known(store, "endless")).maintenance is not None
    assert (await events(store))[-1].reason == "ended"


async def test_it_outlives_a_registration_whatever_its_reason_adds_to_a_large_record(store):
    large = spec("project", "p", config={"x": "y" * 6_600})
    await store.register(large)
    await store.maintain("p", MaintenanceRequest(reason="z" * 200))
    await store.register(large)
    assert (await known(store, "p")).maintenance == Maintenance(reason="z" * 200)


async def test_a_time_that_has_passed_is_named(store):
    await store.register(spec("project", "p"))
    with pytest.raises(Invalid) as refused:
        await store.maintain("p", MaintenanceRequest(until_ms=5))
    assert (refused.value.field, refused.value.value) == ("until_ms", 5)
