"""Levels: the worst of what several sources say, written once, and again where something else has overwritten it."""

import asyncio
from typing import Any

import pytest
import redis.asyncio

from hopper import Settings
from hopper.errors import Unavailable
from hopper.instance.duties.checking import Checking
from hopper.instance.duties.levels import Levels
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import Health
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.lapses import TTL_MS, Story, leading
from specs import known, spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nobody is sampled, and no check is made: the test is the source."""
    monkeypatch.setattr(Checking, "_subject", lambda *_: None)
    return settings.model_copy(update={"sample_s": 60.0})


@pytest.fixture
def sampled(settings: Settings) -> Settings:
    return settings.model_copy(update={"sample_s": 0.05})


async def watched(monitor: Monitor, store: InstanceStore, id: str = "run", **fields: object) -> None:
    """An orchestration that the monitor knows of, with a threshold, and a check that nobody makes."""
    check = {"kind": "tcp", "interval_s": 1, "timeout_s": 0.1, "threshold": 1}
    made = {
        "ttl_ms": 60_000,
        "thresholds": {"queue_depth": {"degraded": 5}},
        "check": check,
        "address": "127.0.0.1:1",
        **fields,
    }
    done = await store.register(spec("orchestration", id, **made))
    await monitor.view.reach(done.revision)


async def changes(story: Story, id: str = "run") -> list[Event]:
    return [event for event in await story.of(id) if event.type is EventType.HEALTH_CHANGED]


async def calm(monitor: Monitor) -> None:
    """Wait until whatever is due has been written, and what the log tells of it too: a word is taken after that."""
    for _ in range(2):
        await monitor.view.catch_up()
        for _ in range(2):
            monitor.levels._put("nobody", Reason.CHECK)
            await wait_until(lambda: not monitor.levels._due)


async def test_the_worst_of_the_sources_is_written_with_its_reason_and_evidence(monitor, store, story):
    await watched(monitor, store)
    monitor.levels.report("run", Reason.THRESHOLDS, Health.DEGRADED, {"reasons": ["too much"]})
    degraded = await story.until("run", Health.DEGRADED)
    assert (degraded.reason, degraded.evidence["reasons"]) == ("thresholds", ["too much"])
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY, {"reasons": ["refused"]})
    unhealthy = await story.until("run", Health.UNHEALTHY)
    assert (unhealthy.reason, unhealthy.evidence) == ("check", {"reasons": ["refused"], "monitor": monitor.id})
    monitor.levels.report("run", Reason.THRESHOLDS, Health.HEALTHY)
    await calm(monitor)
    assert len(await changes(story)) == 2
    monitor.levels.report("run", Reason.CHECK, Health.HEALTHY)
    healthy = await story.until("run", Health.HEALTHY)
    assert (healthy.reason, healthy.evidence) == ("check", {"monitor": monitor.id})


async def test_when_the_worst_source_is_content_the_next_one_is_told_as_the_reason(monitor, store, story):
    await watched(monitor, store)
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
    await story.until("run", Health.UNHEALTHY)
    monitor.levels.report("run", Reason.THRESHOLDS, Health.DEGRADED, {"reasons": ["too much"]})
    monitor.levels.report("run", Reason.CHECK, Health.HEALTHY)
    degraded = await story.until("run", Health.DEGRADED)
    assert (degraded.reason, degraded.evidence["reasons"]) == ("thresholds", ["too much"])


async def test_a_repeat_of_a_report_writes_nothing(monitor, store, story):
    await watched(monitor, store)
    for _ in range(5):
        monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
        await calm(monitor)
    assert len(await changes(story)) == 1


async def test_reports_in_quick_succession_end_at_the_last_one(monitor, store, story):
    await watched(monitor, store)
    for level in (Health.UNHEALTHY, Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY, Health.DEGRADED) * 3:
        monitor.levels.report("run", Reason.CHECK, level)
        await asyncio.sleep(0.012)
    await calm(monitor)
    assert (await known(store, "run")).health is Health.DEGRADED


@pytest.mark.parametrize("source", [Reason.CHECK, Reason.CHILDREN], ids=str)
async def test_what_a_check_or_the_children_said_stands_over_a_lapse(source, monitor, store, story):
    await watched(monitor, store, ttl_ms=2 * TTL_MS)
    monitor.levels.report("run", source, Health.UNHEALTHY, {"reasons": ["refused"]})
    await story.until("run", Health.DOWN)
    await store.heartbeat("run", ttl_ms=60_000)
    again = await story.until("run", Health.UNHEALTHY, count=2)
    assert (again.reason, again.evidence["reasons"]) == (source, ["refused"])
    assert await story.verdicts("run") == [
        f"unhealthy/{source}", "down/lapsed", "healthy/heartbeat", f"unhealthy/{source}",
    ]  # fmt: skip


async def test_what_a_check_said_stands_over_another_registration_and_what_the_metrics_said_does_not(
    monitor, store, story
):
    await watched(monitor, store)
    monitor.levels.report("run", Reason.THRESHOLDS, Health.UNHEALTHY)
    monitor.levels.report("run", Reason.CHECK, Health.DEGRADED)
    await story.until("run", Health.UNHEALTHY)
    await watched(monitor, store)
    assert (await story.until("run", Health.DEGRADED)).reason == "check"
    assert monitor.levels.level("run", Reason.THRESHOLDS) is Health.HEALTHY


async def test_one_that_is_not_monitored_has_no_level(monitor, store, story):
    await watched(monitor, store)
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
    await story.until("run", Health.UNHEALTHY)
    await monitor.view.reach(await store.transition("run", Verb.FAIL))
    assert monitor.levels.level("run", Reason.CHECK) is Health.HEALTHY
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
    monitor.levels.report("nobody", Reason.CHECK, Health.UNHEALTHY)
    await calm(monitor)
    assert monitor.levels._words == {}
    await store.transition("run", Verb.START)
    await calm(monitor)
    assert (await known(store, "run")).health is Health.HEALTHY


async def test_what_was_said_of_one_is_not_held_against_another_of_its_id(monitor, store, story):
    await watched(monitor, store)
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
    await story.until("run", Health.UNHEALTHY)
    await monitor.view.reach(await store.deregister("run"))
    await watched(monitor, store)
    await calm(monitor)
    assert (await known(store, "run")).health is Health.HEALTHY


@pytest.mark.parametrize(
    ("source", "level"), [(Reason.LAPSED, Health.DEGRADED), (Reason.CHECK, Health.DOWN), (Reason.CHECK, Health.UNKNOWN)]
)
async def test_only_a_source_may_report_and_only_of_the_living(source, level, monitor):
    with pytest.raises(ValueError, match=f"{source} cannot say of 'run' that it is {level}"):
        monitor.levels.report("run", source, level)


async def test_an_assessment_that_redis_does_not_take_is_written_later(monitor, store, story, monkeypatch):
    original, failed = monitor.levels._store.assess, []

    async def fails_once(batch, *, monitor_id):
        if not failed:
            failed.append(1)
            return [Unavailable("Redis is away")] * len(batch)
        return await original(batch, monitor_id=monitor_id)

    monkeypatch.setattr(monitor.levels._store, "assess", fails_once)
    await watched(monitor, store)
    monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
    await story.until("run", Health.UNHEALTHY)
    assert failed


async def test_a_monitor_that_does_not_lead_writes_nothing(settings, store, story):
    async with leading(settings) as monitor:
        await watched(monitor, store)
        monitor.pulse.leads = False
        monitor.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
        await wait_until(lambda: not monitor.levels._due)
        assert await changes(story) == []


# -- a new leader ------------------------------------------------------------------------------------------------------


async def test_a_new_leader_believes_the_record_until_the_source_speaks(sampled, store, story, monkeypatch):
    lapsed, lapse = [], Levels._lapse

    def noted(levels: Levels, id: str, *word: Any) -> None:
        lapse(levels, id, *word)
        lapsed.append(id)

    monkeypatch.setattr(Levels, "_lapse", noted)
    async with leading(sampled) as first:
        await watched(first, store)
        first.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
        await story.until("run", Health.UNHEALTHY)
    async with leading(sampled) as second:
        await calm(second)
        assert len(await changes(story)) == 1
        second.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
        await wait_until(lambda: lapsed)  # the time for which the inherited word would stand is over
        await calm(second)
        assert len(await changes(story)) == 1
        second.levels.report("run", Reason.CHECK, Health.HEALTHY)
        await story.until("run", Health.HEALTHY)


async def test_a_source_that_never_speaks_does_not_keep_an_instance_unhealthy(sampled, store, story):
    async with leading(sampled) as first:
        await watched(first, store)
        first.levels.report("run", Reason.CHECK, Health.UNHEALTHY)
        await story.until("run", Health.UNHEALTHY)
    async with leading(sampled):
        await story.until("run", Health.HEALTHY, timeout_s=10)


async def test_a_verdict_of_the_leader_before_that_arrives_late_is_believed(sampled, store, story, client):
    """As its script ran just before the lease changed hands."""
    async with leading(sampled) as monitor:
        await late_verdict(monitor, store, story, client)


async def late_verdict(monitor: Monitor, store: InstanceStore, story: Story, client: redis.asyncio.Redis) -> None:
    await watched(monitor, store)
    record = await known(store, "run")
    event = {
        "type": "health_changed", "id": "run", "at_ms": record.updated_at_ms + 1, "previous": '{"health":"healthy"}',
        "record": b"", "reason": "thresholds", "actor": "monitor", "evidence": '{"monitor":"before"}',
    }  # fmt: skip
    revision = (await store.position()).revision + 1
    document = record.to_json().replace(b'"health":"healthy"', b'"health":"degraded"')
    document = document.replace(b'"revision":%d,"created' % record.revision, b'"revision":%d,"created' % revision)
    assert b"degraded" in document
    async with client.pipeline(transaction=True) as pipe:
        pipe.hset(store.keys.record("run"), mapping={"health": "degraded", "revision": revision})
        pipe.xadd(store.keys.events, event | {"record": document}, id=f"{revision}-0")
        pipe.set(store.keys.revision, revision)
        await pipe.execute()
    await monitor.view.reach(revision)
    assert monitor.levels.level("run", Reason.THRESHOLDS) is Health.DEGRADED
    assert (await story.until("run", Health.HEALTHY)).evidence["monitor"] == monitor.id
