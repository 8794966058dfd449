"""Sparing: what speaks for one that is down, so that it stays."""

from typing import Any

from hopper.instance.detection.pulse import local_ms
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.maintenance import MaintenanceRequest
from instance.duties.reaping.graves import (
    AT_ONCE,
    gone,
    is_gone,
    reaping_of,
    stays_while_another_goes,
)
from instance.lapses import TTL_MS, gated, registered, standing_by
from specs import known
from waiting import wait_until


async def test_one_in_maintenance_stays_until_that_has_ended(monitor, store, story):
    await registered(store, **AT_ONCE)
    await store.maintain("web", MaintenanceRequest())
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)
    await store.end_maintenance("web")
    await wait_until(lambda: is_gone(store))


async def test_the_end_of_a_maintenance_begins_its_time_anew(monitor, store, story):
    await registered(store, deregister_after_ms=1_500)
    await store.maintain("web", MaintenanceRequest())
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)
    await store.end_maintenance("web")
    at_ms = (await known(store, "web")).updated_at_ms
    await wait_until(lambda: is_gone(store))
    assert (await gone(story)).at_ms - at_ms >= 1_450


async def test_one_of_a_guarded_group_stays_until_the_guard_is_released(monitor, store, story):
    guarded = {"web"}
    reaping_of(monitor)._is_guarded = lambda record: record.id in guarded
    await registered(store, **AT_ONCE)
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)
    guarded.clear()
    await wait_until(lambda: is_gone(store))


async def test_nobody_is_reaped_in_a_hold_nor_within_one_ttl_of_it(monitor, store, story, monkeypatch):
    await registered(store, deregister_after_ms=1_000)
    await story.until("web", Health.DOWN)
    gate = gated(monkeypatch, monitor._surveillance, "end_hold")
    monitor.pulse.hold("somebody asked for it")
    looks: list[str] = []
    original = monitor._store.reap

    async def noted(record: Any, *rest: Any, **more: Any) -> Any:
        looks.append(record.id)
        return await original(record, *rest, **more)

    monkeypatch.setattr(monitor._store, "reap", noted)
    reaping = reaping_of(monitor)
    grave = await wait_until(lambda: reaping._graves.get("web"))
    await wait_until(lambda: local_ms() - grave.since_ms > 1_600)
    assert looks == []
    assert not await is_gone(store)
    gate.set()
    await wait_until(lambda: is_gone(store))
    (ended,) = [event for event in await story.all() if event.type is EventType.HOLD_ENDED][-1:]
    assert (await gone(story)).at_ms - ended.at_ms >= TTL_MS - 50


async def test_one_that_heartbeats_between_the_look_and_the_removal_stays(monitor, store, story, monkeypatch):
    original, seen = monitor._store.reap, []

    async def late(record: Any, *rest: Any, **more: Any) -> Any:
        await store.heartbeat("web", ttl_ms=60_000)
        seen.append(await original(record, *rest, **more))
        return seen[-1]

    monkeypatch.setattr(monitor._store, "reap", late)
    await registered(store, **AT_ONCE)
    await wait_until(lambda: seen)
    await story.until("web", Health.HEALTHY)
    assert {outcome for outcome, _ in seen} == {"alive"}
    assert (await known(store, "web")).health is Health.HEALTHY


async def test_a_standby_reaps_nobody(settings, store, story, monitor, monkeypatch):
    asked: list[str] = []
    async with standing_by(settings) as standby:
        monkeypatch.setattr(standby._store, "reap", lambda record, *_, **__: asked.append(record.id))
        await registered(store, **AT_ONCE)
        await wait_until(lambda: is_gone(store))
        assert asked == []
