"""Maintenance: the door for programs, and the leading monitor that ends those whose time has come."""

import pytest

from hopper.errors import Invalid, NotFound, Unavailable
from hopper.model.event import EventType
from hopper.model.maintenance import MaintenanceRequest
from hopper.store.instances import InstanceStore
from instance.lapses import Story, leading, now_ms, standing_by
from specs import ids, known, spec
from waiting import wait_until


async def in_service(store: InstanceStore, id: str = "web") -> bool:
    return (await known(store, id)).maintenance is None


async def ended(story: Story) -> list[str]:
    return [f"{event.id}/{event.actor}" for event in await story.all() if event.reason == "ended"]


async def test_an_instance_in_maintenance_is_not_discovered_until_that_is_ended(tree):
    record = await tree.maintenance("web", reason="disk", for_s=60)
    assert (record.maintenance.reason, record.maintenance.until_ms) == ("disk", record.updated_at_ms + 60_000)
    assert ids(await tree.discover()) == ["g", "shop", "run-1", "run-2"]
    assert (await tree.end_maintenance("web")).maintenance is None
    assert "web" in ids(await tree.discover())


async def test_what_cannot_be_is_refused(tree):
    with pytest.raises(Invalid, match="until_ms of instance 'web' is 5"):
        await tree.maintenance("web", until_ms=5)
    with pytest.raises(NotFound, match="'nobody'"):
        await tree.end_maintenance("nobody")


async def test_the_leader_ends_it_when_its_time_has_come_and_not_before(monitor, store, story, client):
    await store.register(spec("project", "web"))
    await store.register(spec("project", "endless"))
    await store.maintain("endless", MaintenanceRequest())
    await store.maintain("web", MaintenanceRequest(for_ms=700))
    until_ms = (await known(store, "web")).maintenance.until_ms
    await wait_until(lambda: in_service(store))
    (event,) = [event for event in await story.of("web") if event.reason == "ended"]
    assert (event.type, event.actor) == (EventType.UPDATED, "monitor")
    assert event.at_ms >= until_ms
    assert not await in_service(store, "endless")


async def test_one_that_was_extended_meanwhile_stands_until_its_new_end(monitor, store, story):
    await store.register(spec("project", "web"))
    await store.maintain("web", MaintenanceRequest(for_ms=600))
    await store.maintain("web", MaintenanceRequest(for_ms=1_200))
    until_ms = (await known(store, "web")).maintenance.until_ms
    await wait_until(lambda: in_service(store))
    (event,) = [event for event in await story.of("web") if event.reason == "ended"]
    assert event.at_ms >= until_ms


async def test_one_whose_time_came_while_nobody_led_is_ended_by_the_next_leader(settings, store, story, client):
    await store.register(spec("project", "web"))
    await store.maintain("web", MaintenanceRequest(for_ms=50))
    until_ms = (await known(store, "web")).maintenance.until_ms

    async def passed() -> bool:
        return await now_ms(client) > until_ms

    await wait_until(passed)
    assert not await in_service(store)
    async with leading(settings):
        await wait_until(lambda: in_service(store))
    assert await ended(story) == ["web/monitor"]


async def test_a_standby_ends_nothing(settings, store, story, monitor, monkeypatch):
    async with standing_by(settings) as standby:
        asked: list[list[str]] = []
        original = standby._store.end_due_maintenance

        async def noted(ids: list[str], **more: str) -> object:
            asked.append(ids)
            return await original(ids, **more)

        monkeypatch.setattr(standby._store, "end_due_maintenance", noted)
        await store.register(spec("project", "web"))
        await store.maintain("web", MaintenanceRequest(for_ms=300))
        await wait_until(lambda: in_service(store))
        assert await ended(story) == ["web/monitor"]
        assert asked == []


async def test_a_fault_of_redis_keeps_nobody_in_maintenance_for_ever(monitor, store, monkeypatch):
    original, failures = monitor._store.end_due_maintenance, []

    async def fails_once(ids: list[str], **more: str) -> object:
        if not failures:
            failures.append(ids)
            return [Unavailable("away")] * len(ids)
        return await original(ids, **more)

    monkeypatch.setattr(monitor._store, "end_due_maintenance", fails_once)
    await store.register(spec("project", "web"))
    await store.maintain("web", MaintenanceRequest(for_ms=50))
    await wait_until(lambda: in_service(store))
    assert failures == [["web"]]
