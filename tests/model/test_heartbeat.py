"""What a heartbeat may carry: read leniently, and what is wrong with it is said."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopper.model.heartbeat import MAX_HEARTBEAT_BYTES, Metrics, encode_metrics, parse_heartbeat, seconds_of

GOOD = {
    "nothing": (b"", Metrics()),
    "an empty object": (b"{}", Metrics()),
    "all metrics": (
        b'{"active_tasks":3,"queue_depth":0,"response_time_ms":1.5,"error_rate":0.25,"uptime_s":9,"incarnation":7}',
        Metrics(
            active_tasks=3, queue_depth=0, response_time_ms=1.5, error_rate=0.25, uptime_s=9, incarnation=7
        ),
    ),
    "the limits": (b'{"error_rate":1,"active_tasks":0}', Metrics(error_rate=1, active_tasks=0)),
    "the other limit": (b'{"error_rate":0}', Metrics(error_rate=0)),
    "unknown keys": (b'{"queue_depth":1,"gpu":{"free":2}}', Metrics(queue_depth=1, other={"gpu": {"free": 2}})),
    "spaces": (b' { "queue_depth" : 1 } ', Metrics(queue_depth=1)),
}  # fmt: skip


@pytest.mark.parametrize(("value", "metrics"), GOOD.values(), ids=GOOD.keys())
def test_a_good_value_is_read_without_a_problem(value, metrics):
    assert parse_heartbeat(value) == metrics
    assert metrics.problems == ()


BAD = {
    "not JSON": (b"alive", "the value is not JSON"),
    "half JSON": (b'{"queue_depth":', "the value is not JSON"),
    "not UTF-8": (b'{"a":"\xff"}', "the value is not JSON"),
    "binary": (bytes(range(256)), "the value is not JSON"),
    "NaN": (b'{"error_rate":NaN}', "the value is not JSON"),
    "a number": (b"1", "the value is not a JSON object"),
    "a list": (b"[]", "the value is not a JSON object"),
    "null": (b"null", "the value is not a JSON object"),
    "deeply nested": (b"[" * 2000 + b"]" * 2000, "the value is not"),
    "too long": (b"x" * 4097, "the value has 4097 bytes, over 4096"),
    "a text for a number": (b'{"active_tasks":"3"}', "active_tasks is '3', not an integer"),
    "a fraction for an integer": (b'{"queue_depth":1.5}', "queue_depth is 1.5, not an integer"),
    "true for an integer": (b'{"queue_depth":true}', "queue_depth is True, not an integer"),
    "true for a number": (b'{"error_rate":true}', "error_rate is True, not a number"),
    "null for a number": (b'{"uptime_s":null}', "uptime_s is None, not a number"),
    "below zero": (b'{"uptime_s":-1}', "uptime_s is -1, not in 0.."),
    "a negative count": (b'{"active_tasks":-1}', "active_tasks is -1, not in 0.."),
    "a rate above one": (b'{"error_rate":1.01}', "error_rate is 1.01, not in 0..1"),
    "an endless number": (b'{"response_time_ms":1e999}', ""),
}


@pytest.mark.parametrize(("value", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_value_says_what_is_wrong_with_it(value, says):
    metrics = parse_heartbeat(value)
    assert len(metrics.problems) == 1
    assert says in metrics.problems[0]
    assert metrics.as_json() == {}


def test_one_bad_metric_leaves_the_others():
    metrics = parse_heartbeat(b'{"queue_depth":-1,"active_tasks":2,"error_rate":"x","host":"a"}')
    assert (metrics.active_tasks, metrics.queue_depth, metrics.other) == (2, None, {"host": "a"})
    assert [problem.split()[0] for problem in metrics.problems] == ["queue_depth", "error_rate"]


def test_a_value_of_exactly_4096_bytes_is_read():
    value = b'{"a":"' + b"x" * (MAX_HEARTBEAT_BYTES - 8) + b'"}'
    assert len(value) == 4096
    assert parse_heartbeat(value).problems == ()


@given(st.binary(max_size=200))
def test_no_value_whatever_raises(value):
    parse_heartbeat(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip
KNOWN = st.sampled_from(["active_tasks", "queue_depth", "response_time_ms", "error_rate", "uptime_s", "incarnation"])


@given(st.dictionaries(KNOWN | st.text(max_size=5), JSON, max_size=6))
def test_what_is_read_of_any_object_is_in_range_and_what_is_not_is_a_problem(document):
    metrics = parse_heartbeat(orjson.dumps(document))
    kept = metrics.as_json()
    assert len(kept) + len(metrics.problems) == len(document)
    assert all(document[name] == value for name, value in kept.items())
    assert metrics.error_rate is None or 0 <= metrics.error_rate <= 1


def test_metrics_are_encoded_as_an_object_that_is_read_back():
    metrics = {"active_tasks": 1, "error_rate": 0.5, "host": "a"}
    assert parse_heartbeat(encode_metrics(metrics)).as_json() == metrics


def test_metrics_that_are_too_large_or_no_json_are_refused():
    with pytest.raises(ValueError, match="metrics of 5008 bytes, over 4096"):
        encode_metrics({"a": "x" * 5000})
    with pytest.raises(TypeError):
        encode_metrics({"a": object()})


@pytest.mark.parametrize(("ttl_ms", "seconds"), [(1000, 1), (1001, 2), (1999, 2), (15000, 15), (86_400_000, 86_400)])
def test_a_setex_in_whole_seconds_lasts_at_least_the_ttl(ttl_ms, seconds):
    assert seconds_of(ttl_ms) == seconds


def test_a_heartbeat_may_tell_of_a_problem_of_its_own():
    metrics = parse_heartbeat(b'{"problem": "the disk is full", "active_tasks": 1}')
    assert (metrics.problems, metrics.active_tasks, metrics.other) == (("the disk is full",), 1, {})
