"""Failure detection: who is down, when, on what evidence, and what else may happen while a lapse is pending."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
import redis.asyncio

from hopper.config import Settings
from hopper.errors import NewerSchema, NotLeader
from hopper.instance.detector import FailureDetector
from hopper.instance.monitor import Monitor
from hopper.instance.pulse import local_ms
from hopper.model.clock import RedisClock
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.surveillance import Lapse, SurveillanceStore
from waiting import wait_until

TTL_MS = 1_000
PROMPT_MS = 250
"""Lateness that no test exceeds on a busy machine; `benchmarks/` measures it on an idle one."""


@contextlib.asynccontextmanager
async def leading(settings: Settings) -> AsyncIterator[Monitor]:
    """A monitor that leads, no hold in force, in this process."""
    monitor = Monitor(settings)
    task = asyncio.create_task(monitor.run())
    try:
        await wait_until(lambda: task.done() or (monitor.pulse.leads and not monitor.pulse.holds.open))
        assert not task.done(), task.exception()
        yield monitor
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def monitor(settings: Settings, store: InstanceStore) -> AsyncIterator[Monitor]:
    async with leading(settings) as monitor:
        yield monitor


class Story:
    """What the log tells of one namespace."""

    def __init__(self, settings: Settings) -> None:
        self._log = ChangeLog(settings)

    async def all(self) -> list[Event]:
        return await self._log.between(1, 10_000)

    async def of(self, id: str) -> list[Event]:
        return [event for event in await self.all() if event.id == id]

    async def verdicts(self, id: str) -> list[str]:
        """`health/reason` of each change of an instance's health or state."""
        kinds = {EventType.HEALTH_CHANGED, EventType.STATE_CHANGED}
        return [
            f"{event.record.health if event.type is EventType.HEALTH_CHANGED else event.record.state}/{event.reason}"
            for event in await self.of(id)
            if event.type in kinds and event.record is not None
        ]

    async def until(self, id: str, health: Health | State, *, count: int = 1, timeout_s: float = 5.0) -> Event:
        """The event by which an instance came to a health or state, for the `count`th time."""

        async def found() -> Event | None:
            events = [
                event
                for event in await self.of(id)
                if event.record is not None
                and (
                    (event.type is EventType.HEALTH_CHANGED and event.record.health is health)
                    or (event.type is EventType.STATE_CHANGED and event.record.state is health)
                )
            ]
            return events[count - 1] if len(events) >= count else None

        return await wait_until(found, timeout_s, f"{id} {health}")

    async def aclose(self) -> None:
        await self._log.aclose()


@pytest.fixture
async def story(settings: Settings) -> AsyncIterator[Story]:
    async with contextlib.aclosing(Story(settings)) as story:
        yield story


async def registered(store: InstanceStore, id: str = "web", **values: Any) -> int:
    """Register an instance that then says nothing; answers the deadline of its first heartbeat in Redis' time."""
    await store.register(InstanceSpec(**{"id": id, "scope": Scope.PROJECT, "ttl_ms": TTL_MS, **values}))
    record = await store.read(id)
    assert record is not None
    return record.updated_at_ms + record.ttl_ms


