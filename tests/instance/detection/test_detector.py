"""The failure detector by itself, its Redis made up."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hopper.config import Settings
from hopper.instance.detection.detector import FailureDetector
from hopper.instance.detection.pulse import local_ms
from hopper.model.clock import RedisClock
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.hold import HoldLedger
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import Lapse
from instance.lapses import TTL_MS


class FakeSurveillance:
    """Probes whose answers a test sets."""

    def __init__(self, settings: Settings) -> None:
        self.keys = InstanceStore(settings).keys
        self.redis_off_ms = 0.0
        self.left_ms: dict[str, int] = {}
        self.probed: list[str] = []
        self.guarded: list[str] = []
        self.standing: dict[str, dict[str, Any]] = {}
        self.judged: list[tuple[str, str, str]] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    async def probe(self, keys: list[str], runs: list[int]) -> list[int]:
        assert sum(runs[::2]) == len(keys)
        ids = [self.keys.id_of_heartbeat(key) or "" for key in keys]
        self.probed += ids
        self.meanwhile()
        return [int(local_ms() + self.redis_off_ms), *(self.left_ms.get(id, -2) for id in ids)]

    async def guards(self) -> dict[str, dict[str, Any]]:
        return self.standing

    async def expire(self, lapses: Sequence[Lapse], **_: Any) -> list[list[Any]]:
        self.judged += [(lapse.id, lapse.verdict, lapse.reason) for lapse in lapses]
        return [["repeat", 0, 0] for _ in lapses]

    async def raise_guard(self, group: str, **_: Any) -> None:
        self.guarded.append(group)


class FakePulse:
    monitor_id = "monitor"

    def __init__(self) -> None:
        self.clock = RedisClock()
        self.clock.observe(sent_ms=0, received_ms=1, redis_ms=0)
        self.holds = HoldLedger()

    async def confirm(self) -> bool:
        return False


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
    known = {"scope": Scope.PROJECT, "ttl_ms": TTL_MS, "health": Health.HEALTHY}
    return Record(id=id, name=id, **{**known, **values})


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


async def test_a_lapse_counts_no_more_once_the_pulse_after_it_was_bad(detector):
    detector.begin([record("web", parent_id="hq")])
    await probe_due(detector)
    watch = detector.fleet.get("web")
    assert watch.group.lapsed(0) == 1
    await detector._judge([watch])
    assert (watch.group.lapsed(0), watch.tick > 0) == (0, True)


async def test_a_guard_that_is_taken_over_spares_the_judged_also_where_none_was_looked_at_yet(detector, surveillance):
    surveillance.standing = {"global": {"since_ms": 0, "ttl_ms": TTL_MS, "until_ms": 600_000}}
    detector.begin([record("web", parent_id="hq", health=Health.DOWN, down_at_ms=0)])
    await detector.guards._load()
    assert surveillance.judged == []
    await probe_due(detector)
    assert list(detector._lapsed) == [detector.fleet.get("web")]
    await detector._expire(detector._lapsed)
    assert surveillance.judged == [("web", "suspect", "guard")]


async def test_a_project_is_guarded_before_the_group_around_it_whoever_is_judged_first(detector, surveillance):
    runs = [record(f"{p}-{n}", scope=Scope.ORCHESTRATION, parent_id=p) for p in ("web", "shop") for n in range(30)]
    detector.begin([*runs, *(record(id, parent_id="hq") for id in ("web", "shop"))])
    elsewhere, project = detector.fleet.get("shop-0"), detector.fleet.get("shop")
    for watch in (elsewhere, project, *(detector.fleet.get(f"web-{n}") for n in range(12))):
        watch.lapse(local_ms())
    await detector.guards.settle([project, elsewhere])
    assert surveillance.guarded == ["project:web"]
