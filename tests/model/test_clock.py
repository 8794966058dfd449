"""Redis' clock as the monitor reckons it: delays, jumps, and a monitor that is late itself."""

import pytest

from hopper.model.clock import Beat, RedisClock

HOUR_MS = 3_600_000.0
OFFSET_MS = 1_700_000_000_000.0


def pulsed(
    clock: RedisClock, *, sent_ms: float, way_ms: float = 1.0, back_ms: float = 1.0, moved_ms: float = 0.0
) -> Beat:
    """One pulse that Redis handled `way_ms` after it was sent, its clock being `moved_ms` off."""
    redis_ms = OFFSET_MS + moved_ms + sent_ms + way_ms
    return clock.observe(sent_ms=sent_ms, received_ms=sent_ms + way_ms + back_ms, redis_ms=redis_ms)


@pytest.fixture
def clock() -> RedisClock:
    """A clock that has seen one pulse, 1 ms each way, at 0."""
    clock = RedisClock()
    pulsed(clock, sent_ms=0)
    return clock


def test_before_the_first_pulse_nothing_is_known_and_after_it_both_clocks_map_to_each_other(clock):
    assert not RedisClock().known
    assert clock.known
    assert clock.redis_ms(500.0) == OFFSET_MS + 501
    assert clock.local_ms(clock.redis_ms(123.0)) == 123.0


def test_the_delay_is_what_redis_took_longer_than_the_quickest_pulse(clock):
    assert pulsed(clock, sent_ms=250, way_ms=701).delay_ms == 700


def test_a_monitor_that_reads_the_answer_late_does_not_make_a_slow_redis(clock):
    assert pulsed(clock, sent_ms=250, back_ms=5_000) == Beat(delay_ms=0)


def test_a_quicker_pulse_becomes_the_new_measure(clock):
    assert pulsed(clock, sent_ms=250, way_ms=0.25) == Beat(delay_ms=0)
    assert clock.offset_ms == OFFSET_MS + 0.25


@pytest.mark.parametrize("moved_ms", [HOUR_MS, -HOUR_MS, 700.0, -700.0], ids=["hour on", "hour back", "on", "back"])
def test_a_clock_that_jumped_is_told_once_and_followed_at_once(clock, moved_ms):
    assert pulsed(clock, sent_ms=250, moved_ms=moved_ms).moved_ms == pytest.approx(moved_ms)
    assert clock.redis_ms(300.0) == OFFSET_MS + moved_ms + 301
    assert pulsed(clock, sent_ms=500, moved_ms=moved_ms) == Beat(delay_ms=0)


@pytest.mark.parametrize("moved_ms", [300.0, -300.0], ids=["on", "back"])
def test_a_small_step_of_the_clock_is_followed_without_a_word(clock, moved_ms):
    assert pulsed(clock, sent_ms=250, moved_ms=moved_ms) == Beat(delay_ms=0)
    assert clock.redis_ms(300.0) == OFFSET_MS + moved_ms + 301


def test_a_long_stall_is_a_delay_and_not_a_jump(clock):
    assert pulsed(clock, sent_ms=250, way_ms=5_001) == Beat(delay_ms=5_000)
    assert clock.offset_ms == OFFSET_MS + 1


def test_a_slow_drift_is_followed_within_the_samples():
    clock = RedisClock(samples=4)
    for beat in range(10):
        assert pulsed(clock, sent_ms=250.0 * beat, moved_ms=0.125 * beat).delay_ms <= 0.125 * 4
    assert clock.offset_ms == OFFSET_MS + 1 + 0.125 * 6
