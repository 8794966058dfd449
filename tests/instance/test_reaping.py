"""Reaping: what is down for long enough goes, and nobody else."""

import asyncio
import contextlib
from functools import partial
from typing import Any

import pytest

from hopper import Settings
from hopper.errors import Unavailable
from hopper.instance.monitor import Monitor
from hopper.instance.pulse import local_ms
from hopper.instance.reaping import Reaping
from hopper.instance.replica import Replica
from hopper.instance.restarts import Restarts
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.policy import Wish
from hopper.model.selector import Selector
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from instance.failures import POLICY, until_told
from instance.lapses import TTL_MS, Story, gated, leading, registered
from specs import known, patching, spec
from waiting import wait_until

AT_ONCE: dict[str, Any] = {"deregister_after_ms": 0}
HOUR_MS = 3_600_000
CLAIMS = {EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": 0.1, "departure_quiet_ms": 200})


async def is_gone(store: InstanceStore, id: str = "web") -> bool:
    return await store.read(id) is None


async def gone(story: Story, id: str = "web") -> Event:
    (event,) = [event for event in await story.of(id) if event.type is EventType.DEREGISTERED]
    return event


def reaping_of(monitor: Monitor) -> Reaping:
    return next(duty for duty in monitor._duties if isinstance(duty, Reaping))


async def stays_while_another_goes(store: InstanceStore, id: str = "web") -> None:
    """An instance that is down is not reaped, though one that goes down after it is."""
    await registered(store, "witness", **AT_ONCE)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, id)).health is Health.DOWN


async def stays_healthy_while_another_goes(store: InstanceStore, id: str) -> None:
    await registered(store, "witness", deregister_after_ms=2_500)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, id)).health is Health.HEALTHY


# -- when ------------------------------------------------------------------------------------------------------------


async def test_one_that_is_down_for_as_long_as_its_record_allows_goes(monitor, store, story):
    await registered(store, deregister_after_ms=1_200)
    down = await story.until("web", Health.DOWN)
    await wait_until(lambda: is_gone(store))
    event = await gone(story)
    assert (event.reason, event.actor) == ("reaped", "monitor")
    assert event.at_ms - down.at_ms >= 1_150
    assert event.evidence["down_ms"] == event.at_ms - event.evidence["down_at_ms"]


async def test_at_once_is_after_the_guard_could_know(settings, store, story):
    async with leading(settings.model_copy(update={"guard_settle_s": 1.0})):
        await registered(store, **AT_ONCE)
        down = await story.until("web", Health.DOWN)
        await wait_until(lambda: is_gone(store))
    assert (await gone(story)).at_ms - down.at_ms >= 950


async def test_one_that_may_be_down_for_ever_stays(monitor, store, story):
    await registered(store)
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)


@pytest.mark.parametrize("verb", [Verb.FAIL, Verb.STOP], ids=str)
async def test_what_has_failed_or_stopped_is_not_reaped(verb, monitor, store, story):
    await registered(store, **AT_ONCE)
    await store.transition("web", verb)
    await registered(store, "witness", **AT_ONCE)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, "web")).state in {"failed", "stopped"}


async def test_one_whose_restart_is_claimed_since_it_is_down_goes_unless_somebody_starts_it(monitor, store, story):
    """By its claim it is failed: who is to restart it has the delay of the claim, and what the record allows."""
    await registered(store, deregister_after_ms=1_000, restart={**POLICY, "initial_delay_s": 2})
    await registered(store, "patient", deregister_after_ms=2_500, restart=POLICY)
    await registered(store, "spent", **AT_ONCE, restart={**POLICY, "max_restarts": 0})
    await registered(store, "saved", deregister_after_ms=2_500, restart=POLICY)
    await until_told(story, "saved", EventType.RESTART_CLAIMED)
    await store.register(spec("project", "saved", ttl_ms=60_000, deregister_after_ms=2_500, restart=POLICY))
    for id, least_ms in (("web", 2_000), ("patient", 2_500), ("spent", 0)):
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


async def test_a_look_is_at_those_that_are_down_only_and_a_standby_looks_at_nobody(settings, store, story, monkeypatch):
    selected: list[Selector] = []
    original = Replica.select

    def select(replica: Replica, selector: Selector) -> Any:
        selected.append(selector)
        return original(replica, selector)

    async with leading(settings) as monitor:
        await registered(store, "well", ttl_ms=60_000)
        await registered(store, deregister_after_ms=HOUR_MS)
        await story.until("web", Health.DOWN)
        standby = Monitor(settings)
        task = asyncio.create_task(standby.run())
        try:
            await wait_until(lambda: "web" in reaping_of(standby)._graves)
            looked: dict[Monitor, list[str]] = {monitor: [], standby: []}
            for one, ids in looked.items():
                monkeypatch.setattr(reaping_of(one), "_is_ripe", lambda record, _, ids=ids: ids.append(record.id))
                monkeypatch.setattr(reaping_of(one), "_bury", lambda record, ids=ids: ids.append(f"bury {record.id}"))
            monkeypatch.setattr(Replica, "select", select)
            await wait_until(lambda: len(looked[monitor]) >= 4)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    assert set(looked[monitor]) == {"web"}
    assert looked[standby] == []
    assert Selector(health=frozenset({Health.DOWN})) not in selected


