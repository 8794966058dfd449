"""Guards of which an answer or an event is lost or late: what stands in Redis is what stands here, and ends."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.instance.detection.guards import Guards
from hopper.instance.monitor import Monitor
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import SurveillanceStore
from instance.detection.guarding import all_are, beat, guard_events, populate
from instance.lapses import gated, leading
from waiting import wait_until

IDS = [f"p0-{number}" for number in range(25)]
RAISED, RELEASED = EventType.GUARD_RAISED, EventType.GUARD_RELEASED


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(guard_ttls=60, guard_settle_s=0.5)


async def no_guard_in_redis(store: InstanceStore) -> bool:
    return (await store.surveillance())[1] == {}


def then_once(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any]) -> list[bool]:
    """After the first call of a method of the store, before its answer: do this, too. Filled once that is done."""
    original, done = getattr(SurveillanceStore, name), list[bool]()

    async def acts(self: SurveillanceStore, *args: Any, **more: Any) -> Any:
        answer = await original(self, *args, **more)
        if not done:
            done.append(True)
            await act()
        return answer

    monkeypatch.setattr(SurveillanceStore, name, acts)
    return done


async def away() -> None:
    raise Unavailable("Redis is away: a test says so")


async def test_a_guard_whose_answer_was_lost_stands_here_too_and_ends(monitor, store, story, monkeypatch):
    lost = then_once(monkeypatch, "raise_guard", away)
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(lambda: lost)
    assert monitor.detector.guards.spares(await store.read("p0"))
    await beat(store, IDS)
    await wait_until(lambda: no_guard_in_redis(store))
    await wait_until(all_are(store, IDS, Health.HEALTHY))
    assert [event.type for event in await guard_events(story)] == [RAISED, RELEASED]
    assert monitor.detector.fleet.guarded() == []
    assert not monitor.detector.guards.spares(await store.read("p0"))


async def test_those_whose_guard_had_its_answer_lost_are_spared(monitor, store, story, monkeypatch):
    lost = then_once(monkeypatch, "raise_guard", away)
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(all_are(store, IDS, Health.SUSPECT))
    assert lost
    assert [event.type for event in await guard_events(story)] == [RAISED]
    assert {(await story.verdicts(id))[-1] for id in IDS} == {"suspect/guard"}


async def test_a_release_whose_answer_was_lost_has_released_here_too(monitor, store, story, monkeypatch):
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(all_are(store, IDS, Health.SUSPECT))

    async def loses_its_reason() -> None:
        monkeypatch.setattr(Guards, "_reason_to_release", no_reason)
        await away()

    async def no_reason(*_: Any) -> None:
        return None

    then_once(monkeypatch, "release_guard", loses_its_reason)
    await beat(store, IDS)
    await wait_until(lambda: not monitor.detector.fleet.guarded())
    assert [event.type for event in await guard_events(story)] == [RAISED, RELEASED]


async def test_a_guard_that_this_leader_asked_for_before_it_began_anew_is_taken_over(
    monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor._surveillance, "raise_guard")
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(lambda: monitor.detector.guards._raising)
    monitor._lead()
    anyone = await store.read("p0")
    await wait_until(lambda: not monitor.detector.guards.spares(anyone))
    gate.set()
    await wait_until(monitor.detector.fleet.guarded)
    await beat(store, IDS)
    await wait_until(lambda: no_guard_in_redis(store))
    assert {event.type for event in await guard_events(story)} == {RAISED, RELEASED}


async def test_a_guard_that_only_the_log_tells_of_is_taken_over_and_released(monitor: Monitor, store, story):
    await populate(store, {"p0": 25})
    anyone = await store.read("p0")
    await wait_until(lambda: not monitor.detector.guards.spares(anyone))
    async with aclosing(SurveillanceStore(monitor.view._settings)) as late:
        await late.raise_guard("project:p0", monitor_id=monitor.id, reason="why", evidence={"group": "project:p0"})
    await wait_until(lambda: no_guard_in_redis(store))
    assert [event.type for event in await guard_events(story)] == [RAISED, RELEASED]


async def test_a_guard_whose_event_comes_before_its_answer_leaves_no_doubt(monitor, store, monkeypatch):
    async def is_told() -> None:
        await monitor.view.reach((await store.position()).revision)

    then_once(monkeypatch, "raise_guard", is_told)
    await populate(store, {"p0": 25}, silent=IDS)
    anyone = await store.read("p0")
    await wait_until(monitor.detector.fleet.guarded)
    assert not monitor.detector.guards.spares(anyone)


async def test_a_release_by_hand_is_heard_while_the_guards_are_read(settings, store, monkeypatch):
    async with leading(settings):
        await populate(store, {"p0": 25}, silent=IDS)
        await wait_until(all_are(store, IDS, Health.SUSPECT))
    monitor = Monitor(settings)

    async def releases() -> None:
        await monitor.view.reach(await release(store))

    then_once(monkeypatch, "guards", releases)
    monkeypatch.setattr("instance.lapses.Monitor", lambda _: monitor)
    async with leading(settings):
        await wait_until(all_are(store, IDS, Health.DOWN))
        assert monitor.detector.fleet.guarded() == []


async def test_a_release_by_hand_is_heard_before_the_answer_to_the_raising(monitor, store, story, monkeypatch):
    async def releases() -> None:
        await monitor.view.reach(await release(store))

    then_once(monkeypatch, "raise_guard", releases)
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(all_are(store, IDS, Health.DOWN))
    assert monitor.detector.fleet.guarded() == []
    assert [event.type for event in await guard_events(story)] == [RAISED, RELEASED]


async def test_a_release_by_hand_in_a_gap_in_which_no_record_changed_is_heard(monitor, store, monkeypatch):
    await populate(store, {"p0": 25}, silent=IDS)
    await wait_until(all_are(store, IDS, Health.SUSPECT))
    await monitor.view.catch_up()
    gate = gated(monkeypatch, monitor.view._log, "follow")
    await wait_until(lambda: not monitor.view.complete)  # it reads no more
    await release(store)
    await store.client.delete(store.keys.events)
    gate.set()
    await wait_until(lambda: not monitor.detector.fleet.guarded())
    assert monitor.view.reloads == 2
    await wait_until(all_are(store, IDS, Health.DOWN))


async def release(store: InstanceStore) -> int:
    """Release by hand; answers a revision that the log reaches with it."""
    assert await store.release_guard("project:p0")
    return (await store.position()).revision
