"""The pulse: who leads, and when a hold begins and ends; Redis' answers are made up here."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from hopper.config import Settings
from hopper.errors import NewerSchema, NotLeader, StoreFault, Unavailable
from hopper.instance.detection import pulse as pulse_module
from hopper.instance.detection.pulse import Pulse
from hopper.store.client import ConnectCount
from hopper.store.reading import Position
from hopper.store.surveillance import PulseAnswer

ME, OTHER = "monitor-me", "monitor-other"
HOUR_MS = 3_600_000
OFFSET_MS = 1_700_000_000_000


class FakeRedis:
    """Both stores of a pulse: a Redis whose time, leader, run and troubles a test sets."""

    def __init__(self) -> None:
        self.local_ms = 0.0
        self.clock_off_ms = 0.0
        self.way_ms = 1.0
        self.back_ms = 1.0
        self.leader: str | None = None
        self.epoch = "first"
        self.connects = ConnectCount()
        self.connects.count = 1
        self.trouble: Exception | None = None
        self.trouble_on: dict[str, Exception] = {}
        self.during: dict[str, Callable[[], Any]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.dropped = 0

    def _take_time(self, name: str) -> None:
        self.local_ms += self.way_ms + self.back_ms
        if name in self.during:
            self.during.pop(name)()
        trouble = self.trouble or self.trouble_on.get(name)
        if trouble is not None:
            raise trouble

    async def pulse(self, monitor_id: str) -> PulseAnswer:
        now_ms = int(OFFSET_MS + self.clock_off_ms + self.local_ms + self.way_ms)
        self._take_time("pulse")
        taken = self.leader is None
        self.leader = self.leader or monitor_id
        return PulseAnswer(now_ms, self.leader, taken)

    async def start_hold(self, *, reason: str, **_: Any) -> None:
        self._take_time("start_hold")
        self.calls.append(("start", reason))

    async def end_hold(self, *, reason: str, **_: Any) -> None:
        self._take_time("end_hold")
        self.calls.append(("end", reason))

    async def resign(self, _: str) -> None:
        self._take_time("resign")
        self.leader = None

    async def drop_pulse_connection(self) -> None:
        self.dropped += 1
        self.connects.count += 1

    async def drop_idle_connections(self) -> None:
        pass

    async def open(self) -> Position:
        self._take_time("open")
        return Position(self.epoch, 0)


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    fake = FakeRedis()
    monkeypatch.setattr(pulse_module, "local_ms", lambda: fake.local_ms)
    return fake


@pytest.fixture
def told() -> list[str]:
    """What the pulse called: `lead` and `follow`."""
    return []


@pytest.fixture
def pulse(redis: FakeRedis, told: list[str], fake_settings: Settings) -> Pulse:
    fake: Any = redis
    return Pulse(
        fake_settings,
        fake,
        fake,
        monitor_id=ME,
        on_lead=lambda: told.append("lead"),
        on_follow=lambda: told.append("follow"),
    )


@pytest.fixture
async def leading(pulse: Pulse, redis: FakeRedis, told: list[str]) -> Pulse:
    """A pulse that leads since a while, with no hold in force."""
    for _ in range(4):
        await pulse.confirm()
        redis.local_ms += 250
    assert pulse.leads
    assert not pulse.holds.open
    redis.calls.clear()
    told.clear()
    return pulse


async def test_a_free_lease_is_taken_with_a_hold_that_the_same_pulse_ends(pulse, redis, told):
    assert await pulse.confirm()
    assert (pulse.leads, told) == (True, ["lead"])
    assert redis.calls == [("start", "leadership"), ("end", "Redis works")]
    assert pulse.holds.owed_ms(redis.local_ms - 3_000, 3_000, redis.local_ms) == pytest.approx(3_000)


async def test_a_standby_confirms_nothing_and_writes_nothing(pulse, redis, told):
    redis.leader = OTHER
    assert not await pulse.confirm()
    assert (pulse.leads, told, redis.calls) == (False, [], [])


async def test_a_standby_that_takes_over_holds_since_its_last_good_pulse(pulse, redis, told):
    redis.leader = OTHER
    await pulse.confirm()
    good_ms = redis.local_ms
    redis.local_ms += 250
    redis.leader = None
    assert await pulse.confirm()
    assert told == ["lead"]
    now_ms = redis.local_ms
    assert pulse.holds.owed_ms(good_ms - 10, 3_000, now_ms) > 2_990
    assert pulse.holds.owed_ms(now_ms, 3_000, now_ms) == 0


async def test_a_standby_logs_the_stall_in_which_its_leader_died(pulse, redis):
    redis.leader = OTHER
    await pulse.confirm()
    redis.way_ms = 1_200
    await pulse.confirm()
    redis.way_ms = 1
    for _ in range(8):
        await pulse.confirm()
        redis.local_ms += 250
    assert not pulse.holds.open
    redis.leader = None
    assert await pulse.confirm()
    assert redis.calls == [("start", "Redis stood still for 1199 ms"), ("end", "Redis works")]


async def test_a_standby_leaves_the_logging_of_a_stall_to_a_leader_that_outlived_it(pulse, redis):
    redis.leader = OTHER
    await pulse.confirm()
    redis.way_ms = 1_200
    await pulse.confirm()
    redis.way_ms = 1
    for _ in range(12):
        await pulse.confirm()
        redis.local_ms += 250
    redis.leader = None
    assert await pulse.confirm()
    assert redis.calls == [("start", "leadership"), ("end", "Redis works")]


async def test_a_leader_whose_lease_was_taken_follows(leading, redis, told):
    redis.leader = OTHER
    assert not await leading.confirm()
    assert (leading.leads, told) == (False, ["follow"])


@pytest.mark.parametrize("moved_ms", [HOUR_MS, -HOUR_MS], ids=["hour on", "hour back"])
async def test_a_clock_that_jumped_starts_a_hold_that_the_next_pulse_ends(leading, redis, moved_ms):
    redis.clock_off_ms = moved_ms
    assert not await leading.confirm()
    assert leading.holds.open
    ((kind, reason),) = redis.calls
    assert (kind, reason.split()[:3]) == ("start", ["Redis'", "clock", "moved"])
    redis.local_ms += 250
    assert await leading.confirm()
    assert leading.clock.redis_ms(redis.local_ms) == pytest.approx(OFFSET_MS + moved_ms + redis.local_ms, abs=5)
    assert leading.holds.owed_ms(redis.local_ms - 1_000, 3_000, redis.local_ms) > 2_900


async def test_a_stall_starts_a_hold_since_the_last_good_pulse(leading, redis):
    began_ms = redis.local_ms
    redis.way_ms = 1_200
    assert not await leading.confirm()
    assert redis.calls == [("start", "Redis stood still for 1199 ms")]
    redis.way_ms = 1
    assert await leading.confirm()
    assert leading.holds.owed_ms(began_ms - 500, 3_000, redis.local_ms) == 3_000
    assert leading.holds.owed_ms(began_ms - 500, 3_000, redis.local_ms + 1_000) == 2_000


async def test_an_answer_that_our_own_process_read_late_starts_no_hold(leading, redis):
    redis.back_ms = 1_900
    assert await leading.confirm()
    assert redis.calls == []


@pytest.mark.parametrize(
    "trouble",
    [Unavailable("Redis is away"), Unavailable("Redis refuses writes: OOM"), StoreFault("Redis answered: WRONGTYPE")],
    ids=["away", "refuses", "fault"],
)
async def test_a_pulse_that_fails_holds_until_one_is_answered_and_the_hold_is_logged_then(leading, redis, trouble):
    redis.trouble = trouble
    for _ in range(3):
        assert not await leading.confirm()
        redis.local_ms += 250
    assert leading.holds.open
    assert redis.dropped == 3
    redis.trouble = None
    assert await leading.confirm()
    assert redis.calls == [("start", str(trouble)), ("end", "Redis works")]


async def test_a_newer_schema_is_the_one_thing_that_ends_the_pulse(leading, redis):
    redis.connects.count += 1
    redis.trouble_on["open"] = NewerSchema("the keys have version 2")
    with pytest.raises(NewerSchema):
        await leading.confirm()


async def test_a_reconnect_holds_and_looks_at_nobody_anew(leading, redis, told):
    redis.connects.count += 1
    assert await leading.confirm()
    assert redis.calls == [("start", "reconnect"), ("end", "Redis works")]
    assert told == []


async def test_another_run_of_redis_holds_and_everybody_is_looked_at_anew(leading, redis, told):
    redis.connects.count += 1
    redis.epoch = "second"
    assert await leading.confirm()
    assert redis.calls == [("start", "a new run of Redis"), ("end", "Redis works")]
    assert told == ["lead"]


async def test_a_hold_that_could_not_be_logged_is_logged_by_a_later_pulse(leading, redis):
    redis.trouble_on["start_hold"] = Unavailable("Redis refuses writes: OOM")
    leading.hold("a probe failed")
    assert not await leading.confirm()
    redis.trouble_on.clear()
    redis.local_ms += 250
    assert await leading.confirm()
    assert redis.calls == [("start", "a probe failed"), ("end", "Redis works")]


async def test_a_hold_whose_end_could_not_be_logged_stays_in_force(leading, redis):
    redis.trouble_on["end_hold"] = Unavailable("Redis is away")
    leading.hold("a probe failed")
    assert not await leading.confirm()
    assert leading.holds.open
    redis.trouble_on.clear()
    redis.local_ms += 250
    assert await leading.confirm()
    assert redis.calls == [("start", "a probe failed"), ("end", "Redis works")]


async def test_a_failure_during_a_pulse_is_not_answered_by_that_pulse(leading, redis):
    redis.during["pulse"] = lambda: leading.hold("a probe failed")
    assert not await leading.confirm()
    assert leading.holds.open
    assert await leading.confirm()
    assert not leading.holds.open


async def test_a_failure_while_a_hold_is_ended_holds_again_and_says_so(leading, redis):
    leading.hold("a probe failed")
    redis.during["end_hold"] = lambda: leading.hold("another probe failed")
    redis.local_ms += 10
    assert not await leading.confirm()
    assert leading.holds.open
    redis.local_ms += 250
    assert await leading.confirm()
    assert [kind for kind, _ in redis.calls] == ["start", "end", "start", "end"]


@pytest.mark.parametrize("call", ["start_hold", "end_hold"])
async def test_a_leader_that_may_not_write_its_hold_follows(leading, redis, told, call):
    redis.trouble_on[call] = NotLeader("another leads")
    leading.hold("a probe failed")
    assert not await leading.confirm()
    assert (leading.leads, told) == (False, ["follow"])


async def test_two_who_ask_at_once_are_answered_by_two_pulses(leading, redis):
    asked = itertools.count()
    original = redis.pulse

    async def pulse(monitor_id: str) -> PulseAnswer:
        next(asked)
        await asyncio.sleep(0)
        return await original(monitor_id)

    redis.pulse = pulse
    assert await asyncio.gather(leading.confirm(), leading.confirm()) == [True, True]
    assert next(asked) == 2


@pytest.mark.parametrize("trouble", [None, Unavailable("Redis is away"), StoreFault("no permission")])
async def test_a_leader_that_ends_gives_the_lease_back_if_it_can(leading, redis, trouble):
    task = asyncio.create_task(leading.run())
    await asyncio.sleep(0)
    if trouble is not None:
        redis.trouble_on["resign"] = trouble
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (redis.leader is None) == (trouble is None)
