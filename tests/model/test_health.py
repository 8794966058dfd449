"""Health, and the worst of a group."""

import pytest

from hopper.model.health import ALIVE, Health, worst

GROUPS = {
    "nobody": ({}, Health.UNKNOWN),
    "counts of nobody": ({Health.DOWN: 0, Health.HEALTHY: 0}, Health.UNKNOWN),
    "all healthy": ({Health.HEALTHY: 9}, Health.HEALTHY),
    "some not monitored": ({Health.UNKNOWN: 9, Health.HEALTHY: 1}, Health.HEALTHY),
    "a degraded one": ({Health.HEALTHY: 9, Health.DEGRADED: 1}, Health.DEGRADED),
    "an unhealthy one": ({Health.DEGRADED: 9, Health.UNHEALTHY: 1}, Health.UNHEALTHY),
    "a suspect one": ({Health.UNHEALTHY: 9, Health.SUSPECT: 1}, Health.SUSPECT),
    "a down one": ({Health.SUSPECT: 9, Health.DOWN: 1, Health.HEALTHY: 90}, Health.DOWN),
    "none down any more": ({Health.DOWN: 0, Health.SUSPECT: 1}, Health.SUSPECT),
}


@pytest.mark.parametrize(("counts", "expected"), GROUPS.values(), ids=GROUPS.keys())
def test_the_worst_is_the_most_severe_that_one_at_least_has(counts, expected):
    assert worst(counts) is expected


def test_the_ones_alive_are_those_that_heartbeat_whatever_they_report():
    assert set(ALIVE) == {Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY}
