"""Monitors: their holds, the one verdict of several, and the faults they live through."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper import InstanceRegistry
from hopper.errors import NewerSchema, NotLeader, Unavailable
from hopper.instance.detection.pulse import local_ms
from hopper.instance.monitor import Monitor
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import Lapse, SurveillanceStore
from instance.lapses import PROMPT_MS, TTL_MS, Story, gated, leading, now_ms, passes, registered, standing_by
from run_monitor import MonitorProcess
from waiting import wait_until

# -- holds -------------------------------------------------------------------------------------------------------------


async def test_a_hold_is_in_the_log_and_in_the_holds_while_it_is_in_force(monitor, store, story, monkeypatch):
    gate = gated(monkeypatch, monitor._surveillance, "end_hold")
    monitor.pulse.hold("somebody asked for it")

    async def written() -> dict[str, Any]:
        return (await store.surveillance())[1]

    hold = (await wait_until(written))["hold"]
    assert (hold["reason"], hold["monitor"]) == ("somebody asked for it", monitor.id)
    gate.set()
    await wait_until(lambda: no_holds(store))
    started, ended = [event for event in await story.all() if event.evidence.get("reason") == hold["reason"]]
    assert (started.type, ended.type) == (EventType.HOLD_STARTED, EventType.HOLD_ENDED)
    assert (started.id, started.reason, ended.reason) == (None, "somebody asked for it", "Redis works")
    assert started.evidence == ended.evidence == hold
    assert hold["since_ms"] <= started.at_ms


async def no_holds(store: InstanceStore) -> bool:
    return not (await store.surveillance())[1]


async def test_nobody_is_judged_in_a_hold_nor_before_one_ttl_of_working_redis_has_passed(monitor, store, story, client):
    led_ms = local_ms()
    await wait_until(lambda: monitor.pulse._good_ms > led_ms)  # the hold of the leadership is over for certain
    deadline_ms = await registered(store)
    await passes(client, 0.7 * TTL_MS)
    at_ms = await now_ms(client)
    monitor.pulse.hold("somebody asked for it")
    event = await story.until("web", Health.DOWN)
    (hold,) = [told.evidence for told in await story.all() if told.reason == "somebody asked for it"]
    assert hold["since_ms"] - 5 + TTL_MS <= event.at_ms < at_ms + TTL_MS + 300 + PROMPT_MS
    assert event.evidence["lateness_ms"] == pytest.approx(event.at_ms - deadline_ms, abs=20)


async def test_a_hold_that_a_dead_monitor_left_behind_is_ended_by_the_next(settings, store, story):
    async with contextlib.aclosing(SurveillanceStore(settings)) as dead:
        await dead.pulse("dead")
        await dead.start_hold(monitor_id="dead", reason="a stall", since_ms=1)
        await dead.resign("dead")
    async with leading(settings):
        assert await no_holds(store)
    assert [event.type for event in await story.all()] == [EventType.HOLD_STARTED, EventType.HOLD_ENDED]


async def test_a_grace_that_began_under_another_leader_ends_too(settings, store, story):
    async with leading(settings):
        await registered(store, grace_ms=TTL_MS)
        await story.until("web", Health.SUSPECT)
    async with leading(settings):
        await story.until("web", Health.DOWN, timeout_s=15.0)
    assert await story.verdicts("web") == ["suspect/grace", "down/lapsed"]


# -- callbacks ---------------------------------------------------------------------------------------------------------


async def test_slow_callbacks_delay_no_verdict(settings, private_server, tmp_path):
    """The monitor is a process of its own, as under `serve`; the callbacks keep theirs busy."""
    settings = settings.model_copy(update={"redis_url": private_server.url})
    deaths = 10
    async with contextlib.AsyncExitStack() as stack:
        registry = await stack.enter_async_context(InstanceRegistry(settings))
        monitor = stack.enter_context(MonitorProcess(settings, log=tmp_path / "monitor.log"))
        await monitor.until_settled(registry.store)
        registry.on(None, lambda _: time.sleep(0.05))
        for number in range(deaths):
            await registry.store.register(InstanceSpec(id=f"web-{number}", scope=Scope.PROJECT, ttl_ms=TTL_MS))
        story = await stack.enter_async_context(contextlib.aclosing(Story(settings)))
        downs = [await story.until(f"web-{number}", Health.DOWN) for number in range(deaths)]
    assert max(event.evidence["lateness_ms"] for event in downs) < PROMPT_MS


# -- several monitors --------------------------------------------------------------------------------------------------


async def test_two_monitors_write_one_verdict_for_one_lapse_even_while_the_lease_goes_to_and_fro(new_settings, client):
    settings = new_settings(guard_share=1)
    ids = [f"web-{number}" for number in range(40)]
    async with (
        contextlib.aclosing(InstanceStore(settings)) as store,
        contextlib.aclosing(Story(settings)) as story,
        leading(settings) as first,
        standing_by(settings),
    ):
        await asyncio.gather(*(registered(store, id) for id in ids))
        turns: list[bool] = []

        async def all_down() -> bool:
            await client.delete(store.keys.monitor)
            turns.append(first.pulse.leads)
            return len(turns) > 8

        await wait_until(lambda: spaced(all_down, 0.3), 10)

        async def everybody() -> bool:
            return await client.scard(store.keys.down) == len(ids)

        await wait_until(everybody, 10)
        assert [await story.verdicts(id) for id in ids] == [["down/lapsed"]] * len(ids)
        assert len([event for event in await story.all() if event.type is EventType.HOLD_STARTED]) > 3


async def spaced(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return await condition()


async def test_the_second_verdict_on_one_lapse_is_a_repeat_and_another_monitors_is_refused(
    settings, store, story, client
):
    await registered(store)
    await client.delete(store.keys.heartbeat("web"))
    record = await store.read("web")
    lapse = Lapse("web", record.incarnation, "down", "lapsed", 0, 1, 1, 1_000)
    async with contextlib.aclosing(SurveillanceStore(settings)) as surveillance:
        await surveillance.pulse("one")
        at_ms = await now_ms(client)
        answers = await surveillance.expire([lapse, lapse], monitor_id="one", expected_ms=at_ms)
        assert [answer[0] for answer in answers] == ["down", "repeat"]
        (refused,) = await surveillance.expire([lapse], monitor_id="two", expected_ms=at_ms)
        assert isinstance(refused, NotLeader)
    assert await story.verdicts("web") == ["down/lapsed"]


@pytest.mark.parametrize("px", [None, 3_600_000], ids=["for ever", "for an hour"])
async def test_a_lease_that_would_last_too_long_is_cut_by_a_standby(settings, store, client, px):
    await client.set(store.keys.monitor, "dead", px=px)
    async with leading(settings) as monitor:
        assert await client.get(store.keys.monitor) == monitor.id.encode()


async def test_a_monitor_that_ends_gives_the_lease_back(settings, store, client):
    async with leading(settings):
        assert await client.exists(store.keys.monitor)
    assert not await client.exists(store.keys.monitor)


# -- faults of the data, and of Hopper ---------------------------------------------------------------------------------


async def test_a_record_of_the_wrong_type_keeps_nobody_else_from_being_judged(monitor, store, story, client):
    await registered(store)
    deadline_ms = await registered(store, "api")
    await client.delete(store.keys.record("web"))
    await client.set(store.keys.record("web"), "nonsense")
    event = await story.until("api", Health.DOWN)
    assert event.at_ms - deadline_ms < PROMPT_MS
    await client.delete(store.keys.record("web"))


async def test_a_lease_of_the_wrong_type_is_a_hold_until_it_is_gone(monitor, store, story, client):
    await client.delete(store.keys.monitor)
    await client.lpush(store.keys.monitor, "nonsense")
    await wait_until(lambda: monitor.pulse.holds.open)
    await client.delete(store.keys.monitor)
    await wait_until(lambda: monitor.pulse.leads and not monitor.pulse.holds.open)
    await registered(store)
    await story.until("web", Health.DOWN)


async def test_a_duty_that_fails_begins_again_alone_and_the_others_forget_nothing(monitor, store, monkeypatch):
    begun: list[str] = []
    failing = monitor._duties[2]
    for duty in monitor._duties:
        monkeypatch.setattr(duty, "begin", lambda name=duty.name: begun.append(name))
    monkeypatch.setattr(monitor.detector, "begin", lambda _: begun.append("detector"))
    ran: list[float] = []

    async def breaks() -> None:
        ran.append(time.monotonic())
        raise ZeroDivisionError

    with capture_logs() as logs:  # to write a traceback takes longer than the first pause, now and then
        keeping = asyncio.create_task(monitor._keep(failing.name, breaks, failing.begin, patience_s=60))
        await wait_until(lambda: len(ran) == 3)
        keeping.cancel()
    assert [told["part"] for told in logs if told["event"] == "monitor.part_failed"] == [failing.name] * 3
    assert begun == [failing.name] * 2
    assert ran[2] - ran[1] > 1.5 * (ran[1] - ran[0])


@pytest.mark.parametrize("part", ["_probe", "_judge", "_recover"])
async def test_a_part_that_fails_begins_again_and_nobody_is_forgotten(part, monitor, store, story, monkeypatch):
    original = getattr(monitor.detector, part)
    failures: list[str] = []

    async def fails_once(batch: Any) -> None:
        if not failures:
            failures.append(part)
            raise ZeroDivisionError("a fault of Hopper")
        await original(batch)

    monkeypatch.setattr(monitor.detector, part, fails_once)
    await registered(store)
    await story.until("web", Health.DOWN)
    await store.heartbeat("web", ttl_ms=5 * TTL_MS)
    await story.until("web", Health.HEALTHY)
    assert failures == [part]


async def test_keys_that_a_newer_version_wrote_end_the_monitor_with_a_sentence(settings, store, client):
    await client.set(store.keys.schema, 99)
    with pytest.raises(NewerSchema, match="version 99"):
        async with asyncio.timeout(5):
            await Monitor(settings).run()


async def test_lost_notifications_are_said_once_and_so_is_their_return(private_server, new_settings):
    with capture_logs() as logs:
        async with leading(new_settings(redis_url=private_server.url)) as monitor:

            def said(what: str) -> int:
                return sum(entry["event"] == what for entry in logs)

            await asyncio.to_thread(private_server.kill)
            await wait_until(lambda: said("monitor.notifications_lost"))
            tries = 0

            async def refused() -> str:
                nonlocal tries
                tries += 1
                raise Unavailable("Redis is away", outcome="not-applied")

            enable, monitor._surveillance.enable_notifications = monitor._surveillance.enable_notifications, refused
            await wait_until(lambda: tries >= 2, 10)
            monitor._surveillance.enable_notifications = enable
            await asyncio.to_thread(private_server.restart)
            await wait_until(lambda: said("monitor.notifications_back"), 20)
            assert said("monitor.notifications_lost") == 1
