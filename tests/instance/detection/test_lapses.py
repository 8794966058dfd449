"""Lapses: who fell silent together, whatever their TTLs are, and who did not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopper.instance.detection.lapses import Lapses, Together

SLOW_MS, QUICK_MS = 3_600_000, 2_000
HOUR_MS = 3_600_000.0


def lapses_of(*lapses: tuple[float, int]) -> Lapses:
    made = Lapses()
    for number, (at_ms, ttl_ms) in enumerate(lapses):
        made.put(str(number), at_ms, ttl_ms, "here")
    return made


def test_quick_ones_that_lapse_within_an_hour_did_not_lapse_together_also_where_a_slow_one_has():
    quick = [(minute * 60_000.0, QUICK_MS) for minute in (5, 20, 35, 50)]
    assert lapses_of(*quick).together(quick[-1][0], 1) is None
    assert lapses_of(*quick, (HOUR_MS, SLOW_MS)).together(HOUR_MS, 2) is None
    assert lapses_of((0, SLOW_MS), *quick).together(quick[-1][0], 1) is None


def test_slow_and_quick_ones_of_one_partition_lapsed_together_whenever_the_slow_ones_follow():
    quick, slow = [(500.0 * number, QUICK_MS) for number in range(4)], [(10_000.0, 15_000), (14_000.0, 15_000)]
    assert lapses_of(*quick).together(2_000, 3) == Together(4, QUICK_MS)
    assert lapses_of(*quick, *slow).together(14_000, 5) == Together(6, 15_000)


def test_what_lapsed_together_is_over_the_largest_ttl_among_them_after_the_last_of_it():
    assert lapses_of((0, 2_000), (0, 2_000), (500, 1_000)).together(2_500, 2) == Together(3, 2_000)
    assert lapses_of((0, 2_000), (0, 2_000), (500, 1_000)).together(2_501, 2) is None


def test_the_most_that_lapsed_together_are_counted_also_where_others_lapsed_since():
    lapses = lapses_of((0, 5_000), (100, 5_000), (200, 5_000), (4_900, 1_000), (4_950, 1_000))
    assert lapses.together(5_000, 2) == Together(3, 5_000)


def test_nobody_is_counted_twice_or_after_it_was_retracted_or_forgotten():
    lapses = lapses_of(*[(0.0, 1_000)] * 5)
    lapses.put("0", 100, 1_000, "there")
    assert (len(lapses), lapses.since(0), lapses.since(50)) == (5, 5, 1)
    assert lapses.pop("0") == 100
    assert lapses.pop("0") is None
    assert (lapses.since(0), lapses.since(50)) == (4, 0)
    lapses.prune(50)
    assert (len(lapses), lapses.since(0), lapses.together(100, 0)) == (0, 0, None)
    lapses.put("1", 10, 1_000, "here")
    assert len(lapses) == 0
    lapses.put("2", 60, 1_000, "here")
    lapses.pop_of("here")
    assert lapses.together(100, 0) is None
    lapses.put("3", 70, 1_000, "here")
    lapses.clear()
    assert (len(lapses), lapses.since(0)) == (0, 0)


def test_whoever_lapses_again_and_again_is_kept_once_also_while_nothing_is_old_enough_to_be_forgotten():
    lapses = Lapses()
    for number in range(1_000):
        lapses.put(str(number % 10), number * 20.0, QUICK_MS, "here")
        lapses.prune(number * 20.0 - 24 * HOUR_MS)
    assert (len(lapses), len(lapses._times), lapses.since(0)) == (10, 10, 10)


def test_all_are_looked_at_seldom_while_few_lapse_together(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, sweep = [], Lapses._sweep
    monkeypatch.setattr(Lapses, "_sweep", lambda self, now_ms: looks.append(now_ms) or sweep(self, now_ms))
    lapses = Lapses()
    for number in range(10_000):
        lapses.put(str(number), number * 1_000.0, QUICK_MS, "here")
        assert lapses.together(number * 1_000.0, 100) is None
    assert len(looks) < 110


LAPSES = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 3, 10])), max_size=12)


@given(LAPSES, st.integers(0, 6))
def test_so_many_lapsed_together_as_have_a_moment_in_common(lapses, more_than):
    """Against every moment, one by one."""
    counted = Lapses()
    for number, (at, ttl) in enumerate(sorted(lapses)):
        counted.put(str(number), at, ttl, "here")
        so_far = sorted(lapses)[: number + 1]
        spans = [[one for one in so_far if one[0] - one[1] <= moment <= one[0]] for moment in range(-10, 31)]
        recent = [
            len(span)
            for moment, span in zip(range(-10, 31), spans, strict=True)
            if span and max(span)[0] >= at - max(ttl for _, ttl in span)
        ]
        most = max(recent)
        found = counted.together(at, more_than)
        assert (found.count if found is not None else None) == (most if most > more_than else None)
