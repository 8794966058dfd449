"""Guards: many of a group that lapse together are suspect, and others are judged as always."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from hopper import InstanceRegistry
from hopper.config import Settings
from hopper.errors import Invalid, Unavailable
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.spec import parse_spec
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import SurveillanceStore
from instance.detection.guarding import all_are, beat, guard_events, healths, populate
from instance.lapses import TTL_MS, Story, leading, passes
from waiting import wait_until


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(guard_ttls=60, guard_settle_s=0.5)


STRUCK = [f"p0-{number}" for number in range(60)]
ELSEWHERE = [f"p{1 + number % 3}-{number}" for number in range(10)]
SIZES = {"p0": 110, "p1": 60, "p2": 60, "p3": 66}
"""With the Projects and the Global: 301 instances."""
REAPED, RESTARTED = "p1-59", "p2-59"
"""Two more that die elsewhere, of whom it is known what follows."""
AT_ONCE = {"restart": {"mode": "on-failure", "initial_delay_s": 0}, "deregister_after_ms": 0}


@pytest.fixture
async def struck(settings: Settings, monitor: Monitor, store: InstanceStore) -> InstanceStore:
    """Sixty of one Project and ten of the others have fallen silent together, and the guard stands."""
    more = {
        **dict.fromkeys(STRUCK[:30], AT_ONCE),
        REAPED: {"deregister_after_ms": 0},
        RESTARTED: {"restart": AT_ONCE["restart"]},
    }
    await populate(store, SIZES, silent=[*STRUCK, *ELSEWHERE, REAPED, RESTARTED], more=more)
    await wait_until(all_are(store, STRUCK, Health.SUSPECT), 15.0)
    return store


async def test_a_project_of_which_many_lapse_is_guarded_alone_and_deaths_elsewhere_are_judged(struck, story):
    await wait_until(all_are(struck, ELSEWHERE, Health.DOWN))
    (raised,) = await guard_events(story)
    assert raised.type is EventType.GUARD_RAISED
    assert raised.id is None
    figures = {name: raised.evidence[name] for name in ("group", "group_size", "ttl_ms")}
    assert figures == {"group": "project:p0", "group_size": 110, "ttl_ms": TTL_MS}
    assert 17 <= raised.evidence["lapsed"] <= 60
    assert raised.reason == f"{raised.evidence['lapsed']} of 110 lapsed within 1 s, over 15%"
    assert raised.evidence["until_ms"] - raised.evidence["since_ms"] == 60 * TTL_MS
    for event in [event for event in await story.all() if event.id in STRUCK and event.reason == "guard"]:
        assert event.record is not None
        assert (event.record.health, event.record.down_at_ms) == (Health.SUSPECT, None)
    alive = [f"p0-{number}" for number in range(60, 110)]
    assert await healths(struck, alive) == {Health.HEALTHY}


async def test_nobody_of_a_guarded_group_is_restarted_or_reaped_and_others_are(struck, story):
    async def done() -> set[EventType]:
        found = {event.type for event in await story.all() if event.id in (REAPED, RESTARTED)}
        return found >= {EventType.RESTART_CLAIMED, EventType.DEREGISTERED} and found

    await wait_until(done, 15.0)
    assert await healths(struck, STRUCK) == {Health.SUSPECT}
    kinds = {EventType.RESTART_CLAIMED, EventType.DEREGISTERED}
    touched = {event.id for event in await story.all() if event.type in kinds}
    assert touched == {REAPED, RESTARTED}


async def test_a_guard_is_released_once_enough_heartbeat_again(struck, story):
    await beat(struck, STRUCK[:-4])

    async def released() -> Event | None:
        return next((event for event in await guard_events(story) if event.type is EventType.GUARD_RELEASED), None)

    event = await wait_until(released)
    assert event.evidence["group"] == "project:p0"
    assert event.reason.endswith("of 110 are still silent")
    assert int(event.reason.split()[0]) <= 110 * 0.15 / 2
    await wait_until(all_are(struck, STRUCK[:-4], Health.HEALTHY))
    await wait_until(all_are(struck, STRUCK[-4:], Health.DOWN))
    assert (await struck.surveillance())[1] == {}


async def test_a_guard_released_by_hand_lets_the_silent_be_judged_and_does_not_rise_again(struck, story, settings):
    async with InstanceRegistry(settings) as registry:
        assert set((await registry.guard()).guards) == {"project:p0"}
        assert (await registry.health()).guards["project:p0"]["group_size"] == 110
        assert await registry.release_guard("project:p0", actor="somebody") == ["project:p0"]
        assert await registry.release_guard("project:p0", actor="somebody") == []
        assert await registry.release_guard() == []
    await wait_until(all_are(struck, STRUCK[30:], Health.DOWN))
    raised, released = await guard_events(story)
    assert (released.reason, released.actor, released.evidence) == ("operator", "somebody", raised.evidence)


async def test_the_next_leader_goes_on_with_the_guards_of_the_last(settings, store, story):
    ids = [f"p0-{number}" for number in range(25)]
    async with leading(settings):
        await populate(store, {"p0": 25}, silent=ids)
        await wait_until(all_are(store, ids, Health.SUSPECT))
    async with leading(settings) as monitor:
        await wait_until(monitor.detector.fleet.guarded)
        await passes(store.client, 2 * TTL_MS)  # whoever was to be judged for the hold's sake has been by now
        assert await healths(store, ids) == {Health.SUSPECT}
        assert len(await guard_events(story)) == 1
        await store.release_guard("project:p0")
        await wait_until(all_are(store, ids, Health.DOWN))


async def test_what_a_leader_had_judged_when_it_died_raising_a_guard_is_suspect_again(settings, store, story):
    ids = ["p0-0", "p0-1"]
    slow = {"scope": "orchestration", "id": "slow", "parent_id": "p0", "ttl_ms": 60_000}
    async with leading(settings):
        await populate(store, {"p0": 25}, silent=ids)
        await store.register(parse_spec(slow))
        await wait_until(all_are(store, ids, Health.DOWN))
    async with aclosing(SurveillanceStore(settings)) as dead:
        now_ms = (await dead.pulse("dead")).now_ms
        evidence = {"group": "project:p0", "since_ms": now_ms, "until_ms": now_ms + 60_000, "ttl_ms": 60_000}
        await dead.raise_guard("project:p0", monitor_id="dead", reason="why", evidence=evidence)
        await dead.resign("dead")
    async with leading(settings):
        await wait_until(all_are(store, ids, Health.SUSPECT))
    assert [await story.verdicts(id) for id in ids] == [["down/lapsed", "suspect/guard"]] * 2


@pytest.mark.parametrize(("count", "dead"), [(19, 19), (40, 6)], ids=["a small group", "15 %"])
async def test_a_group_that_is_small_or_of_which_few_lapse_is_not_guarded(count, dead, monitor, store, story):
    ids = [f"p0-{number}" for number in range(dead)]
    await populate(store, {"p0": count, "p1": 110}, silent=ids)
    await wait_until(all_are(store, ids, Health.DOWN))
    assert await guard_events(story) == []


async def test_small_projects_that_lapse_together_raise_the_guard_of_the_global_and_its_projects_too(
    monitor, store, story
):
    ids = [f"p{number}-{other}" for number in range(6) for other in range(4)] + [f"p{number}" for number in range(6)]
    await populate(store, {f"p{number}": 4 for number in range(6)}, silent=[*ids, "g"])
    await wait_until(all_are(store, [*ids, "g"], Health.SUSPECT))
    (raised,) = await guard_events(story)
    assert (raised.evidence["group"], raised.evidence["group_size"]) == ("global", 30)
    for event in [event for event in await story.all() if event.reason == "guard" and event.id in ids]:
        assert (event.evidence["group"], event.evidence["group_size"]) == ("global", 30)


async def test_a_guard_ends_after_some_ttls_and_the_silent_are_judged(new_settings, store):
    settings = new_settings(guard_ttls=1.5)
    async with aclosing(InstanceStore(settings)) as store, aclosing(Story(settings)) as story:
        await store.open()
        async with leading(settings):
            ids = [f"p0-{number}" for number in range(25)]
            await populate(store, {"p0": 25}, silent=ids)
            await wait_until(all_are(store, ids, Health.SUSPECT))
            await wait_until(all_are(store, ids, Health.DOWN))
            raised, released = await guard_events(story)
    assert released.reason == "it has stood for 1.5 TTLs"
    assert 1.5 * TTL_MS <= released.at_ms - raised.at_ms < 1.5 * TTL_MS + 1_500


async def test_a_slow_member_that_lives_makes_deaths_that_lie_far_apart_no_mass_lapse(settings, monitor, store, story):
    ids = [f"p0-{number}" for number in range(4)]
    await populate(store, {"p0": 25}, silent=ids[:1], more={"p0-24": {"ttl_ms": 3_600_000}})
    for number in range(1, 4):
        await beat(store, [ids[number]], for_ms=TTL_MS + 3 * number * TTL_MS // 2)
    await wait_until(all_are(store, ids, Health.DOWN))
    assert await guard_events(story) == []
    assert [event.evidence["lapsed"] for id in ids for event in await story.of(id) if event.reason == "lapsed"] == [
        1
    ] * 4


@pytest.mark.parametrize("later", [3, 4])
async def test_slow_and_quick_ones_that_lapse_together_are_guarded_by_the_largest_ttl_of_these(
    later, settings, store, story
):
    quick, slow = [f"p0-{number}" for number in range(3)], [f"p0-{number}" for number in range(3, 3 + later)]
    more = {**{id: {"ttl_ms": 2 * TTL_MS} for id in slow}, "p0-24": {"ttl_ms": 3_600_000}}
    async with leading(settings.model_copy(update={"guard_ttls": 1.5})):
        await populate(store, {"p0": 25}, silent=[*quick, *slow], more=more)
        await wait_until(lambda: _has_raised(story), 15.0)
        await wait_until(all_are(store, quick, Health.SUSPECT))
        await wait_until(all_are(store, slow, Health.DOWN), 15.0)
    raised, released = await guard_events(story)
    assert raised.evidence["lapsed"] in range(4, 4 + later)
    assert raised.reason == f"{raised.evidence['lapsed']} of 25 lapsed within 2 s, over 15%"
    figures = {name: raised.evidence[name] for name in ("ttl_ms", "group_size")}
    assert figures == {"ttl_ms": 2 * TTL_MS, "group_size": 25}
    assert raised.evidence["until_ms"] - raised.evidence["since_ms"] == 3 * TTL_MS
    assert 3 * TTL_MS <= released.at_ms - raised.at_ms < 3 * TTL_MS + 1_500
    for id in quick:
        assert (await story.verdicts(id))[:2] == ["down/lapsed", "suspect/guard"]
        first, *_, last = [event.evidence for event in await story.of(id) if event.type is EventType.HEALTH_CHANGED]
        assert {first["group"], last["group"]} == {"project:p0"}
        assert first["noticed_ms"] == pytest.approx(last["noticed_ms"], abs=20)
        assert last["noticed_ms"] < last["deadline_ms"] + last["lateness_ms"] - 2 * TTL_MS


async def _has_raised(story: Story) -> bool:
    return bool(await guard_events(story))


async def test_instances_that_were_about_to_stop_raise_no_guard(monitor, store, story):
    ids = [f"p0-{number}" for number in range(12)]
    await populate(store, {"p0": 25}, silent=ids)
    await asyncio.gather(*(store.transition(id, Verb.STOP) for id in ids))
    await wait_until(all_are(store, ids, Health.UNKNOWN))
    assert await guard_events(story) == []


async def test_the_event_of_a_parents_death_names_the_descendants_that_went_with_it(monitor, store, story):
    gone = ["p0-1", "p0-3"]
    await populate(store, {"p0": 5}, silent=[*gone, "p0"], more={"p0": {"ttl_ms": 2 * TTL_MS}})
    event = await story.until("p0", Health.DOWN)
    assert sorted(event.evidence["descendants"]) == gone
    assert (event.evidence["descendants_gone"], event.evidence["descendants_total"]) == (2, 5)
    (child,) = [event for event in await story.of("p0-1") if event.type is EventType.HEALTH_CHANGED]
    assert "descendants" not in child.evidence


async def test_what_is_no_group_is_named_as_a_bad_value(settings):
    async with InstanceRegistry(settings) as registry:
        with pytest.raises(Invalid, match="group is 'hold', not global, orphans or project:ID"):
            await registry.release_guard("hold")


async def test_while_it_is_not_known_which_guards_stand_nobody_is_judged(settings, store, story, monkeypatch):
    known = asyncio.Event()
    original = SurveillanceStore.guards

    async def away(self: SurveillanceStore) -> Any:
        if not known.is_set():
            raise Unavailable("Redis is away: a test says so", outcome="not-applied")
        return await original(self)

    monkeypatch.setattr(SurveillanceStore, "guards", away)
    async with leading(settings) as monitor:
        await populate(store, {"p0": 2}, silent=["p0-0"])
        assert monitor.detector.guards.spares(await store.read("p0-0"))
        await passes(store.client, 2 * TTL_MS)
        assert await healths(store, ["p0-0"]) == {Health.HEALTHY}
        known.set()
        await wait_until(all_are(store, ["p0-0"], Health.DOWN))
        assert not monitor.detector.guards.spares(await store.read("p0-1"))


async def test_a_guard_takes_verdicts_back_also_where_redis_was_away_in_between(settings, store, story, monkeypatch):
    ids = [f"p0-{number}" for number in range(25)]
    original, failed = SurveillanceStore.expire, []

    async def loses_the_first_of_the_guard(self: SurveillanceStore, lapses: Any, **more: Any) -> Any:
        if not failed and {lapse.reason for lapse in lapses} == {"guard"}:
            failed.append(True)
            raise Unavailable("Redis is away: a test says so")
        return await original(self, lapses, **more)

    monkeypatch.setattr(SurveillanceStore, "expire", loses_the_first_of_the_guard)
    later = {id: {"ttl_ms": 1_300} for id in ids[3:]}
    async with leading(settings):
        await populate(store, {"p0": 25}, silent=ids, more=later)
        await wait_until(all_are(store, ids[:3], Health.DOWN))
        await wait_until(all_are(store, ids, Health.SUSPECT))
    assert failed


async def test_a_guard_that_was_released_in_a_gap_of_the_log_is_released_here_too(settings, store):
    ids = [f"p0-{number}" for number in range(25)]
    async with leading(settings) as monitor:
        await populate(store, {"p0": 25}, silent=ids)
        await wait_until(all_are(store, ids, Health.SUSPECT))
        await store.client.hdel(store.keys.holds, "project:p0")  # as a view sees it that missed the event
        record = await store.read(ids[0])
        gap = Event(revision=0, type=EventType.UPDATED, id=ids[0], at_ms=0, record=record, resync=True)
        monitor.detector.take(gap)
        await wait_until(all_are(store, ids, Health.DOWN))
        assert monitor.detector.fleet.guarded() == []


async def test_a_guard_that_two_release_at_once_falls_once(monitor, store):
    ids = [f"p0-{number}" for number in range(25)]
    await populate(store, {"p0": 25}, silent=ids)
    await wait_until(all_are(store, ids, Health.SUSPECT))
    (group,) = monitor.detector.fleet.guarded()
    monitor.detector.guards._fall(group, "one")
    monitor.detector.guards._fall(group, "another")
    assert not group.guarded


async def test_a_verdict_that_waited_for_a_grace_counts_those_who_lapsed_with_it_not_those_who_did_since(
    settings, monitor, store, story
):
    early, later = "p0-0", [f"p0-{number}" for number in range(1, 4)]
    more = {early: {"grace_ms": 5 * TTL_MS}, "p0-24": {"ttl_ms": 3_600_000}}
    await populate(store, {"p0": 25}, silent=[early], more=more)
    await beat(store, later, for_ms=4 * TTL_MS)
    await wait_until(all_are(store, [early, *later], Health.DOWN), 15.0)
    told = [event.evidence["lapsed"] for event in await story.of(early) if event.type is EventType.HEALTH_CHANGED]
    assert told == [1, 1]
