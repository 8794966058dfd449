"""Thresholds: what a heartbeat's metrics say, and how many samples in a row it takes."""

import math
from typing import Any

import pytest

from hopper import Settings
from hopper.errors import Invalid
from hopper.model.health import Health
from hopper.model.heartbeat import parse_heartbeat
from hopper.model.policy import Threshold
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import apply_patch, parse_spec
from hopper.model.thresholds import GOOD, Hysteresis, Judgement, effective_thresholds, evaluate

BOTH = {"queue_depth": Threshold(1000, 10_000)}

SAMPLES: dict[str, tuple[dict[str, Any], dict[str, Threshold], Health, list[str]]] = {
    "below": ({"queue_depth": 999}, BOTH, Health.HEALTHY, []),
    "at the first": (
        {"queue_depth": 1000}, BOTH, Health.DEGRADED, ["queue_depth is 1000, at or over 1000 (degraded)"],
    ),
    "over the first": (
        {"queue_depth": 1200}, BOTH, Health.DEGRADED, ["queue_depth is 1200, at or over 1000 (degraded)"],
    ),
    "at the second": (
        {"queue_depth": 10_000}, BOTH, Health.UNHEALTHY, ["queue_depth is 10000, at or over 10000 (unhealthy)"],
    ),
    "only the first is set": (
        {"queue_depth": 10**9}, {"queue_depth": Threshold(5, None)}, Health.DEGRADED,
        ["queue_depth is 1000000000, at or over 5 (degraded)"],
    ),
    "only the second is set": (
        {"queue_depth": 4}, {"queue_depth": Threshold(None, 5)}, Health.HEALTHY, [],
    ),
    "a fraction": (
        {"error_rate": 0.25}, {"error_rate": Threshold(0.2, 0.5)}, Health.DEGRADED,
        ["error_rate is 0.25, at or over 0.2 (degraded)"],
    ),
    "a metric of one's own": (
        {"gpu_degrees": 91.5}, {"gpu_degrees": Threshold(80, 90)}, Health.UNHEALTHY,
        ["gpu_degrees is 91.5, at or over 90 (unhealthy)"],
    ),
    "two at once": (
        {"queue_depth": 1500, "error_rate": 0.9}, BOTH | {"error_rate": Threshold(0.2, 0.5)}, Health.UNHEALTHY,
        ["queue_depth is 1500, at or over 1000 (degraded)", "error_rate is 0.9, at or over 0.5 (unhealthy)"],
    ),
    "a limit of nothing": (
        {"queue_depth": 0}, {"queue_depth": Threshold(0, None)}, Health.DEGRADED,
        ["queue_depth is 0, at or over 0 (degraded)"],
    ),
    "missing": ({"active_tasks": 10**6}, BOTH, Health.HEALTHY, []),
    "a word": ({"gpu": "hot"}, {"gpu": Threshold(1, 2)}, Health.HEALTHY, []),
    "a truth": ({"gpu": True}, {"gpu": Threshold(1, 1)}, Health.HEALTHY, []),
    "an object": ({"gpu": {"degrees": 5}}, {"gpu": Threshold(1, 1)}, Health.HEALTHY, []),
    "nothing": ({"gpu": None}, {"gpu": Threshold(1, 1)}, Health.HEALTHY, []),
    "without thresholds": ({"queue_depth": 10**9}, {}, Health.HEALTHY, []),
}  # fmt: skip


@pytest.mark.parametrize(("metrics", "thresholds", "level", "reasons"), SAMPLES.values(), ids=SAMPLES.keys())
def test_a_sample_has_a_level_and_a_sentence_for_each_metric_at_or_over_a_limit(metrics, thresholds, level, reasons):
    found = evaluate(metrics, thresholds)
    assert found.level is level
    assert list(found.reasons) == reasons


def test_the_evidence_has_the_figures_of_the_worst_metric_and_all_sentences():
    thresholds = BOTH | {"error_rate": Threshold(0.2, 0.5), "active_tasks": Threshold(1, 2)}
    evidence = evaluate({"queue_depth": 1500, "error_rate": 0.9, "active_tasks": 7}, thresholds).evidence
    assert {name: evidence[name] for name in ("metric", "value", "limit")} == {
        "metric": "error_rate", "value": 0.9, "limit": 0.5,
    }  # fmt: skip
    assert len(evidence["reasons"]) == 3


@pytest.mark.parametrize("value", [b"", b"OK", b"[1]", b'{"queue_depth": "many"}', b'{"queue_depth": -5}', b"x" * 5000])
def test_a_heartbeat_whose_value_cannot_be_used_is_over_no_threshold(value):
    assert evaluate(parse_heartbeat(value).as_json(), {"queue_depth": Threshold(-10, -10)}) is GOOD


def test_an_own_threshold_replaces_the_default_of_its_metric_and_no_other():
    defaults = {"queue_depth": Threshold(5, 6), "error_rate": Threshold(0.5, None)}
    own = {"queue_depth": Threshold(None, 100)}
    assert effective_thresholds(defaults, own) == {
        "queue_depth": Threshold(None, 100),
        "error_rate": Threshold(0.5, None),
    }
    assert effective_thresholds(defaults, {}) == defaults
    assert effective_thresholds({}, own) == own


# -- hysteresis --------------------------------------------------------------------------------------------------------

LETTERS = {"h": GOOD, "d": Judgement(Health.DEGRADED), "u": Judgement(Health.UNHEALTHY)}


