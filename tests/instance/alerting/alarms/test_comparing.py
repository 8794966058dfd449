"""Comparing: where the log cannot tell what has happened, what is so is told, and what is over."""

import pytest

from hopper.instance.alerting.alarms import Alarms
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import SETTLE_S, Scene
from instance.alerting.alarms.test_failures import fails_and_stays
from instance.alerting.alarms.test_guards import guard
from instance.alerting.alarms.test_restarts import claims


def knows_nothing(scene: Scene, **told: int) -> None:
    """Let all that was told, or waits, be forgotten but for this."""
    scene.alarms = Alarms(settle_s=SETTLE_S, told={key.replace("_", ":"): revision for key, revision in told.items()})
    scene.told.clear()


def test_what_is_so_and_was_not_told_is_told_once(scene):
    scene.goes_down("o1")
    fails_and_stays(scene, "o2")
    guard(scene, EventType.GUARD_RAISED, "project:p2")
    scene.happens(EventType.HOLD_STARTED, evidence={"reason": "Redis stood still", "since_ms": 5})
    knows_nothing(scene)
    scene.compares()
    assert scene.told[0].text.startswith("a guard stands over the group 'project:p2': 9 of 40 lapsed within 1 s; its")
    assert [alert.text for alert in scene.told[1:]] == [
        "nobody is judged any more: Redis stood still",
        "orchestration 'o2' under 'p1' has failed",
    ]
    scene.passes()
    assert scene.news == ["guard firing project:p2", "hold firing", "failed firing o2", "down firing o1"]
    scene.compares()
    scene.passes()
    assert scene.news == []


def test_one_whose_restart_was_claimed_is_found_as_dead_and_not_as_failed(scene):
    scene.goes_down("o1")
    claims(scene)
    knows_nothing(scene)
    scene.compares()
    scene.passes()
    assert scene.news == ["down firing o1"]


def test_what_is_found_has_names_by_which_its_receiver_knows_it_again(scene):
    guard(scene, EventType.GUARD_RAISED, "project:p2")
    scene.happens(EventType.HOLD_STARTED, evidence={"reason": "Redis stood still", "since_ms": 5})
    fails_and_stays(scene, "o2")
    names = []
    for _ in range(2):
        knows_nothing(scene)
        scene.compares()
        names.append([alert.delivery(epoch="e") for alert in scene.told])
        scene.happens(EventType.UPDATED, "o1", version="2")
    assert names[0] == names[1] == ["e-project:p2@1-guard-firing", "e-hold@5-hold-firing", "e-8-failed-firing"]


def test_the_end_of_a_guard_and_of_a_hold_that_was_missed_is_told(scene):
    knows_nothing(scene, **{"guard_project:p1": 6, "hold": 7})
    scene.compares()
    assert [alert.text for alert in scene.told] == [
        "the guard over the group 'project:p1' is released",
        "instances are judged again",
    ]
    assert [alert.delivery(epoch="e") for alert in scene.told] == [
        "e-project:p1@6-guard-resolved",
        "e-hold@7-hold-resolved",
    ]
    assert scene.news == ["guard resolved project:p1", "hold resolved"]
    assert scene.alarms.told == {}


def test_a_hold_that_follows_another_whose_end_was_missed_is_told_after_that_end(scene):
    scene.happens(EventType.HOLD_STARTED, reason="Redis stood still")
    scene.deaf = True
    scene.happens(EventType.HOLD_ENDED)
    scene.deaf = False
    scene.happens(EventType.HOLD_STARTED, reason="Redis is away")
    assert [alert.delivery(epoch="e") for alert in scene.told] == [
        "e-6-hold-firing",
        "e-hold@6-hold-resolved",
        "e-8-hold-firing",
    ]
    scene.compares()
    assert scene.news == ["hold firing", "hold resolved", "hold firing"]


def test_the_routine_hold_of_a_leader_is_not_found(scene):
    scene.happens(EventType.HOLD_STARTED, evidence={"reason": "leadership"})
    scene.compares()
    assert scene.news == []


def test_what_cannot_be_read_or_is_of_a_newer_version_is_not_over(scene):
    scene.replica.unreadable["o9"] = "its scope is 'moon'"
    knows_nothing(scene, down_o9=3, later_o1=4)
    scene.compares()
    assert scene.news == []
    assert scene.alarms.told == {"down:o9": 3, "later:o1": 4}


@pytest.mark.parametrize("told", [7, 500], ids=["of this death", "of a later one that was lost"])
def test_what_was_told_and_is_so_is_over_and_told_again_at_the_next_change(scene, told):
    scene.goes_down("o1")
    fails_and_stays(scene, "o2")
    guard(scene, EventType.GUARD_RAISED, "orphans")
    scene.happens(EventType.HOLD_STARTED, evidence={"reason": "Redis stood still"})
    knows_nothing(scene, down_o1=told, failed_o2=told + 1, guard_orphans=told + 2, hold=told + 3)
    scene.compares()
    scene.passes()
    assert scene.news == []
    scene.comes_back("o1", down_at_ms=None)
    scene.happens(EventType.STATE_CHANGED, "o2", state=State.RUNNING, health=Health.HEALTHY)
    guard(scene, EventType.GUARD_RELEASED, "orphans")
    scene.happens(EventType.HOLD_ENDED, evidence={"reason": "Redis stood still"})
    assert scene.news == ["down resolved o1", "guard resolved orphans", "hold resolved"]
    scene.goes_down("o1")
    fails_and_stays(scene, "o2")
    guard(scene, EventType.GUARD_RAISED, "orphans")
    scene.happens(EventType.HOLD_STARTED, evidence={"reason": "Redis stood still"})
    scene.passes()
    assert scene.news == ["failed firing o2", "guard firing orphans", "hold firing", "down firing o1"]


