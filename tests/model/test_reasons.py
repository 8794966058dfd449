"""Reasons: why an instance is not healthy, or not in service."""

from typing import Any

import pytest

from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.health import Health
from hopper.model.policy import Maintenance, Threshold
from hopper.model.reasons import reasons_of
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

AT_MS = 1_795_377_295_782
AT = "2026-11-22 19:54:55.782"
OVER = "queue_depth is 7, at or over 5 (degraded)"

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool | None, list[str]]] = {
    "healthy": ({}, {"queue_depth": 4}, True, []),
    "over a threshold": ({"health": Health.DEGRADED}, {"queue_depth": 7}, True, [OVER]),
    "over a threshold since now": ({}, {"queue_depth": 7}, True, [OVER]),
    "over none any more, or by a check": (
        {"health": Health.UNHEALTHY}, {}, True, ["it was found unhealthy: explain tells why"],
    ),
    "down": ({"health": Health.DOWN, "down_at_ms": AT_MS}, {}, False, [f"no heartbeat since {AT}"]),
    "down a moment ago": (
        {"health": Health.DOWN, "down_at_ms": AT_MS}, {}, True,
        [f"no heartbeat since {AT}, and now there is one again"],
    ),
    "suspect": ({"health": Health.SUSPECT}, {}, False, ["no heartbeat, and not judged yet"]),
    "lapsed this moment": ({}, {}, False, ["no heartbeat, and not judged yet"]),
    "stopped": (
        {"state": State.STOPPED, "health": Health.UNKNOWN}, {}, False, ["it is stopped, and not monitored"],
    ),
    "in maintenance": (
        {"maintenance": Maintenance("new disks", AT_MS)}, {}, True, [f"in maintenance until {AT}: new disks"],
    ),
    "in maintenance without an end": ({"maintenance": Maintenance()}, {}, True, ["in maintenance"]),
    "flapping": ({"flapping": True}, {}, True, ["flapping: it went down and came back again and again"]),
    "leaving": ({"leaving": Departure(children=ChildrenMode.CASCADE)}, {}, True, ["it is being removed"]),
    "all at once": (
        {"health": Health.DOWN, "down_at_ms": AT_MS, "maintenance": Maintenance("why"), "flapping": True}, {}, False,
        [f"no heartbeat since {AT}", "in maintenance: why", "flapping: it went down and came back again and again"],
    ),
    "redis is away": ({"health": Health.DEGRADED}, {}, None, []),
    "down while redis is away": (
        {"health": Health.DOWN, "down_at_ms": AT_MS}, {}, None, [f"no heartbeat since {AT}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "metrics", "heartbeat", "expected"), CASES.values(), ids=CASES.keys())
def test_the_reasons_are_sentences(fields, metrics, heartbeat, expected):
    record = Record(**{"id": "web", "name": "web", "scope": Scope.PROJECT, "health": Health.HEALTHY, **fields})
    found = reasons_of(record, metrics, {"queue_depth": Threshold(5, 10)}, heartbeat=heartbeat)
    assert list(found) == expected


def test_why_it_was_found_so_is_told_where_that_is_known_and_the_guard_over_its_group():
    record = Record(id="web", name="web", scope=Scope.PROJECT, health=Health.UNHEALTHY)
    found = reasons_of(record, {}, {}, heartbeat=True, found=["its check failed"], guard="7 of 30 lapsed")
    assert found == ("it was found unhealthy: its check failed", "its group is guarded: 7 of 30 lapsed")
