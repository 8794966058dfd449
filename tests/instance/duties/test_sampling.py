"""Sampling: who is over a threshold is degraded or unhealthy, after two samples in a row, and comes back as slowly."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest

from hopper import Settings
from hopper.instance.duties.sampling import Sampling
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import Health
from hopper.model.policy import Threshold
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.lapses import TTL_MS, Story, leading, standing_by
from specs import known, patching, spec
from waiting import wait_until

LIMITS = {"queue_depth": {"degraded": 10, "unhealthy": 100}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"sample_s": 0.05})


async def beat(store: InstanceStore, id: str = "web", value: Any = None, **metrics: Any) -> None:
    """A heartbeat that lasts as long as the test, of metrics or of a value of its own."""
    told = orjson.dumps(metrics) if value is None else value
    await store.heartbeat(id, ttl_ms=60_000, value=told)


async def watched(store: InstanceStore, id: str = "web", **fields: Any) -> None:
    await store.register(spec("project", id, **{"thresholds": LIMITS, "ttl_ms": 60_000, **fields}))


async def has(store: InstanceStore, health: Health, id: str = "web") -> bool:
    return (await known(store, id)).health is health


async def changes(story: Story, id: str = "web") -> list[Event]:
    return [event for event in await story.of(id) if event.type is EventType.HEALTH_CHANGED]


async def sampled(monitor: Monitor, times: int = 10) -> None:
    """Wait until a leading monitor has sampled so often from now on, and nothing of it is left to be written."""
    store, looks = monitor.levels._store, []
    original = store.read_heartbeats

    async def counted(ids: Sequence[str]) -> list[bytes | None]:
        looks.append(ids)
        return await original(ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read_heartbeats", counted)
        await wait_until(lambda: len(looks) > times)
    await wait_until(lambda: not monitor.levels._due)


class Hand:
    """Samples by hand, and what they led to so far."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        (self._duty,) = [duty for duty in monitor._duties if isinstance(duty, Sampling)]

    async def sample(self, store: InstanceStore, **metrics: Any) -> Health:
        """Heartbeat, where there are metrics, and sample once what the log tells of by now."""
        if metrics:
            await beat(store, **metrics)
        await self._monitor.view.catch_up()
        await self._duty._sample(["web"])
        return self._monitor.levels.level("web", Reason.THRESHOLDS)


# -- one monitor -------------------------------------------------------------------------------------------------------


async def test_one_over_a_threshold_is_degraded_then_unhealthy_then_healthy_with_one_event_each(monitor, store, story):
    await watched(store)
    await beat(store, queue_depth=12)
    degraded = await story.until("web", Health.DEGRADED)
    assert (degraded.reason, degraded.actor) == ("thresholds", "monitor")
    assert degraded.evidence == {
        "metric": "queue_depth",
        "value": 12,
        "limit": 10.0,
        "reasons": ["queue_depth is 12, at or over 10 (degraded)"],
        "monitor": monitor.id,
    }
    await beat(store, queue_depth=100)
    unhealthy = await story.until("web", Health.UNHEALTHY)
    assert unhealthy.evidence["reasons"] == ["queue_depth is 100, at or over 100 (unhealthy)"]
    await beat(store, queue_depth=3)
    healthy = await story.until("web", Health.HEALTHY)
    assert (healthy.reason, healthy.evidence) == ("thresholds", {"monitor": monitor.id})
    await sampled(monitor)
    assert len(await changes(story)) == 3


async def test_one_sample_over_a_threshold_changes_nothing(monitor, store, story, monkeypatch):
    looks: list[int] = []
    original = monitor.levels._store.read_heartbeats

    async def alternates(ids: list[str]) -> list[bytes | None]:
        looks.append(len(looks))
        return [b'{"queue_depth": 500}' if len(looks) % 2 else b"{}" for _ in await original(ids)]

    monkeypatch.setattr(monitor.levels._store, "read_heartbeats", alternates)
    await watched(store)
    await wait_until(lambda: len(looks) > 8)
    assert await changes(story) == []


@pytest.mark.parametrize(
    "value", [b"garbage", b"[]", b"", b'{"queue_depth": "lots"}', b'{"queue_depth": -1}', b'{"active_tasks": 9000}'],
    ids=["no JSON", "a list", "nothing", "a word", "out of range", "another metric"],
)  # fmt: skip
async def test_a_heartbeat_without_the_metric_is_a_good_one_whatever_else_it_says(value, monitor, store, story):
    await watched(store)
    await beat(store, queue_depth=50)
    await story.until("web", Health.DEGRADED)
    await beat(store, value=value)
    await story.until("web", Health.HEALTHY)
    await sampled(monitor, 5)
    assert [event.record.health for event in await changes(story)] == [Health.DEGRADED, Health.HEALTHY]