def levels(samples: str, *, count: int = 2, start: str = "h") -> str:
    """The level after each sample, as its first letter."""
    level, state, found = LETTERS[start].level, Hysteresis(), []
    for letter in samples:
        state, changed = state.take(level, LETTERS[letter], count=count)
        level = level if changed is None else changed.level
        assert len(state.recent) < max(count, 1)
        found.append(level.value[0])
    return "".join(found)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ("d", "h"),
        ("dd", "hd"),
        ("dhdhdh", "hhhhhh"),
        ("uu", "hu"),
        ("ud", "hd"),
        ("du", "hd"),
        ("duu", "hdu"),
        ("udu", "hdd"),
        ("uduu", "hddu"),
        ("uuh", "huu"),
        ("uuhh", "huuh"),
        ("uudd", "huud"),
        ("uuhd", "huud"),
        ("uudhh", "huudh"),
        ("uuduhh", "huuuuh"),
        ("ddhuhh", "hddddh"),
        ("ddhuu", "hdddu"),
    ],
)
def test_two_samples_in_a_row_enter_a_worse_level_and_two_leave_it(samples, expected):
    assert levels(samples) == expected


@pytest.mark.parametrize(("samples", "expected"), [("duh", "duh"), ("uhd", "uhd")])
def test_with_a_count_of_one_each_sample_decides(samples, expected):
    assert levels(samples, count=1) == expected


@pytest.mark.parametrize(
    ("samples", "expected"), [("ddd", "hhd"), ("ddhddd", "hhhhhd"), ("uud", "hhd"), ("dduuu", "hhddu")]
)
def test_with_a_count_of_three_it_takes_three(samples, expected):
    assert levels(samples, count=3) == expected


def test_whoever_begins_at_a_level_needs_as_many_samples_to_leave_it():
    assert levels("hh", start="u") == "uh"
    assert levels("hdhd", start="u") == "uddd"


def test_the_change_comes_with_the_newest_sample_of_its_level():
    first, last = Judgement(Health.DEGRADED, ("first",)), Judgement(Health.DEGRADED, ("last",))
    state, _ = Hysteresis().take(Health.HEALTHY, first, count=2)
    _, changed = state.take(Health.HEALTHY, last, count=2)
    assert changed is last


# -- what can be asked for ---------------------------------------------------------------------------------------------

FLAWED: dict[str, tuple[dict[str, Any], str]] = {
    "turned round": ({"degraded": 10, "unhealthy": 5}, r"unhealthy \(5\) is below degraded \(10\)"),
    "empty": ({}, "a threshold has a value for degraded, for unhealthy or for both"),
    "of nothing": ({"degraded": None, "unhealthy": None}, "a threshold has a value"),
}


@pytest.mark.parametrize(("limits", "says"), FLAWED.values(), ids=FLAWED.keys())
def test_a_threshold_that_could_never_be_meant_is_refused_by_the_name_of_its_metric(limits, says):
    with pytest.raises(Invalid, match=f"thresholds.queue_depth is .*: {says}") as refused:
        parse_spec({"scope": "project", "thresholds": {"error_rate": {"degraded": 1}, "queue_depth": limits}})
    assert refused.value.field == "thresholds.queue_depth"


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"degraded": 50}, r"degraded \(50\) is never reached: error_rate is at most 1"),
        ({"degraded": 0.5, "unhealthy": 1.5}, r"unhealthy \(1.5\) is never reached: error_rate is at most 1"),
    ],
    ids=["a percentage", "the second only"],
)
def test_a_threshold_that_can_never_be_reached_is_refused(limits, says):
    with pytest.raises(Invalid, match=says) as refused:
        parse_spec({"scope": "project", "thresholds": {"error_rate": limits}})
    assert (refused.value.field, refused.value.value["degraded"]) == ("thresholds.error_rate", limits["degraded"])
    with pytest.raises(ValueError, match=f"error_rate: {says}"):
        Settings(thresholds={"error_rate": limits})
    assert parse_spec({"scope": "project", "thresholds": {"error_rate": {"unhealthy": 1}, "own": {"degraded": 50}}})


def test_a_patch_may_not_turn_a_threshold_round_and_another_patch_does_not_look_at_it():
    record = Record(id="web", name="web", scope=Scope.PROJECT, thresholds={"queue_depth": Threshold(10, 20)})
    with pytest.raises(Invalid) as refused:
        apply_patch(record, {"thresholds": {"queue_depth": {"unhealthy": 5}}})
    assert refused.value.field == "thresholds.queue_depth"
    by_hand = Record(id="web", name="web", scope=Scope.PROJECT, thresholds={"queue_depth": Threshold(10, 5)})
    assert apply_patch(by_hand, {"version": "2"}).version == "2"
    assert apply_patch(record, {"thresholds": {"queue_depth": None}}).thresholds == {}


@pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf])
def test_a_limit_is_a_number_that_json_has(limit):
    with pytest.raises(Invalid) as refused:
        parse_spec({"scope": "project", "thresholds": {"queue_depth": {"degraded": limit}}})
    assert refused.value.field == "thresholds.queue_depth.degraded"


def test_equal_limits_are_allowed():
    assert parse_spec({"scope": "project", "thresholds": {"x": {"degraded": 5, "unhealthy": 5}}})


@pytest.mark.parametrize(("limits", "says"), FLAWED.values(), ids=FLAWED.keys())
def test_the_setting_is_held_to_the_same(limits, says):
    with pytest.raises(ValueError, match=f"queue_depth: {says}"):
        Settings(thresholds={"queue_depth": limits})


def test_the_environment_sets_thresholds_as_json(monkeypatch):
    monkeypatch.setenv("HOPPER_THRESHOLDS", '{"queue_depth": {"degraded": 5}}')
    assert Settings().thresholds == {"queue_depth": Threshold(5, None)}
