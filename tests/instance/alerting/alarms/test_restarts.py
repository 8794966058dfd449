"""Restarts: what is told of a death whose restart is claimed."""

import pytest

from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import Scene


def claims(scene: Scene, id: str = "o1", kind: EventType = EventType.RESTART_CLAIMED) -> None:
    scene.happens(kind, id, state=State.FAILED, health=Health.UNKNOWN, reason="lapsed")


@pytest.mark.parametrize(
    ("kind", "first", "says"),
    [
        (EventType.RESTART_CLAIMED, [], "its restart is claimed"),
        (EventType.RESTART_EXHAUSTED, ["exhausted firing o1"], "it is not restarted any more"),
    ],
    ids=["claimed", "exhausted"],
)
def test_a_death_is_told_of_though_its_restart_is_claimed_before_and_is_over_when_it_is_registered(
    scene, kind, first, says
):
    scene.goes_down("o1")
    scene.passes(0.5)
    claims(scene, kind=kind)
    scene.passes(0.4)
    assert scene.news == first
    scene.passes(0.1)
    (alert,) = scene.told
    assert alert.text.endswith(f"; {says}")
    assert (alert.reason, alert.revision) == ("lapsed", 6)
    assert scene.news == ["down firing o1"]
    scene.happens(EventType.SUPERSEDED, "o1", state=State.STARTING, health=Health.HEALTHY, incarnation=99)
    scene.passes()
    assert scene.news == ["down resolved o1"]


def test_a_claim_does_not_end_what_was_told_nor_does_what_changes_of_it_afterwards(scene):
    scene.goes_down("o1")
    scene.passes()
    claims(scene)
    scene.happens(EventType.UPDATED, "o1", version="2")
    assert scene.alarms.reconcile(scene.replica, scene.now_s, 77) == []
    scene.passes()
    assert scene.news == ["down firing o1"]
    scene.happens(EventType.DEREGISTERED, "o1")
    assert scene.news == ["down resolved o1"]


def test_one_that_was_claimed_and_lives_again_or_is_gone_while_it_settles_is_told_of_never(scene):
    scene.goes_down("o1", "o2")
    claims(scene, "o1")
    claims(scene, "o2")
    scene.happens(EventType.SUPERSEDED, "o1", state=State.STARTING, health=Health.HEALTHY, incarnation=99)
    scene.happens(EventType.DEREGISTERED, "o2")
    scene.passes()
    assert scene.news == []


def test_one_that_fails_by_itself_while_it_settles_is_told_of_as_failed_alone(scene):
    scene.goes_down("o1")
    scene.happens(EventType.STATE_CHANGED, "o1", state=State.FAILED, health=Health.UNKNOWN, reason="exit 1")
    claims(scene)
    scene.passes()
    assert scene.news == ["failed firing o1"]


def test_a_parent_whose_restart_is_claimed_hides_those_below_it_until_it_lives_again(scene):
    scene.goes_down("o1", "o2", "p1")
    claims(scene, "p1")
    claims(scene, "o1")
    scene.passes()
    assert scene.told[0].evidence["descendants_down"] == 2
    assert scene.news == ["down firing p1"]
    scene.happens(EventType.SUPERSEDED, "p1", state=State.STARTING, health=Health.HEALTHY, incarnation=99)
    scene.passes()
    assert sorted(scene.news) == ["down firing o1", "down firing o2", "down resolved p1"]


def test_one_that_was_claimed_in_maintenance_is_told_of_when_that_ends(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    scene.goes_down("o1")
    scene.passes()
    claims(scene)
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    assert scene.news == ["down firing o1"]


def test_a_global_that_is_down_counts_those_on_every_level_below_it_and_no_orphans(scene):
    scene.happens(EventType.REGISTERED, "o9")
    scene.goes_down("o9")
    scene.passes()
    scene.goes_down("g", "p1", "o1")
    scene.passes()
    assert scene.told[1].evidence["descendants_down"] == 2
    assert scene.news == ["down firing o9", "down firing g"]