async def test_thresholds_of_the_settings_hold_for_whoever_has_none_for_that_metric(settings, store, story):
    limits = {"queue_depth": Threshold(5, None), "gpu_degrees": Threshold(None, 90)}
    async with leading(settings.model_copy(update={"thresholds": limits})):
        await watched(store, "own")
        await watched(store, "default", thresholds={})
        await beat(store, "own", queue_depth=7, gpu_degrees=95.5)
        await beat(store, "default", queue_depth=7)
        assert (await story.until("default", Health.DEGRADED)).evidence["limit"] == 5
        event = await story.until("own", Health.UNHEALTHY)
        assert event.evidence["reasons"] == ["gpu_degrees is 95.5, at or over 90 (unhealthy)"]


async def test_one_that_gets_thresholds_later_is_sampled_and_one_that_loses_them_is_healthy(monitor, store, story):
    await watched(store, thresholds={})
    await beat(store, queue_depth=50)
    await store.update("web", patching(thresholds=LIMITS))
    await story.until("web", Health.DEGRADED)
    await store.update("web", patching(thresholds={"queue_depth": {"unhealthy": 50}}))
    await story.until("web", Health.UNHEALTHY)
    await store.update("web", patching(thresholds={"queue_depth": None}))
    healthy = await story.until("web", Health.HEALTHY)
    assert healthy.reason == "thresholds"


async def test_one_that_lapses_and_comes_back_is_healthy_until_two_new_samples_say_otherwise(monitor, store, story):
    await watched(store, ttl_ms=TTL_MS)
    await beat(store, queue_depth=50)
    await story.until("web", Health.DEGRADED)
    await store.client.delete(store.keys.heartbeat("web"))
    await store.client.set(store.keys.heartbeat("web"), b'{"queue_depth": 50}', px=1)
    monitor.detector.look_at("web")
    down = await story.until("web", Health.DOWN)
    assert down.previous["health"] == "degraded"
    await sampled(monitor, 5)
    await beat(store, queue_depth=50)
    again = await story.until("web", Health.DEGRADED, count=2)
    verdicts = await story.verdicts("web")
    assert verdicts == ["degraded/thresholds", "down/lapsed", "healthy/heartbeat", "degraded/thresholds"]
    assert again.revision > down.revision


async def test_one_that_is_registered_again_starts_anew(monitor, store, story):
    await watched(store)
    await beat(store, queue_depth=50)
    await story.until("web", Health.DEGRADED)
    await watched(store)
    await sampled(monitor, 5)
    assert len(await changes(story)) == 1
    await beat(store, queue_depth=500)
    await story.until("web", Health.UNHEALTHY)


async def test_a_heartbeat_of_a_former_incarnation_is_no_sample(monitor, store, story):
    await watched(store)
    former = (await known(store, "web")).incarnation
    await watched(store)
    await beat(store, queue_depth=500, incarnation=former)
    await sampled(monitor)
    assert await changes(story) == []
    await beat(store, queue_depth=500, incarnation=(await known(store, "web")).incarnation)
    await story.until("web", Health.UNHEALTHY)


async def test_one_that_is_stopped_is_sampled_no_more_and_one_that_is_removed_is_forgotten(monitor, store, story):
    await watched(store)
    await watched(store, "witness")
    await beat(store, queue_depth=500)
    await story.until("web", Health.UNHEALTHY)
    await store.transition("web", Verb.FAIL)
    await beat(store, queue_depth=500)
    await sampled(monitor)
    assert await has(store, Health.UNKNOWN)
    await store.deregister("web")
    await wait_until(lambda: "web" not in monitor.view.replica.records)
    assert monitor.levels._words == {}
    await store.client.delete(store.keys.heartbeat("web"))


async def test_many_are_sampled_in_batches_and_each_by_its_own_metrics(monitor, store, story):
    ids = [f"run-{number}" for number in range(600)]
    await store.register_many([spec("orchestration", id, thresholds=LIMITS, ttl_ms=60_000) for id in ids])
    over = set(ids[::7])
    for id in over:
        await beat(store, id, queue_depth=50)

    async def degraded() -> bool:
        found = {record.id for record in monitor.view.replica.records.values() if record.health is Health.DEGRADED}
        return found == over

    await wait_until(degraded, 20)


