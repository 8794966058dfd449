"""Changes: what an update has changed, in words."""

from typing import Any

import pytest

from hopper.model.changes import changed

POLICY = {"mode": "never", "max_restarts": 5, "window_s": 60, "jitter": 0.1, "webhook": None}
TOLD: dict[str, tuple[Any, Any, str]] = {
    "a word": ("1", "2", "field 1 -> 2"),
    "one that was absent": (None, "2", "field none -> 2"),
    "one member": (POLICY, {**POLICY, "max_restarts": 3}, "field.max_restarts 5 -> 3"),
    "a member that came and one that went": ({"a": 1}, {"b": 2}, "field.a 1 -> none; field.b none -> 2"),
    "many members": (
        {}, {"a": 1, "b": 2, "c": 3, "d": 4}, 'field {} -> {"a":1,"b":2,"c":3,"d":4}',
    ),
    "an object that came": (None, {"a": 1}, 'field none -> {"a":1}'),
    "a number that is written in another way": (
        {**POLICY, "webhook": "a"}, {**POLICY, "window_s": 60.0, "webhook": "b"}, "field.webhook a -> b",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), TOLD.values(), ids=TOLD.keys())
def test_a_change_is_told_by_what_differs(old, new, told):
    assert "; ".join(changed({"field": old}, {"field": new, "other": 1})) == told
