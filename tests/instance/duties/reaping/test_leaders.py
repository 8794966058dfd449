"""Clocks, leaders and faults: none of them makes one go before its time, or stay for ever."""

from typing import Any

from hopper.errors import Unavailable
from hopper.model.health import Health
from instance.duties.reaping.graves import (
    AT_ONCE,
    HOUR_MS,
    is_gone,
    reaping_of,
)
from instance.lapses import leading, registered, standing_by
from specs import known
from waiting import wait_until


async def test_a_clock_that_is_moved_by_an_hour_reaps_nobody(monitor, store, story, monkeypatch):
    """Redis' clock as the monitor reckons it jumps, as it does after the pulse has seen the jump."""
    await registered(store, deregister_after_ms=HOUR_MS // 2)
    await story.until("web", Health.DOWN)
    await wait_until(lambda: "web" in reaping_of(monitor)._graves)
    truth = monitor.pulse.clock.redis_ms
    monkeypatch.setattr(monitor.pulse.clock, "redis_ms", lambda local_ms: truth(local_ms) + HOUR_MS)
    ripe = reaping_of(monitor)._is_ripe
    looked: list[str] = []
    monkeypatch.setattr(
        reaping_of(monitor), "_is_ripe", lambda record, grave: looked.append(record.id) or ripe(record, grave)
    )
    await wait_until(lambda: looked.count("web") >= 3)
    assert (await known(store, "web")).health is Health.DOWN


async def test_a_new_monitor_believes_the_record_once(settings, store, story, client, monkeypatch):
    async with leading(settings):
        await registered(store, deregister_after_ms=HOUR_MS // 2)
        await registered(store, "young", deregister_after_ms=HOUR_MS // 2)
        await story.until("web", Health.DOWN)
        await story.until("young", Health.DOWN)
    old = (await known(store, "web")).down_at_ms - HOUR_MS
    await client.hset(store.keys.record("web"), mapping={"down_at_ms": old, "updated_at_ms": old})
    async with leading(settings):
        await wait_until(lambda: is_gone(store))
        assert not await is_gone(store, "young")


async def test_a_change_of_leader_does_not_begin_the_time_anew_for_a_standby_that_saw_the_verdict(
    settings, store, story
):
    async with leading(settings) as first, standing_by(settings) as standby:
        await registered(store, deregister_after_ms=2_500)
        await story.until("web", Health.DOWN)
        await wait_until(lambda: "web" in reaping_of(standby)._graves)
        since_ms = reaping_of(standby)._graves["web"].since_ms
        await first._surveillance.resign(first.id)
        await wait_until(lambda: first.pulse.leads or standby.pulse.leads)
        assert reaping_of(standby)._graves["web"].since_ms == since_ms
        await wait_until(lambda: is_gone(store))


async def test_a_fault_of_redis_lets_the_next_look_try_again(monitor, store, monkeypatch):
    original, failures = monitor._store.reap, []

    async def fails_once(record: Any, *rest: Any, **more: Any) -> Any:
        if not failures:
            failures.append(record.id)
            raise Unavailable("away")
        return await original(record, *rest, **more)

    monkeypatch.setattr(monitor._store, "reap", fails_once)
    await registered(store, **AT_ONCE)
    await wait_until(lambda: is_gone(store))
    assert failures == ["web"]