# -- what speaks for it ----------------------------------------------------------------------------------------------


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
    grave = reaping._graves["web"]
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
    standby = Monitor(settings)
    task = asyncio.create_task(standby.run())
    asked: list[str] = []
    try:
        await wait_until(standby.view.loaded.is_set)
        monkeypatch.setattr(standby._store, "reap", lambda record, *_, **__: asked.append(record.id))
        await registered(store, **AT_ONCE)
        await wait_until(lambda: is_gone(store))
        assert asked == []
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# -- clocks and leaders ----------------------------------------------------------------------------------------------


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
    async with leading(settings) as first:
        standby = Monitor(settings)
        task = asyncio.create_task(standby.run())
        try:
            await wait_until(standby.view.loaded.is_set)
            await registered(store, deregister_after_ms=2_500)
            await story.until("web", Health.DOWN)
            await wait_until(lambda: "web" in reaping_of(standby)._graves)
            since_ms = reaping_of(standby)._graves["web"].since_ms
            await first._surveillance.resign(first.id)
            await wait_until(lambda: first.pulse.leads or standby.pulse.leads)
            assert reaping_of(standby)._graves["web"].since_ms == since_ms
            await wait_until(lambda: is_gone(store))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


# -- children --------------------------------------------------------------------------------------------------------


async def parent_of(store: InstanceStore, id: str) -> str | None:
    return (await known(store, id)).parent_id


async def test_the_children_of_one_that_is_reaped_are_adopted_by_its_successor(monitor, store, story):
    await registered(store, name="the web", **AT_ONCE)
    await store.register(spec("orchestration", "plain", parent_id="web"))
    await store.register(spec("orchestration", "picky", parent_id="web", wish={"tags": ["eu"]}))
    await wait_until(lambda: is_gone(store))
    assert (await gone(story)).reason == "reaped"
    assert [(await known(store, id)).wish for id in ("plain", "picky")] == [Wish(name="the web"), Wish(tags=("eu",))]
    await store.register(spec("project", "other", tags=["eu"]))
    await store.register(spec("project", "web-2", name="the web"))

    async def adopted() -> bool:
        return [await parent_of(store, id) for id in ("plain", "picky")] == ["web-2", "other"]

    await wait_until(adopted)


async def test_the_projects_of_a_global_that_is_reaped_are_adopted_by_the_next(monitor, store):
    await store.register(spec("global", "g", ttl_ms=TTL_MS, deregister_after_ms=0))
    await store.register(spec("project", "web", parent_id="g"))
    await wait_until(lambda: is_gone(store, "g"))
    await store.register(spec("global", "g2"))

    async def adopted() -> bool:
        return await parent_of(store, "web") == "g2"

    await wait_until(adopted)


async def test_one_that_comes_back_while_its_children_leave_stays_and_has_them_again(
    monitor, store, story, monkeypatch
):
    original = monitor._store.reparent

    async def late(children: Any, **more: Any) -> Any:
        done = await original(children, **more)
        await store.heartbeat("web", ttl_ms=60_000)
        return done

    monkeypatch.setattr(monitor._store, "reparent", late)
    await registered(store, **AT_ONCE)
    await store.register(spec("orchestration", "run", parent_id="web"))
    await story.until("web", Health.HEALTHY)

    async def restored() -> bool:
        return (await known(store, "web")).leaving is None and await parent_of(store, "run") == "web"

    await wait_until(restored)
    assert (await story.of("run"))[1].previous["parent_id"] == "web"


async def test_a_reaping_that_was_abandoned_is_finished_only_if_it_is_still_down(settings, store, story):
    async with leading(settings):
        for id in ("dead", "back"):
            await registered(store, id)
            await store.register(spec("orchestration", f"run-{id}", parent_id=id))
        for id in ("dead", "back"):
            await story.until(id, Health.DOWN)
    for id in ("dead", "back"):
        await store.update(id, patching(deregister_after_ms=HOUR_MS))
        mark = Departure(children=ChildrenMode.ORPHAN, wish=Wish(name=id), reaped=True)
        assert (await store.reap(await known(store, id), mark))[0] == "marked"
    await store.heartbeat("back", ttl_ms=60_000)
    async with leading(settings):
        await wait_until(lambda: is_gone(store, "dead"))

        async def stays() -> bool:
            back = await known(store, "back")
            return back.leaving is None and await parent_of(store, "run-back") == "back"

        await wait_until(stays)


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