@pytest.mark.parametrize(
    ("flapping", "news"),
    [(False, ["down resolved o1", "failed firing o2", "down firing o1"]), (True, [])],
    ids=["calm", "flapping"],
)
def test_another_incarnation_that_is_down_or_failed_is_told_of_unless_it_flaps(scene, flapping, news):
    scene.goes_down("o1")
    fails_and_stays(scene, "o2")
    scene.passes()
    told, failed = scene.alarms.told["down:o1"], scene.alarms.told["failed:o2"]
    scene.happens(EventType.SUPERSEDED, "o1", health=Health.HEALTHY, incarnation=20, flapping=flapping, down_at_ms=None)
    scene.goes_down("o1")
    scene.happens(
        EventType.SUPERSEDED, "o2", state=State.RUNNING, health=Health.HEALTHY, incarnation=21, flapping=flapping
    )
    fails_and_stays(scene, "o2")
    knows_nothing(scene, down_o1=told, failed_o2=failed)
    scene.compares()
    scene.passes()
    assert scene.news == news


def test_one_that_flaps_is_not_over_before_it_is_calm(scene):
    scene.flaps("o1", True)
    knows_nothing(scene, down_o1=5, failed_o1=5)
    scene.compares()
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []


def test_what_fails_in_maintenance_is_told_of_when_that_ends_and_it_still_is(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    fails_and_stays(scene, "o1")
    scene.compares()
    assert scene.news == []
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    assert scene.news == ["failed firing o1"]


def test_one_that_was_registered_as_failed_has_not_failed(scene):
    scene.happens(EventType.REGISTERED, "o9", parent_id="p1", state=State.FAILED, health=Health.UNKNOWN)
    scene.compares()
    assert scene.news == []


def test_what_is_so_when_alerts_begin_is_not_told_then_nor_later(scene):
    scene.goes_down("o1")
    scene.happens(EventType.UPDATED, "p2", maintenance=Maintenance())
    scene.goes_down("p2")
    fails_and_stays(scene, "o2")
    guard(scene, EventType.GUARD_RAISED, "orphans")
    knows_nothing(scene)
    scene.alarms.accept(scene.replica)
    scene.passes(10)
    scene.changes_leader()
    scene.passes(10)
    assert scene.news == []
    scene.happens(EventType.UPDATED, "p2", maintenance=None)
    scene.passes()
    scene.comes_back("o1", down_at_ms=None)
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["down firing p2", "down firing o1"]


@pytest.mark.parametrize("before", [0, 1], ids=["all of it is read again", "all but the first"])
def test_what_was_told_before_is_not_told_again_by_who_reads_of_it_again(scene, before):
    first = scene.replica.revision + 1 + before
    for _ in range(2):
        scene.happens(EventType.HOLD_STARTED, reason="Redis stood still")
        scene.happens(EventType.GUARD_RAISED, evidence={"group": "project:p2"})
        fails_and_stays(scene, "o1")
        if len(scene.told) == 3:
            scene.happens(EventType.HOLD_ENDED, reason="Redis works")
            scene.happens(EventType.GUARD_RELEASED, evidence={"group": "project:p2"})
            scene.happens(EventType.STATE_CHANGED, "o1", state=State.STARTING, health=Health.HEALTHY)
    assert scene.news[-3:] == ["hold firing", "guard firing project:p2", "failed firing o1"]
    scene.changes_leader()
    scene.reads_again(first)
    assert scene.news == []


def test_one_whose_restarts_are_used_up_is_not_told_of_again_as_failed(scene):
    scene.happens(EventType.STATE_CHANGED, "o1", state=State.STOPPED, health=Health.UNKNOWN, stopped_at_ms=5)
    scene.happens(EventType.RESTART_EXHAUSTED, "o1", state=State.FAILED)
    assert scene.news == ["exhausted firing o1"]
    scene.compares()
    assert scene.news == []


def test_a_death_that_followed_another_where_the_log_does_not_tell_is_known_as_the_later_one(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    scene.goes_down("o1")
    known, scene.alarms = scene.alarms, Alarms(settle_s=SETTLE_S)
    scene.passes(5)
    scene.comes_back("o1", down_at_ms=None)
    scene.goes_down("o1")
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.alarms = known
    scene.told.clear()
    scene.compares()
    scene.passes()
    assert [(alert.status, alert.at_ms) for alert in scene.told] == [("firing", 5000)]


def test_of_very_many_that_are_due_a_part_is_looked_at_and_those_above_come_first(scene):
    many = [f"o{number}" for number in range(10, 1200)]
    for id in many:
        scene.happens(EventType.REGISTERED, id, parent_id="p1", incarnation=scene.replica.revision + 1)
    scene.goes_down(*many, "p1")
    scene.passes()
    assert scene.told == []
    for _ in range(4):
        scene.passes(0)
    assert scene.news == ["down firing p1"]