def gated(monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> asyncio.Event:
    """Let every call of a coroutine method wait until the event that is answered is set."""
    gate, original = asyncio.Event(), getattr(target, name)

    async def waits(*args: Any, **kwargs: Any) -> Any:
        await gate.wait()
        return await original(*args, **kwargs)

    monkeypatch.setattr(target, name, waits)
    return gate


def noticed(monitor: Monitor, id: str) -> Callable[[], bool]:
    """Whether a lapse of an instance is pending."""

    def pending() -> bool:
        watch = monitor.detector.fleet.get(id)
        return watch is not None and watch.lapsed_ms is not None

    return pending


# -- down, suspect, stopped --------------------------------------------------------------------------------------------


async def test_an_instance_that_falls_silent_is_down_at_its_deadline_with_all_the_evidence(monitor, store, story):
    deadline_ms = await registered(store)
    event = await story.until("web", Health.DOWN)
    assert 0 <= event.at_ms - deadline_ms < PROMPT_MS
    assert (event.reason, event.actor, event.previous) == (
        "lapsed",
        "monitor",
        {"health": "healthy", "down_at_ms": None},
    )
    assert event.record.down_at_ms == event.at_ms
    evidence = dict(event.evidence)
    assert abs(evidence.pop("deadline_ms") - deadline_ms) < 20
    assert abs(evidence.pop("last_heartbeat_ms") - (deadline_ms - TTL_MS)) < 20
    assert abs(evidence.pop("lateness_ms") - (event.at_ms - deadline_ms)) < 20
    assert evidence == {"lapsed": 1, "group_size": 1, "monitor": monitor.id}
    assert await store.client.smembers(store.keys.down) == {b"web"}


async def test_an_instance_that_heartbeats_is_never_looked_at_by_a_verdict(monitor, store, story):
    await registered(store)
    await registered(store, "mute")
    for _ in range(4):
        await store.heartbeat("web", ttl_ms=TTL_MS)
        await asyncio.sleep(TTL_MS / 3000)
    await story.until("mute", Health.DOWN)
    assert await story.verdicts("web") == []


async def test_one_that_heartbeats_again_is_healthy_within_half_a_second_or_so(monitor, store, story, client):
    await registered(store)
    await story.until("web", Health.DOWN)
    at_ms = await now_ms(client)
    await store.heartbeat("web", ttl_ms=TTL_MS)
    event = await story.until("web", Health.HEALTHY)
    assert event.at_ms - at_ms < 500 + PROMPT_MS
    assert (event.reason, event.record.down_at_ms) == ("heartbeat", None)
    assert event.evidence["down_ms"] > 0
    assert await store.client.smembers(store.keys.down) == set()
    await story.until("web", Health.DOWN, count=2)
    assert await story.verdicts("web") == ["down/lapsed", "healthy/heartbeat", "down/lapsed"]


async def now_ms(client: redis.asyncio.Redis) -> int:
    seconds, microseconds = await client.time()
    return seconds * 1000 + microseconds // 1000


async def test_with_a_grace_it_is_suspect_at_the_deadline_and_down_when_the_grace_ends(monitor, store, story):
    deadline_ms = await registered(store, grace_ms=1_200)
    suspect, down = await story.until("web", Health.SUSPECT), await story.until("web", Health.DOWN)
    assert (suspect.reason, down.reason) == ("grace", "lapsed")
    assert 0 <= suspect.at_ms - deadline_ms < PROMPT_MS
    assert 0 <= down.at_ms - (deadline_ms + 1_200) < PROMPT_MS
    assert suspect.record.down_at_ms is None
    assert down.evidence["deadline_ms"] == pytest.approx(suspect.evidence["deadline_ms"], abs=5)


async def test_a_heartbeat_within_the_grace_makes_it_healthy_and_it_was_never_down(monitor, store, story):
    await registered(store, grace_ms=2_000)
    await story.until("web", Health.SUSPECT)
    await store.heartbeat("web", ttl_ms=TTL_MS)
    await story.until("web", Health.HEALTHY)
    assert await story.verdicts("web") == ["suspect/grace", "healthy/heartbeat"]


async def test_a_lapse_while_stopping_is_stopped_even_within_a_grace(monitor, store, story):
    deadline_ms = await registered(store, grace_ms=5_000)
    await store.transition("web", Verb.STOP)
    event = await story.until("web", State.STOPPED)
    assert event.at_ms - deadline_ms < PROMPT_MS
    assert (event.record.health, event.record.stopped_at_ms) == (Health.UNKNOWN, event.at_ms)
    assert event.evidence["monitor"] == monitor.id
    await wait_until(lambda: monitor.detector.fleet.get("web") is None)


async def test_one_that_is_down_and_told_to_stop_is_stopped(monitor, store, story):
    await registered(store)
    await story.until("web", Health.DOWN)
    await store.transition("web", Verb.STOP)
    await story.until("web", State.STOPPED)
    assert await store.client.smembers(store.keys.down) == set()


async def test_an_instance_that_is_down_and_registers_again_is_watched_as_a_new_one(monitor, store, story):
    await registered(store)
    first = await story.until("web", Health.DOWN)
    deadline_ms = await registered(store)
    second = await story.until("web", Health.DOWN, count=2)
    assert second.record.incarnation > first.record.incarnation
    assert 0 <= second.at_ms - deadline_ms < PROMPT_MS
    assert await story.verdicts("web") == ["down/lapsed", "down/lapsed"]


async def test_one_that_stops_and_starts_again_is_watched_again(monitor, store, story):
    await registered(store)
    for verb in (Verb.STOP, Verb.STOPPED):
        await store.transition("web", verb)
    await wait_until(lambda: monitor.detector.fleet.get("web") is None)
    await store.transition("web", Verb.START)
    await story.until("web", Health.DOWN)


async def test_instances_that_were_down_before_the_monitor_came_recover_and_fall_as_any(settings, store, story):
    await registered(store, "web")
    async with leading(settings):
        await story.until("web", Health.DOWN)
    async with leading(settings):
        await store.heartbeat("web", ttl_ms=TTL_MS)
        await story.until("web", Health.HEALTHY)
        await story.until("web", Health.DOWN, count=2)


async def test_one_that_lapsed_while_no_monitor_ran_is_down_one_ttl_after_one_came(settings, store, story, client):
    await registered(store)
    await wait_until(lambda: expired(store, "web"))
    at_ms = await now_ms(client)
    async with leading(settings):
        event = await story.until("web", Health.DOWN)
    assert TTL_MS <= event.at_ms - at_ms < 2 * TTL_MS + PROMPT_MS


async def expired(store: InstanceStore, id: str) -> bool:
    return not await store.client.exists(store.keys.heartbeat(id))


# -- heartbeats that are not as they should be -------------------------------------------------------------------------


@pytest.mark.parametrize("px", [None, 50 * TTL_MS], ids=["without TTL", "of fifty TTLs"])
async def test_a_heartbeat_that_would_outlive_its_instance_is_cut_to_one_ttl(monitor, store, story, client, px):
    deadline_ms = await registered(store)
    await client.set(store.keys.heartbeat("web"), "{}", px=px)
    event = await story.until("web", Health.DOWN)
    assert TTL_MS <= event.at_ms - deadline_ms < TTL_MS + PROMPT_MS


async def test_a_heartbeat_of_several_ttls_is_believed(monitor, store, story):
    deadline_ms = await registered(store)
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    event = await story.until("web", Health.DOWN)
    assert TTL_MS - 100 <= event.at_ms - deadline_ms < TTL_MS + PROMPT_MS


async def test_a_heartbeat_that_somebody_deletes_is_noticed_at_the_deadline_that_was_known(
    monitor, store, story, client
):
    deadline_ms = await registered(store)
    await client.delete(store.keys.heartbeat("web"))
    event = await story.until("web", Health.DOWN)
    assert 0 <= event.at_ms - deadline_ms < PROMPT_MS


async def test_a_heartbeat_of_a_shorter_ttl_is_missed_no_later_than_at_the_deadline_that_was_known(
    monitor, store, story, client
):
    deadline_ms = await registered(store)
    await client.pexpire(store.keys.heartbeat("web"), 300)
    event = await story.until("web", Health.DOWN)
    assert -TTL_MS + 300 <= event.at_ms - deadline_ms < PROMPT_MS


async def test_a_heartbeat_that_redis_evicted_holds_its_instance_for_one_ttl(monitor, store, story, client):
    deadline_ms = await registered(store)
    await registered(store, "api")
    await asyncio.sleep(0.6 * TTL_MS / 1000)
    evicted_ms = await now_ms(client)
    await told(client, store, "web", "evicted")
    await client.delete(store.keys.heartbeat("web"))
    event = await story.until("web", Health.DOWN)
    assert evicted_ms + TTL_MS - 20 <= event.at_ms < evicted_ms + TTL_MS + PROMPT_MS
    assert (await story.until("api", Health.DOWN)).at_ms - deadline_ms < PROMPT_MS


async def told(client: redis.asyncio.Redis, store: InstanceStore, id: str | bytes, what: str) -> None:
    """Announce what befell a heartbeat, as Redis would."""
    prefix = f"__keyspace@0__:{store.keys.heartbeat('')}".encode()
    await client.publish(prefix + (id.encode() if isinstance(id, str) else id), what)


async def test_notifications_of_nobody_of_junk_and_of_the_living_change_nothing(monitor, store, story, client):
    await registered(store)
    for id in ("nobody", b"\xff\xfe", "web", ""):
        for what in ("expired", "evicted", "set"):
            await told(client, store, id, what)
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    await told(client, store, "web", "expired")
    await wait_until(lambda: monitor.detector.fleet.get("web").deadline_ms > local_ms() + 1.5 * TTL_MS)
    assert await story.verdicts("web") == []


# -- while a lapse is pending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_registers_again_while_its_lapse_is_pending_is_not_judged(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await registered(store)
    gate.set()
    event = await story.until("web", Health.DOWN)
    record = await store.read("web")
    assert record is not None
    assert event.record.incarnation == record.incarnation
    assert event.at_ms >= record.started_at_ms + TTL_MS
    assert await story.verdicts("web") == ["down/lapsed"]


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_is_deregistered_while_its_lapse_is_pending_leaves_nothing_behind(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.deregister("web")
    gate.set()
    await registered(store, "api")
    await story.until("api", Health.DOWN)
    assert await story.verdicts("web") == []
    assert [watch.id for watch in monitor.detector.fleet] == ["api"]


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_heartbeats_while_its_lapse_is_pending_is_not_judged(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    gate.set()
    await wait_until(lambda: not noticed(monitor, "web")())
    assert await story.verdicts("web") == []
    assert monitor.detector.fleet.get("web").group.lapsed(local_ms()) == 0


async def test_one_that_moved_to_another_parent_while_its_verdict_was_on_the_way_is_watched_there(
    monitor, store, story, monkeypatch
):
    await store.register(InstanceSpec(id="top", scope=Scope.GLOBAL, ttl_ms=60_000))
    gate = gated(monkeypatch, monitor._surveillance, "expire")
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.link("web", "top")
    gate.set()
    await story.until("web", Health.DOWN)
    await wait_until(lambda: monitor.detector.fleet.get("web").group.name == "global")
    assert monitor.detector.fleet.get("web").health is Health.DOWN


# -- holds -------------------------------------------------------------------------------------------------------------


async def test_a_hold_is_in_the_log_and_in_the_holds_while_it_is_in_force(monitor, store, story, monkeypatch):
    gate = gated(monkeypatch, monitor._surveillance, "end_hold")
    monitor.pulse.hold("somebody asked for it")

    async def written() -> dict[str, bytes]:
        return (await store.surveillance())[1]

    hold = orjson.loads((await wait_until(written))["hold"])
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
    deadline_ms = await registered(store)
    await asyncio.sleep(0.7 * TTL_MS / 1000)
    at_ms = await now_ms(client)
    monitor.pulse.hold("somebody asked for it")
    event = await story.until("web", Health.DOWN)
    assert at_ms - 300 + TTL_MS <= event.at_ms < at_ms + TTL_MS + 300 + PROMPT_MS
    assert event.evidence["lateness_ms"] == pytest.approx(event.at_ms - deadline_ms, abs=20)


async def test_a_hold_that_a_dead_monitor_left_behind_is_ended_by_the_next(settings, store, story):
    async with contextlib.aclosing(SurveillanceStore(settings)) as dead:
        await dead.pulse("dead")
        await dead.start_hold(monitor_id="dead", reason="a stall", since_ms=1)
        await dead.resign("dead")
    async with leading(settings):
        assert await no_holds(store)
    assert [event.type for event in await story.all()] == [EventType.HOLD_STARTED, EventType.HOLD_ENDED]


# -- several monitors --------------------------------------------------------------------------------------------------


async def test_two_monitors_write_one_verdict_for_one_lapse_even_while_the_lease_goes_to_and_fro(
    settings, store, story, client
):
    ids = [f"web-{number}" for number in range(40)]
    async with leading(settings) as first:
        second = Monitor(settings)
        task = asyncio.create_task(second.run())
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
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


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


# -- the detector by itself, its Redis made up -------------------------------------------------------------------------


class FakeSurveillance:
    """Probes whose answers a test sets, and a pulse that always confirms."""

    def __init__(self, settings: Settings) -> None:
        self.keys = InstanceStore(settings).keys
        self.redis_off_ms = 0.0
        self.left_ms: dict[str, int] = {}
        self.probed: list[str] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    async def probe(self, keys: list[str], runs: list[int]) -> list[int]:
        assert sum(runs[::2]) == len(keys)
        ids = [self.keys.id_of_heartbeat(key) or "" for key in keys]
        self.probed += ids
        self.meanwhile()
        return [int(local_ms() + self.redis_off_ms), *(self.left_ms.get(id, -2) for id in ids)]


class FakePulse:
    def __init__(self) -> None:
        self.clock = RedisClock()
        self.clock.observe(sent_ms=0, received_ms=1, redis_ms=0)


@pytest.fixture
def surveillance(fake_settings: Settings) -> FakeSurveillance:
    return FakeSurveillance(fake_settings)


@pytest.fixture
def detector(fake_settings: Settings, surveillance: FakeSurveillance) -> FailureDetector:
    fake: Any = surveillance
    detector = FailureDetector(fake_settings, fake)
    pulse: Any = FakePulse()
    detector.pulse = pulse
    return detector


def record(id: str, **values: Any) -> Record:
    return Record(id=id, name=id, scope=Scope.PROJECT, **{"ttl_ms": TTL_MS, "health": Health.HEALTHY, **values})


async def probe_due(detector: FailureDetector, *, in_ms: float = 10) -> None:
    await detector._probe(list(detector.fleet.wheel.pop_due(local_ms() + in_ms)))


@pytest.mark.parametrize("moved_ms", [3_600_000, -3_600_000], ids=["hour on", "hour back"])
async def test_a_clock_that_jumped_since_the_last_pulse_puts_no_deadline_off(detector, surveillance, moved_ms):
    surveillance.redis_off_ms = moved_ms
    surveillance.left_ms = {"lives": TTL_MS}
    detector.begin([record("lives"), record("gone"), record("judged", health=Health.DOWN)])
    await probe_due(detector)
    now_ms = local_ms()
    assert detector.fleet.get("lives").deadline_ms == pytest.approx(now_ms + TTL_MS, abs=100)
    assert detector.fleet.get("gone").lapsed_ms == pytest.approx(now_ms, abs=100)
    due = [watch.id for watch in detector.fleet.wheel.pop_due(now_ms + 600)]
    assert due == ["judged"]


async def test_a_registration_is_watched_from_now_if_the_clock_says_that_it_is_yet_to_come(detector):
    event = Event(
        revision=5,
        type=EventType.REGISTERED,
        id="web",
        at_ms=int(local_ms()) + 3_600_000,
        record=record("web", incarnation=5, revision=5),
    )
    detector.take(event)
    assert detector.fleet.get("web").deadline_ms == pytest.approx(local_ms() + TTL_MS, abs=100)


async def test_one_that_is_dropped_while_its_probe_is_on_the_way_is_probed_no_more(detector, surveillance):
    surveillance.left_ms = {"web": TTL_MS, "api": TTL_MS}
    detector.begin([record("web"), record("api")])
    surveillance.meanwhile = lambda: detector.fleet.drop("web")
    await probe_due(detector)
    surveillance.probed.clear()
    await probe_due(detector, in_ms=2 * TTL_MS)
    assert surveillance.probed == ["api"]


async def test_after_a_new_beginning_the_watches_of_before_are_on_no_wheel(detector, surveillance):
    surveillance.left_ms = {"web": TTL_MS}
    detector.begin([record("web")])
    surveillance.meanwhile = lambda: detector.begin([record("web")])
    await probe_due(detector)
    surveillance.meanwhile = lambda: None
    surveillance.probed.clear()
    await probe_due(detector, in_ms=2 * TTL_MS)
    assert surveillance.probed == ["web"]


async def test_a_heartbeat_in_its_last_millisecond_still_counts(detector, surveillance):
    surveillance.left_ms = {"web": 0}
    detector.begin([record("web")])
    await probe_due(detector)
    assert detector.fleet.get("web").lapsed_ms is None
