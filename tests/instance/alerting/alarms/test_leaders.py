"""Another leader: what was told before it is not told again, and what is over is."""

import dataclasses

import pytest

from hopper.instance.alerting.alarms import Alarms
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import SETTLE_S
from instance.alerting.alarms.test_failures import fails_and_stays
from instance.alerting.alarms.test_guards import guard
from instance.alerting.alarms.test_restarts import claims


def test_what_was_told_before_is_not_told_again_and_its_end_is(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 7})
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []
    scene.comes_back("o1")
    assert scene.news == ["down resolved o1"]


def test_after_a_gap_the_ends_of_what_is_over_are_told(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 3, "down:o2": 5, "down:gone": 5, "failed:o1": 6})
    scene.goes_down("o2")
    ends = scene.alarms.reconcile(scene.replica, scene.now_s, 77)
    assert [(alert.id, alert.status, alert.revision) for alert in ends] == [
        ("o1", "resolved", 4),
        ("gone", "resolved", 5),
    ]
    assert [alert.document(namespace="n", epoch="e")["at_ms"] for alert in ends] == [0, 77]
    assert ends[1].text == "'gone' is no longer down: it was deregistered"
    assert [alert.delivery(epoch="e") for alert in ends] == ["e-4-down-resolved", "e-gone@5-down-resolved"]
    assert scene.alarms.told == {"down:o2": 5}


def test_one_that_lives_where_the_log_did_not_tell_is_known_as_dead_no_more(scene):
    scene.goes_down("o1", "o2")
    scene.replica.put(dataclasses.replace(scene.replica.records["o1"], health=Health.HEALTHY, revision=9))
    assert set(scene.alarms.deaths) == {"o1", "o2"}
    scene.compares()
    assert set(scene.alarms.deaths) == {"o2"}


@pytest.mark.parametrize("kind", [EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED], ids=["claimed", "exhausted"])
def test_a_child_that_is_failed_by_its_claim_is_told_of_by_the_next_leader_when_its_parent_is_back(scene, kind):
    scene.goes_down("p1", "o1")
    claims(scene, "o1", kind)
    scene.passes()
    scene.told.clear()
    scene.changes_leader()
    scene.passes()
    assert scene.news == []
    scene.comes_back("p1")
    scene.passes()
    assert scene.news == ["down resolved p1", "down firing o1"]


def test_one_that_was_down_and_failed_by_itself_is_not_told_of_as_down_by_the_next_leader(scene):
    scene.goes_down("o1")
    fails_and_stays(scene, "o1")
    scene.changes_leader()
    scene.passes()
    assert scene.news == ["failed firing o1"]


def test_one_that_flaps_and_whose_failure_was_told_is_told_of_as_down_by_the_next_leader(scene):
    scene.flaps("o1", True)
    fails_and_stays(scene, "o1")
    scene.happens(EventType.STATE_CHANGED, "o1", state=State.STARTING, health=Health.HEALTHY)
    scene.goes_down("o1")
    claims(scene)
    scene.changes_leader()
    scene.passes()
    assert scene.news == ["failed firing o1", "down firing o1"]


def test_who_reads_that_one_failed_by_itself_does_not_hold_to_the_death_that_was_handed_over(scene):
    scene.goes_down("o1")
    known = scene.alarms.deaths
    fails_and_stays(scene, "o1")
    scene.flaps("o1", True)
    scene.told.clear()
    scene.alarms = Alarms(settle_s=SETTLE_S, deaths=known)
    scene.reads_again(scene.replica.revision - 1)
    scene.compares()
    scene.passes()
    assert scene.news == ["failed firing o1"]


def test_a_released_guard_hides_nobody_once_the_clock_was_set_back_behind_it(scene):
    scene.passes(7200)
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    scene.changes_leader()
    scene.now_s -= 3600
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["guard resolved project:p1", "down firing o1"]


@pytest.mark.parametrize("changes", [False, True], ids=["the same leader", "another leader"])
def test_one_death_has_one_delivery_whatever_changes_of_the_instance_and_whoever_leads(scene, changes):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    scene.goes_down("o1", lateness_ms=4)
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.passes()
    if changes:
        scene.changes_leader()
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    (alert,) = scene.told
    assert (alert.delivery(epoch="e"), alert.reason) == ("e-7-down-firing", "lapsed")
    assert alert.evidence == {"deadline_ms": 0, "last_heartbeat_ms": 0, "lateness_ms": 4}


def test_of_a_death_whose_verdict_the_log_has_lost_the_time_is_told(scene):
    scene.goes_down("o1")
    scene.log.clear()
    scene.alarms = Alarms(settle_s=SETTLE_S)
    scene.compares()
    scene.passes()
    (alert,) = scene.told
    assert (alert.reason, alert.evidence, alert.at_ms) == ("resync", {}, 0)
    assert alert.text == "orchestration 'o1' under 'p1' is down since 1970-01-01 00:00:00.000 UTC"


def test_the_death_that_another_leader_knew_is_not_taken_for_a_later_one(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    scene.goes_down("o1")
    known = scene.alarms.deaths
    scene.passes(5)
    scene.comes_back("o1", down_at_ms=None)
    scene.goes_down("o1")
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.alarms = Alarms(settle_s=SETTLE_S, deaths=known)
    scene.compares()
    scene.passes()
    (alert,) = scene.told
    assert (alert.revision, alert.at_ms) == (10, 5000)


def test_the_oldest_thing_undecided_is_where_another_leader_must_begin(scene):
    assert scene.alarms.oldest_origin is None
    scene.goes_down("o1")
    scene.passes(0.5)
    scene.goes_down("o2")
    assert scene.alarms.oldest_origin == 6
    scene.passes(0.5)
    assert scene.alarms.oldest_origin == 7
    scene.passes(0.5)
    assert scene.alarms.oldest_origin is None
