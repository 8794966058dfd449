"""Guards after a hold: who waited for its end lapses with all who waited too, and counts once."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from fleet import BeatingFleet
from hopper.config import Settings
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from instance.detection.guarding import all_are, beat, guard_events, healths, populate
from instance.lapses import TTL_MS, Story, leading, passes
from waiting import wait_until

SIZES = {"p0": 40, "p1": 100, "p2": 100}
SILENT = [f"p0-{number}" for number in range(12)]
ELSEWHERE = [f"p{1 + number % 2}-{number}" for number in range(10)]
"""Ten that die in other groups, of which they are a few."""


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(guard_ttls=60, guard_settle_s=0.5)


@contextlib.contextmanager
def held(monitor: Monitor) -> Iterator[None]:
    """A hold for as long as the block takes: no pulse in it is answered in time."""
    pulse, observe = monitor.pulse, monitor.pulse._observe

    def late(*answer: Any) -> bool:
        observe(*answer)
        pulse.hold("a test says so")
        return False

    pulse._observe = late
    pulse.hold("a test says so")
    try:
        yield
    finally:
        pulse._observe = observe


async def silenced(
    monitor: Monitor, store: InstanceStore, silent: Iterable[str], *, hold_ms: float = 2.5 * TTL_MS, **more: object
) -> None:
    """Populate, in a hold in which all who are to be `silent` lapse and the others heartbeat."""
    silent = list(silent)
    with held(monitor):
        await populate(store, SIZES, silent=silent, **more)
        await passes(store.client, hold_ms)
        assert await healths(store, silent) == {Health.HEALTHY}
        await beat(store, [record.id for record in monitor.view.replica.records.values() if record.id not in silent])


async def lapsed_with(story: Story, ids: Iterable[str]) -> int:
    """With how many the last of these lapsed, as its verdict says."""
    verdicts = [event for event in await story.all() if event.type is EventType.HEALTH_CHANGED and event.id in ids]
    return max(event.evidence["lapsed"] for event in verdicts)


async def released(story: Story) -> Event | None:
    return next((event for event in await guard_events(story) if event.type is EventType.GUARD_RELEASED), None)


async def test_many_that_lapse_in_a_hold_are_guarded_after_it_and_deaths_elsewhere_are_judged(monitor, store, story):
    await silenced(monitor, store, [*SILENT, *ELSEWHERE])
    await wait_until(all_are(store, SILENT, Health.SUSPECT))
    await wait_until(all_are(store, ELSEWHERE, Health.DOWN))
    (raised,) = await guard_events(story)
    assert (raised.evidence["group"], raised.evidence["group_size"]) == ("project:p0", 40)
    assert 6 < raised.evidence["lapsed"] <= len(SILENT)
    assert await lapsed_with(story, SILENT) == len(SILENT)
    assert await lapsed_with(story, ELSEWHERE) == len(ELSEWHERE) / 2


async def test_few_that_lapse_in_a_hold_are_judged_after_it(monitor, store, story):
    await silenced(monitor, store, [*SILENT[:6], *ELSEWHERE])
    await wait_until(all_are(store, [*SILENT[:6], *ELSEWHERE], Health.DOWN))
    assert await guard_events(story) == []
    assert await lapsed_with(story, SILENT[:6]) == 6


async def test_those_who_wait_for_the_end_of_a_hold_are_no_sign_until_they_may_be_judged(monitor, store, story):
    patient = [f"p0-{number}" for number in range(12, 40)]
    slow = {id: {"ttl_ms": 3 * TTL_MS} for id in patient}
    await silenced(monitor, store, [*SILENT[:3], *patient], hold_ms=3.5 * TTL_MS, more=slow)
    await wait_until(all_are(store, SILENT[:3], Health.DOWN))
    await beat(store, patient)
    await passes(store.client, 3 * TTL_MS)
    assert await healths(store, patient) == {Health.HEALTHY}
    assert await guard_events(story) == []
    assert await lapsed_with(story, SILENT[:3]) == 3


async def test_many_that_stay_silent_after_redis_stood_still_are_guarded(private_server, tmp_path):
    settings = Settings(redis_url=private_server.url, data_dir=tmp_path, port=0, guard_settle_s=0.5)
    async with aclosing(InstanceStore(settings)) as store, aclosing(Story(settings)) as story:
        await store.open()
        async with leading(settings):
            everybody = ["g", "p0", *(f"p0-{number}" for number in range(40))]
            with BeatingFleet(settings, everybody, ttl_ms=TTL_MS) as fleet:
                await populate(store, {"p0": 40})
                for id in SILENT:
                    fleet.stop_beating(id)
                await beat(store, SILENT, for_ms=TTL_MS)
                private_server.pause()
                await asyncio.sleep(2 * TTL_MS / 1000)  # the fault: Redis stands still for so long
                private_server.resume()
                await wait_until(all_are(store, SILENT, Health.SUSPECT))
                assert await healths(store, everybody[14:]) == {Health.HEALTHY}
            assert [event.type for event in await guard_events(story)] == [EventType.GUARD_RAISED]


async def test_the_next_leader_guards_the_many_that_lapsed_while_nobody_led(settings, store, story):
    everybody = [f"{project}-{number}" for project, size in SIZES.items() for number in range(size)]
    await populate(store, SIZES, silent=[*SILENT, *ELSEWHERE])
    await passes(store.client, 1.5 * TTL_MS)
    await beat(store, ["g", *SIZES, *(id for id in everybody if id not in {*SILENT, *ELSEWHERE})])
    async with leading(settings):
        await wait_until(all_are(store, SILENT, Health.SUSPECT))
        await wait_until(all_are(store, ELSEWHERE, Health.DOWN))
    assert [event.evidence["group"] for event in await guard_events(story)] == ["project:p0"]


async def test_a_guard_raised_after_a_hold_is_released_once_enough_heartbeat_again(monitor, store, story):
    await silenced(monitor, store, SILENT)
    await wait_until(all_are(store, SILENT, Health.SUSPECT))
    await beat(store, SILENT[:-2])
    event = await wait_until(lambda: released(story))
    assert event.reason.endswith("of 40 are still silent")
    await wait_until(all_are(store, SILENT[:-2], Health.HEALTHY))
    await wait_until(all_are(store, SILENT[-2:], Health.DOWN))


async def test_those_who_still_wait_when_a_guard_is_released_by_hand_raise_no_other(monitor, store, story):
    patient = [f"p0-{number}" for number in range(12, 20)]
    slow = {id: {"ttl_ms": 3 * TTL_MS} for id in patient}
    await silenced(monitor, store, [*SILENT, *patient], hold_ms=3.5 * TTL_MS, more=slow)
    await wait_until(lambda: guard_events(story))
    await store.release_guard("project:p0")
    assert Health.DOWN not in await healths(store, patient)
    await wait_until(all_are(store, [*SILENT, *patient], Health.DOWN))
    assert [event.type for event in await guard_events(story)] == [EventType.GUARD_RAISED, EventType.GUARD_RELEASED]


async def test_a_guard_raised_after_a_hold_ends_after_some_ttls(new_settings):
    settings = new_settings(guard_ttls=1.5)
    async with aclosing(InstanceStore(settings)) as store, aclosing(Story(settings)) as story:
        await store.open()
        async with leading(settings) as monitor:
            await silenced(monitor, store, SILENT)
            await wait_until(all_are(store, SILENT, Health.SUSPECT))
            await wait_until(all_are(store, SILENT, Health.DOWN))
        assert [event.reason for event in await guard_events(story)][1:] == ["it has stood for 1.5 TTLs"]
