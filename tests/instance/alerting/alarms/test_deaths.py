"""Deaths: when one is told of, how often, and when it is over."""

import pytest

from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import SETTLE_S


def test_one_that_is_down_is_told_of_after_the_settling_time_and_once(scene):
    scene.goes_down("o1")
    scene.passes(SETTLE_S - 0.01)
    assert scene.news == []
    scene.passes(0.01)
    (alert,) = scene.told
    assert scene.news == ["down firing o1"]
    assert (alert.reason, alert.revision, alert.at_ms) == ("lapsed", 6, 0)
    assert alert.evidence == {"deadline_ms": 0, "last_heartbeat_ms": 0}
    scene.passes(60)
    assert scene.news == []


def test_its_recovery_is_told_once_as_resolved(scene):
    scene.goes_down("o1")
    scene.passes()
    scene.comes_back("o1")
    assert scene.news == ["down firing o1", "down resolved o1"]
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.passes()
    assert scene.news == []


def test_one_that_recovers_while_it_settles_is_told_of_never(scene):
    scene.goes_down("o1")
    scene.passes(0.5)
    scene.comes_back("o1")
    scene.passes()
    assert scene.news == []


def test_a_second_death_while_the_first_settles_has_its_own_time(scene):
    scene.goes_down("o1")
    scene.passes(0.6)
    scene.comes_back("o1")
    scene.goes_down("o1")
    scene.passes(0.6)
    assert scene.news == []
    scene.passes(0.4)
    assert scene.news == ["down firing o1"]


def test_another_incarnation_is_not_told_of_for_the_death_of_the_one_before(scene):
    scene.goes_down("o1")
    scene.happens(EventType.SUPERSEDED, "o1", health=Health.HEALTHY, incarnation=99)
    scene.passes()
    assert scene.news == []
    scene.goes_down("o1")
    scene.passes()
    scene.happens(EventType.SUPERSEDED, "o1", health=Health.HEALTHY, incarnation=100)
    assert scene.news == ["down firing o1", "down resolved o1"]


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (EventType.DEREGISTERED, {}, "deregistered"),
        (EventType.STATE_CHANGED, {"state": State.STOPPED, "health": Health.UNKNOWN}, "stopped and unknown"),
        (EventType.HEALTH_CHANGED, {"health": Health.DEGRADED}, "running and degraded"),
    ],
    ids=["removed", "stopped", "degraded"],
)
def test_a_death_is_over_however_it_ends(scene, kind, changes, says):
    scene.goes_down("o1")
    scene.passes()
    scene.happens(kind, "o1", **changes)
    assert says in scene.told[-1].text
    assert scene.news == ["down firing o1", "down resolved o1"]


def test_one_in_maintenance_is_told_of_when_the_maintenance_ends_and_it_is_still_down(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance("upgrade"))
    scene.goes_down("o1")
    scene.passes(100)
    assert scene.news == []
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    (alert,) = scene.told
    assert scene.news == ["down firing o1"]
    assert alert.reason == "lapsed"


def test_a_suspect_is_told_of_neither_as_down_nor_as_back(scene):
    scene.goes_down("o1")
    scene.passes()
    scene.happens(EventType.HEALTH_CHANGED, "o1", health=Health.SUSPECT, reason="guard")
    scene.passes()
    assert scene.news == ["down firing o1"]
    scene.goes_down("o1")
    scene.passes()
    scene.comes_back("o1")
    assert scene.news == ["down resolved o1"]
