"""Whoever has failed or is down: the leading monitor claims its restart, once and not too soon."""

import asyncio
import contextlib
from collections import Counter

import pytest
from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.instance.restart import restarts
from hopper.instance.restart.restarting import Restarting
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.restart import decide
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from instance.failures import POLICY, RESTART, SETTLE_S, kinds, passed, stands, until_told
from instance.lapses import Story, gated, leading, registered
from specs import known, patching, spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": 0.5})


async def test_who_has_failed_is_claimed_at_once_and_whose_policy_says_never_is_not(monitor, store, story):
    await store.register(spec("project", "web", restart=POLICY))
    await store.register(spec("project", "never", restart={"mode": "never"}))
    await store.register(spec("project", "none"))
    for id in ("never", "none", "web"):
        await store.transition(id, Verb.FAIL)
    event = await until_told(story, "web", EventType.RESTART_CLAIMED)
    assert (event.reason, event.actor) == ("failed", "monitor")
    assert event.evidence["incarnation"] == event.record.incarnation
    await passed(story, store)
    assert EventType.RESTART_CLAIMED not in await kinds(story, "never") + await kinds(story, "none")


async def test_who_is_down_is_claimed_once_the_guard_could_have_known(monitor, store, story):
    await registered(store, restart=None)
    await store.update("web", patching(restart=POLICY))
    down = await story.until("web", Health.DOWN)
    claimed = await until_told(story, "web", EventType.RESTART_CLAIMED)
    assert claimed.at_ms - down.at_ms >= SETTLE_S * 1000 - 5
    assert (claimed.reason, claimed.record.state) == ("lapsed", State.FAILED)
    assert await kinds(story, "web") == [
        EventType.REGISTERED, EventType.UPDATED, EventType.HEALTH_CHANGED, EventType.RESTART_CLAIMED]  # fmt: skip


async def test_who_is_well_again_before_that_is_not_claimed(new_settings, settings):
    settings = settings.model_copy(update={"guard_settle_s": 2.0})
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(contextlib.aclosing(InstanceStore(settings)))
        story = await stack.enter_async_context(contextlib.aclosing(Story(settings)))
        monitor = await stack.enter_async_context(leading(settings))
        await registered(store, restart=RESTART)
        await story.until("web", Health.DOWN)
        await store.heartbeat("web", ttl_ms=60_000)
        await story.until("web", Health.HEALTHY)
        restarting = next(duty for duty in monitor._duties if duty.name == "restarting")
        await wait_until(lambda: len(restarting._agenda) == 0)
        assert EventType.RESTART_CLAIMED not in await kinds(story, "web")


async def test_who_is_guarded_is_claimed_when_the_guard_is_released(settings, store, story):
    guarded = True
    looked: Counter[str] = Counter()

    def is_guarded(record: Record) -> bool:
        looked[record.id] += 1
        return guarded

    async with leading(settings, is_guarded=is_guarded):
        await registered(store, restart=RESTART)
        await wait_until(lambda: looked["web"] > 1, 15)
        assert EventType.RESTART_CLAIMED not in await kinds(story, "web")
        guarded = False
        await until_told(story, "web", EventType.RESTART_CLAIMED)


async def test_who_is_down_is_not_claimed_in_a_hold(monitor, store, story, monkeypatch):
    await registered(store, restart=RESTART)
    await story.until("web", Health.DOWN)
    gate = gated(monkeypatch, monitor._surveillance, "end_hold")
    monitor.pulse.hold("somebody asked for it")
    (duty,) = [duty for duty in monitor._duties if isinstance(duty, Restarting)]
    is_held, looks = duty._is_held, []
    monkeypatch.setattr(duty, "_is_held", lambda: looks.append(is_held()) or looks[-1])
    await wait_until(lambda: looks)
    await passed(story, store)
    assert all(looks)
    assert EventType.RESTART_CLAIMED not in await kinds(story, "web")
    gate.set()
    await until_told(story, "web", EventType.RESTART_CLAIMED)


async def test_who_is_in_maintenance_is_claimed_when_that_ends(monitor, store, story):
    await store.register(spec("project", "web", restart=POLICY))
    await store.client.hset(store.keys.record("web"), "maintenance", '{"reason":"works","until_ms":null}')
    await store.transition("web", Verb.FAIL)
    await passed(story, store)
    assert EventType.RESTART_CLAIMED not in await kinds(story, "web")
    await store.client.hset(store.keys.record("web"), "maintenance", "")
    await store.update("web", patching(version="2"))
    await until_told(story, "web", EventType.RESTART_CLAIMED)


async def test_a_leader_finds_what_nobody_has_claimed_before_it(settings, store, story):
    for id in ("failed", "claimed"):
        await store.register(spec("project", id, restart=POLICY))
        await store.transition(id, Verb.FAIL)
    await Restarts(store).claim(
        "claimed", incarnation=(await known(store, "claimed")).incarnation, reason="exit", actor="me"
    )
    await registered(store, "gone", restart=RESTART)
    async with leading(settings):
        await until_told(story, "failed", EventType.RESTART_CLAIMED)
        await until_told(story, "gone", EventType.RESTART_CLAIMED)
        await passed(story, store)
    claims = [event for event in await story.of("claimed") if event.type is EventType.RESTART_CLAIMED]
    assert [event.actor for event in claims] == ["me"]


async def test_restarts_that_do_not_help_end_with_one_event(monitor, store, story):
    for _ in range(3):
        await store.register(spec("project", "web", restart=POLICY))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: stands(store, "web"))
    await passed(story, store)
    told = [kind for kind in await kinds(story, "web") if kind.startswith("restart")]
    assert told == [EventType.RESTART_CLAIMED] * 2 + [EventType.RESTART_EXHAUSTED]


async def test_a_fault_of_one_ledger_keeps_nobody_else_from_being_claimed(monitor, store, story):
    await store.register(spec("project", "web", restart=POLICY))
    await store.client.set(store.keys.restarts("web"), "nonsense")
    await store.transition("web", Verb.FAIL)
    await passed(story, store)
    await store.client.delete(store.keys.restarts("web"))


async def test_a_fault_of_one_ends_the_restarts_of_nobody_else(monitor, store, story, monkeypatch):
    def decided(policy, ledger, record, *args):
        if record.id == "odd":
            raise OverflowError("it cannot be reckoned")
        return decide(policy, ledger, record, *args)

    monkeypatch.setattr(restarts, "decide", decided)
    for id in ("odd", "web"):
        await store.register(spec("project", id, restart=POLICY))
    with capture_logs() as logs:
        await asyncio.gather(*(store.transition(id, Verb.FAIL) for id in ("odd", "web")))
        await until_told(story, "web", EventType.RESTART_CLAIMED)
        await wait_until(lambda: any(entry["event"] == "restarting.broken" for entry in logs))
        await passed(story, store)
    assert not [entry for entry in logs if entry["event"] == "monitor.part_failed"]
