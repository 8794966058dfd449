"""Failures and flapping: each is told of, but of one that flaps only the first."""

import pytest

from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import Scene


def test_one_that_flaps_is_told_of_once_until_it_is_calm(scene):
    scene.goes_down("o1")
    scene.passes()
    for _ in range(4):
        scene.comes_back("o1", flapping=True)
        scene.goes_down("o1")
        scene.passes()
    scene.comes_back("o1")
    assert scene.news == ["down firing o1"]
    scene.flaps("o1", False)
    assert scene.news == ["down resolved o1"]
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["down firing o1"]


def test_one_that_is_down_when_it_is_calm_is_resolved_when_it_is_back(scene):
    scene.flaps("o1", True)
    scene.goes_down("o1")
    scene.passes()
    scene.flaps("o1", False)
    scene.passes()
    scene.comes_back("o1")
    assert scene.news == ["down firing o1", "down resolved o1"]


def fails(scene: Scene, id: str = "o1") -> None:
    scene.happens(EventType.STATE_CHANGED, id, state=State.FAILED, health=Health.UNKNOWN, reason="exit 1")
    scene.happens(EventType.STATE_CHANGED, id, state=State.STARTING, health=Health.HEALTHY)


def fails_and_stays(scene: Scene, id: str) -> Event:
    changes = {"state": State.FAILED, "health": Health.UNKNOWN, "stopped_at_ms": int(scene.now_s * 1000)}
    return scene.happens(EventType.STATE_CHANGED, id, reason="exit 1", **changes)


def test_each_failure_is_told_of_but_of_one_that_flaps_only_the_first(scene):
    fails(scene)
    fails(scene)
    assert scene.told[0].text == "orchestration 'o1' under 'p1' has failed: exit 1"
    assert scene.news == ["failed firing o1", "failed firing o1"]
    scene.flaps("o1", True)
    fails(scene)
    fails(scene)
    assert scene.news == ["failed firing o1"]
    scene.flaps("o1", False)
    fails(scene)
    assert scene.news == ["failed firing o1"]


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        ({"exit_code": 3}, "orchestration 'o1' under 'p1' has failed: exit, exit code 3"),
        ({"exit_code": 137, "signal": 9}, "orchestration 'o1' under 'p1' has failed: exit, ended by signal 9"),
    ],
    ids=["an exit", "a signal"],
)
def test_a_failure_that_a_supervisor_saw_says_how_the_command_ended(scene, evidence, text):
    scene.happens(
        EventType.STATE_CHANGED, "o1", state=State.FAILED, health=Health.UNKNOWN, reason="exit", evidence=evidence
    )
    (alert,) = scene.told
    assert (alert.text, alert.evidence) == (text, evidence)
    assert scene.news == ["failed firing o1"]


def test_in_maintenance_neither_a_failure_nor_the_end_of_its_restarts_is_told(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    fails(scene)
    scene.happens(EventType.RESTART_EXHAUSTED, "o1")
    assert scene.news == []
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.happens(EventType.RESTART_EXHAUSTED, "o1", reason="5 in 60 s")
    assert scene.told[-1].text.endswith("has failed and is not restarted any more: 5 in 60 s")
    assert scene.news == ["exhausted firing o1"]
