"""Holds: nobody is judged in one, and who was alive in it is owed one TTL of working Redis."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from hopper.model.hold import HoldLedger

TTL_MS = 3_000.0


def ledger_of(*holds: tuple[float, float]) -> HoldLedger:
    ledger = HoldLedger()
    for start_ms, end_ms in holds:
        ledger.start(start_ms)
        ledger.end(end_ms)
    return ledger


def test_without_holds_nothing_is_owed():
    assert HoldLedger().owed_ms(0, TTL_MS, 10_000) == 0


def test_nobody_is_ever_judged_while_a_hold_is_in_force():
    ledger = HoldLedger()
    ledger.start(1_000)
    assert ledger.open
    assert ledger.owed_ms(5_000, TTL_MS, 1_000_000) == math.inf


@pytest.mark.parametrize(
    ("since_ms", "now_ms", "owed_ms"),
    [
        (0, 6_000, 3_000 - 1_000),
        (0, 8_000, 0),
        (2_000, 5_000, 3_000),
        (2_000, 7_999, 1),
        (5_000, 6_000, 0),
        (4_999, 6_000, 3_000 - 1_000),
    ],
    ids=["hold in the TTL", "worked off", "hold just ended", "almost", "hold over before", "hold overlaps by 1 ms"],
)
def test_a_hold_from_1_to_5_seconds_owes_one_ttl_of_work(since_ms, now_ms, owed_ms):
    assert ledger_of((1_000, 5_000)).owed_ms(since_ms, TTL_MS, now_ms) == owed_ms


def test_work_between_several_stalls_adds_up():
    ledger = ledger_of((1_000, 2_000), (3_000, 4_000), (5_000, 6_000))
    assert ledger.owed_ms(500, TTL_MS, 6_000) == TTL_MS - 2_000
    assert ledger.owed_ms(500, TTL_MS, 7_000) == 0


def test_a_hold_that_begins_before_the_last_one_ended_extends_it():
    ledger = ledger_of((1_000, 2_000))
    ledger.start(1_990)
    assert ledger.open
    ledger.end(3_000)
    assert ledger.owed_ms(0, TTL_MS, 3_000) == TTL_MS


def test_a_hold_takes_in_every_hold_that_it_reaches_back_to():
    ledger = ledger_of((1_000, 2_000), (3_000, 4_000))
    ledger.start(1_500)
    ledger.end(5_000)
    assert ledger.owed_ms(0, TTL_MS, 8_000) == 0
    assert ledger.owed_ms(0, TTL_MS, 7_000) == 1_000


def test_ending_without_a_hold_changes_nothing_and_old_holds_are_forgotten():
    ledger = HoldLedger(keep_ms=10_000)
    ledger.end(500)
    assert not ledger.open
    ledger.start(1_000)
    ledger.end(2_000)
    assert ledger.owed_ms(1_500, TTL_MS, 2_000) == TTL_MS
    ledger.end(20_000)
    assert ledger.owed_ms(1_500, TTL_MS, 2_000) == 0


# -- for any holds -----------------------------------------------------------------------------------------------------

TIMES = st.integers(min_value=0, max_value=200)


@st.composite
def histories(draw: st.DrawFn) -> tuple[HoldLedger, set[int]]:
    """A ledger as the pulse keeps it, and the milliseconds that were held; a hold may begin in the past."""
    ledger, held, now_ms = HoldLedger(), set(), 0
    for _ in range(draw(st.integers(min_value=0, max_value=6))):
        now_ms += draw(st.integers(min_value=0, max_value=30))
        start_ms = now_ms - draw(st.integers(min_value=0, max_value=40))
        ledger.start(start_ms)
        now_ms += draw(st.integers(min_value=1, max_value=30))
        ledger.end(now_ms)
        held |= set(range(start_ms, now_ms))
    return ledger, held


@given(histories(), TIMES, TIMES, TIMES)
def test_an_instance_is_judged_exactly_when_redis_has_worked_one_ttl_since_the_first_hold_that_overlapped(
    history, since_ms, lived_ms, ttl_ms
):
    ledger, held = history
    now_ms = max(since_ms + lived_ms, *held, 0) + 1 if held else since_ms + lived_ms
    overlapped = sorted(ms for ms in held if ms >= since_ms)
    worked_ms = len([ms for ms in range(overlapped[0], now_ms) if ms not in held]) if overlapped else math.inf
    owed_ms = ledger.owed_ms(since_ms, ttl_ms, now_ms)
    assert (owed_ms == 0) == (worked_ms >= ttl_ms)
    if overlapped:
        assert owed_ms == max(0, ttl_ms - worked_ms)


@given(histories(), TIMES, TIMES)
def test_what_is_owed_is_paid_off_by_waiting_as_long(history, since_ms, ttl_ms):
    ledger, held = history
    now_ms = max(held, default=since_ms) + 1
    owed_ms = ledger.owed_ms(since_ms, ttl_ms, now_ms)
    assert 0 <= owed_ms <= ttl_ms
    assert ledger.owed_ms(since_ms, ttl_ms, now_ms + owed_ms) == 0