async def test_a_fault_of_redis_ends_no_sampling(monitor, store, story, monkeypatch):
    original, failed = monitor.levels._store.client.mget, []

    async def fails_once(*keys: Any) -> Any:
        if not failed:
            failed.append(1)
            raise ConnectionError("gone")
        return await original(*keys)

    monkeypatch.setattr(monitor.levels._store.client, "mget", fails_once)
    await watched(store)
    await beat(store, queue_depth=50)
    await story.until("web", Health.DEGRADED)
    assert failed


# -- sample by sample --------------------------------------------------------------------------------------------------


@pytest.fixture
async def hand(settings: Settings) -> AsyncIterator[Hand]:
    """A monitor that samples when it is told to, and looks for no recovery."""
    still = settings.model_copy(update={"sample_s": 3600.0, "recovery_ms": 60_000})
    async with leading(still) as monitor:
        yield Hand(monitor)


async def test_samples_before_another_registration_do_not_count(hand, store):
    await watched(store)
    await hand.sample(store, queue_depth=50)
    await watched(store)
    assert await hand.sample(store, queue_depth=50) is Health.HEALTHY
    assert await hand.sample(store, queue_depth=50) is Health.DEGRADED


async def test_one_that_is_down_has_no_say_until_its_recovery_is_recorded(hand, store, story):
    await watched(store, ttl_ms=TTL_MS)
    await story.until("web", Health.DOWN)
    for _ in range(3):
        assert await hand.sample(store, queue_depth=50) is Health.HEALTHY


async def test_one_whose_heartbeat_is_gone_is_left_as_it_is(hand, store, client):
    await watched(store)
    await hand.sample(store, queue_depth=50)
    await client.delete(store.keys.heartbeat("web"))
    assert await hand.sample(store) is Health.HEALTHY
    assert await hand.sample(store, queue_depth=50) is Health.DEGRADED


# -- several monitors --------------------------------------------------------------------------------------------------


async def test_two_monitors_write_each_change_once(settings, store, story):
    async with leading(settings) as first, standing_by(settings):
        await watched(store)
        for depth, health in ((50, Health.DEGRADED), (500, Health.UNHEALTHY), (0, Health.HEALTHY)):
            await beat(store, queue_depth=depth)
            event = await story.until("web", health)
            assert event.evidence["monitor"] == first.id
        await sampled(first)
        assert len(await changes(story)) == 3


@pytest.mark.parametrize("health", [Health.DEGRADED, Health.UNHEALTHY], ids=str)
async def test_a_new_leader_begins_with_the_level_that_the_record_has(health, settings, store, story):
    depth = 50 if health is Health.DEGRADED else 500
    async with leading(settings):
        await watched(store)
        await beat(store, queue_depth=depth)
        await story.until("web", health)
    async with leading(settings) as monitor:
        await sampled(monitor)
        assert len(await changes(story)) == 1
        await beat(store, queue_depth=0)
        assert (await story.until("web", Health.HEALTHY)).evidence["monitor"] == monitor.id


async def test_a_new_leader_brings_back_who_has_lost_its_thresholds_while_nobody_led(settings, store, story):
    async with leading(settings):
        await watched(store)
        await beat(store, queue_depth=50)
        await story.until("web", Health.DEGRADED)
    await store.update("web", patching(thresholds={"queue_depth": None}))
    async with leading(settings):
        assert (await story.until("web", Health.HEALTHY)).reason == "thresholds"


async def test_the_lease_goes_to_and_fro_and_each_change_is_written_once(settings, store, story, client):
    async with leading(settings) as first, standing_by(settings) as second:
        await watched(store)
        await beat(store, queue_depth=50)
        await story.until("web", Health.DEGRADED)
        leaders = set()
        for _ in range(4):
            await client.delete(store.keys.monitor)
            leader = await wait_until(lambda: client.get(store.keys.monitor))
            (next_one,) = [monitor for monitor in (first, second) if monitor.id == leader.decode()]
            await sampled(next_one)
            leaders.add(next_one.id)
        assert leaders
        assert len(await changes(story)) == 1
        await beat(store, queue_depth=0)
        await story.until("web", Health.HEALTHY)
        assert len(await changes(story)) == 2
