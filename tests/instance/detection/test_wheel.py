"""The timing wheel: everything comes once, never early, at most one tick late."""

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import given

from hopper.instance.detection.wheel import Wheel

TICK_MS = 5


@dataclass(eq=False)
class Item:
    """Something that is due, and when it should be."""

    name: int = 0
    at_ms: float = 0.0
    tick: int = -1


def test_an_item_comes_at_its_tick_and_once():
    wheel, item = Wheel[Item](tick_ms=TICK_MS), Item()
    wheel.schedule(item, 12.5)
    assert list(wheel.pop_due(14.9)) == []
    assert list(wheel.pop_due(15)) == [item]
    assert list(wheel.pop_due(1_000)) == []


def test_a_new_time_replaces_the_old_one_sooner_or_later():
    wheel, sooner, later = Wheel[Item](tick_ms=TICK_MS), Item(), Item()
    for item in (sooner, later):
        wheel.schedule(item, 100)
    wheel.schedule(sooner, 20)
    wheel.schedule(later, 200)
    assert list(wheel.pop_due(20)) == [sooner]
    assert list(wheel.pop_due(100)) == []
    assert list(wheel.pop_due(200)) == [later]


def test_a_time_taken_back_to_an_earlier_choice_comes_once():
    wheel, item = Wheel[Item](tick_ms=TICK_MS), Item()
    for at_ms in (50, 80, 50):
        wheel.schedule(item, at_ms)
    assert list(wheel.pop_due(200)) == [item]


def test_a_cancelled_item_never_comes():
    wheel, item = Wheel[Item](tick_ms=TICK_MS), Item()
    wheel.schedule(item, 50)
    wheel.cancel(item)
    assert list(wheel.pop_due(200)) == []


def test_an_item_for_a_time_gone_by_comes_with_the_next_tick():
    wheel, item = Wheel[Item](tick_ms=TICK_MS), Item()
    assert list(wheel.pop_due(1_000)) == []
    wheel.schedule(item, 3)
    assert list(wheel.pop_due(1_004)) == []
    assert list(wheel.pop_due(1_005)) == [item]


def test_after_standing_still_for_a_month_all_comes_in_order_and_soon():
    wheel, items = Wheel[Item](tick_ms=TICK_MS), [Item(name) for name in range(3)]
    list(wheel.pop_due(0))
    for item in reversed(items):
        wheel.schedule(item, 1_000 * (item.name + 1))
    assert list(wheel.pop_due(30 * 86_400_000.0)) == items


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["schedule", "cancel", "pop"]), st.integers(0, 4), st.floats(min_value=0, max_value=120)
        ),
        max_size=60,
    )
)
def test_whatever_is_scheduled_comes_once_never_early_and_at_most_one_tick_late(steps):
    wheel, now_ms = Wheel[Item](tick_ms=TICK_MS), 0.0
    items = [Item(name) for name in range(5)]
    waiting: dict[int, float] = {}
    for step, name, ms in [*steps, ("pop", 0, 1_000.0)]:
        match step:
            case "schedule":
                wheel.schedule(items[name], now_ms - 20 + ms)
                waiting[name] = max(now_ms, now_ms - 20 + ms)
            case "cancel":
                wheel.cancel(items[name])
                waiting.pop(name, None)
            case "pop":
                now_ms += ms
                for item in wheel.pop_due(now_ms):
                    assert waiting.pop(item.name) <= now_ms
                assert all(at_ms > now_ms - TICK_MS for at_ms in waiting.values())
    assert not waiting
