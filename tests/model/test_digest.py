"""Digests: figures of a story, and its repetitions told once."""

import pytest

from hopper.model.digest import digest, duration, page
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

HOUR_MS = 3_600_000


def told(*happened: tuple[int, EventType, Health, State]) -> list[Event]:
    """A story: when, what, and the health and the state after it."""
    events: list[Event] = []
    before = Record(id="run", name="run", scope=Scope.PROJECT, health=Health.HEALTHY)
    for revision, (at_ms, kind, health, state) in enumerate(happened, 1):
        after = Record(id="run", name="run", scope=Scope.PROJECT, health=health, state=state)
        changed = {
            name: getattr(before, name) for name in ("health", "state") if getattr(before, name) != getattr(after, name)
        }
        previous = {} if kind is EventType.REGISTERED else changed
        events.append(
            Event(revision=revision, type=kind, id="run", at_ms=at_ms, record=after, previous=previous, reason="r")
        )
        before = after
    return events


REGISTERED, HEALTH, STATE = EventType.REGISTERED, EventType.HEALTH_CHANGED, EventType.STATE_CHANGED
CLAIMED, GONE = EventType.RESTART_CLAIMED, EventType.DEREGISTERED
UP, DOWN, SUSPECT, NONE = Health.HEALTHY, Health.DOWN, Health.SUSPECT, Health.UNKNOWN
RUNNING, FAILED = State.RUNNING, State.FAILED


def test_a_story_comes_to_its_figures():
    events = told(
        (0, REGISTERED, UP, RUNNING),
        (1_000, HEALTH, SUSPECT, RUNNING),
        (2_000, HEALTH, DOWN, RUNNING),
        (5_000, HEALTH, UP, RUNNING),
        (10_000, HEALTH, DOWN, RUNNING),
        (11_000, STATE, NONE, FAILED),
        (11_000, CLAIMED, NONE, FAILED),
        (20_000, HEALTH, DOWN, RUNNING),
    )
    found = digest(events, now_ms=24_000)
    assert found is not None
    assert (found.from_ms, found.to_ms, found.events) == (0, 24_000, 8)
    assert (found.down, found.down_ms, found.longest_down_ms) == (3, 3_000 + 1_000 + 4_000, 4_000)
    assert (found.suspect, found.failed, found.restarts, found.registrations) == (1, 1, 1, 1)
    down, rest = "down 3 times for 8 s, at most 4 s at a time", "suspect once, failed once, restart claimed once"
    assert found.sentence() == f"in 24 s: {down}, {rest}, registered once"


def test_one_that_was_down_before_the_log_begins_counts_from_there():
    events = told((0, REGISTERED, DOWN, RUNNING), (5_000, HEALTH, DOWN, RUNNING), (7_000, HEALTH, UP, RUNNING))[2:]
    found = digest(events, now_ms=9_000)
    assert found is not None
    assert (found.down, found.down_ms) == (1, 0)


def test_one_that_is_gone_is_down_no_longer():
    found = digest(told((0, HEALTH, DOWN, RUNNING), (2_000, GONE, DOWN, RUNNING)), now_ms=HOUR_MS)
    assert found is not None
    assert found.down_ms == 2_000


def test_no_event_has_no_digest_and_a_quiet_story_says_so():
    assert digest([], now_ms=1) is None
    quiet = digest(told((0, STATE, UP, State.PAUSED)), now_ms=HOUR_MS)
    assert quiet is not None
    assert quiet.sentence() == "in 1 h: nothing out of the ordinary"


def test_a_cycle_that_repeats_is_told_once_and_counted():
    cycle = [(HEALTH, DOWN), (HEALTH, UP)]
    flapping = [(1_000 * number, *cycle[number % 2], RUNNING) for number in range(40)]
    lines = page(told((0, REGISTERED, UP, RUNNING), *flapping, (50_000, STATE, NONE, FAILED)))
    assert len(lines) == 5
    assert "healthy -> down" in lines[1]
    assert "down -> healthy" in lines[2]
    assert lines[3].endswith("... the same 2 events 19 times more until here")
    assert lines[3].split()[1:3] == ["00:00:39.000", "41"]
    assert "running -> failed" in lines[4]


@pytest.mark.parametrize("times", [1, 2])
def test_what_happens_once_or_twice_is_told_each_time(times):
    flaps = [(n, HEALTH, DOWN if n % 2 == 0 else UP, RUNNING) for n in range(2 * times)]
    assert len(page(told(*flaps))) == 2 * times


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 ms"), (999, "999 ms"), (1_000, "1 s"), (1_500, "1 s"), (61_000, "1 min 1 s"), (HOUR_MS, "1 h"),
        (HOUR_MS + 61_000, "1 h 1 min"), (25 * HOUR_MS, "1 d 1 h"), (24 * HOUR_MS + 5_000, "1 d 5 s"),
    ],
)  # fmt: skip
def test_a_span_of_time_is_told_in_two_units_at_most(ms, said):
    assert duration(ms) == said
