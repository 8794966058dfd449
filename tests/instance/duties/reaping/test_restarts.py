"""Restarts: what becomes of one whose restart was claimed since it is down."""

from functools import partial
from typing import Any

from hopper.instance.restart import restarting
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.state import State, Verb
from hopper.store.restarting import RestartStore
from instance.duties.reaping.graves import (
    AT_ONCE,
    CLAIMS,
    HOUR_MS,
    gone,
    is_gone,
    reaping_of,
    stays_healthy_while_another_goes,
    stays_while_another_goes,
)
from instance.failures import POLICY, until_told
from instance.lapses import gated, leading, registered
from specs import known, spec
from waiting import wait_until


async def test_one_whose_restart_is_claimed_since_it_is_down_goes_unless_somebody_starts_it(monitor, store, story):
    """By its claim it is failed: who is to restart it has the delay of the claim, and what the record allows."""
    await registered(store, deregister_after_ms=1_000, restart={**POLICY, "initial_delay_s": 2})
    await registered(store, "patient", deregister_after_ms=2_500, restart=POLICY)
    await registered(store, "spent", deregister_after_ms=600, restart={**POLICY, "max_restarts": 0})
    await registered(store, "saved", deregister_after_ms=2_500, restart=POLICY)
    await until_told(story, "saved", EventType.RESTART_CLAIMED)
    await store.register(spec("project", "saved", ttl_ms=60_000, deregister_after_ms=2_500, restart=POLICY))
    for id, least_ms in (("web", 2_000), ("patient", 2_500), ("spent", 600)):
        await wait_until(partial(is_gone, store, id), 20)
        (claim,) = [event for event in await story.of(id) if event.type in CLAIMS]
        assert claim.record.state is State.FAILED
        assert (await gone(story, id)).at_ms - claim.at_ms >= least_ms - 50
    await stays_healthy_while_another_goes(store, "saved")


async def test_one_whose_restart_is_claimed_since_it_failed_by_itself_is_not_reaped(monitor, store, story):
    await registered(store, **AT_ONCE, restart=POLICY)
    await store.transition("web", Verb.FAIL)
    await until_told(story, "web", EventType.RESTART_CLAIMED)
    await registered(store, "witness", **AT_ONCE, restart=POLICY)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, "web")).state is State.FAILED


async def test_an_operators_restart_begins_the_time_of_one_whose_restart_is_claimed_anew(monitor, store, story):
    await registered(store, deregister_after_ms=HOUR_MS, restart=POLICY)
    await until_told(story, "web", EventType.RESTART_CLAIMED)
    graves = reaping_of(monitor)._graves
    await wait_until(lambda: "web" in graves and monitor.view.replica.records["web"].state is State.FAILED)
    since_ms = graves["web"].since_ms
    await Restarts(store).request("web")
    await wait_until(lambda: graves["web"].since_ms > since_ms)


async def test_a_new_monitor_reaps_whose_claim_another_has_made(settings, store, story, client):
    async with leading(settings):
        for id in ("web", "young"):
            await registered(store, id, deregister_after_ms=HOUR_MS // 2, restart=POLICY)
            await until_told(story, id, EventType.RESTART_CLAIMED)
    old = (await known(store, "web")).updated_at_ms - HOUR_MS
    await client.hset(store.keys.record("web"), mapping={"updated_at_ms": old})
    async with leading(settings):
        await wait_until(lambda: is_gone(store))
        assert not await is_gone(store, "young")


async def test_one_that_goes_at_once_does_so_after_its_restart_was_claimed(monitor, store, story, monkeypatch):
    """Both are due when the guard could have known: here the reaping comes first."""
    gate, tried = gated(monkeypatch, RestartStore, "claim"), []
    reap = monitor._store.reap

    async def tells(record: Record, *rest: Any, **more: Any) -> Any:
        answer = await reap(record, *rest, **more)
        tried.append(answer[0])
        return answer

    monkeypatch.setattr(monitor._store, "reap", tells)
    await registered(store, **AT_ONCE, restart=POLICY)
    await wait_until(lambda: tried)
    assert not await is_gone(store)
    gate.set()
    await wait_until(lambda: is_gone(store))
    told = [event.type for event in await story.of("web")][-2:]
    assert told == [EventType.RESTART_CLAIMED, EventType.DEREGISTERED]
    assert tried[0] == "spared"


async def test_one_whose_ledger_could_not_be_read_is_claimed_and_goes_once_it_can(
    monitor, store, story, client, monkeypatch
):
    monkeypatch.setattr(restarting, "_LATER_S", 0.2)
    key = store.keys.restarts("web")
    await client.hset(key, "count", "many")
    await registered(store, **AT_ONCE, restart=POLICY)
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)
    await client.delete(key)
    await wait_until(lambda: is_gone(store))
    assert EventType.RESTART_CLAIMED in [event.type for event in await story.of("web")]
