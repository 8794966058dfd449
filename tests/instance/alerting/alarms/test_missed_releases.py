"""Releases where a leader changes, the log has a gap or Redis has lost data: the alert stands and ends all the same."""

import copy
from typing import Any

import pytest

from hopper.instance.alerting.alarms import Alarms
from hopper.model.alert import AlertPosition
from hopper.model.event import EventType
from instance.alerting.alarms.guarding import (
    GROUP,
    is_maintained,
    is_registered_again,
    is_removed,
    is_restarted,
    is_suspect,
    leaves,
    raises,
    recovers,
    releases,
)
from instance.alerting.alarms.scene import SETTLE_S


def test_the_alert_stands_under_the_next_leader_too_and_is_over_under_the_same_name(scene):
    revision = leaves(scene, "o1")
    known = AlertPosition(epoch="e", revision=0, told=scene.alarms.told, releases=scene.alarms.releases)
    handed = AlertPosition.from_json(known.to_json())
    scene.alarms = Alarms(settle_s=SETTLE_S, told=handed.told, releases=handed.releases)
    scene.compares()
    scene.passes(10)
    assert scene.news == ["guard firing project:p1"]
    recovers(scene, "o1")
    assert scene.told[0].delivery(epoch="e") == f"e-{revision}-guard-resolved"
    assert scene.told[0].evidence["left_down"] == 1


@pytest.mark.parametrize("again", range(1, 14))
def test_who_reads_again_tells_nothing_else_from_wherever_it_reads(scene, again):
    """Whatever of the log another leader reads a second time, the names of what it tells are known."""
    is_maintained(scene, "o2")
    leaves(scene, "o1", "o2")
    recovers(scene, "o1")
    scene.happens(EventType.UPDATED, "o2", maintenance=None)
    scene.passes()
    names = {alert.delivery(epoch="e") for alert in scene.told}
    told = dict(scene.alarms.told)
    scene.told.clear()
    scene.is_led_by_another()
    scene.reads_again(scene.replica.revision - again + 1)
    scene.compares()
    scene.passes()
    assert {alert.delivery(epoch="e") for alert in scene.told} <= names
    assert scene.alarms.told == told


def test_an_end_that_is_decided_and_not_delivered_is_told_by_the_next_leader_under_the_same_name(scene):
    revision = leaves(scene, "o1")
    told = dict(scene.alarms.told)
    recovers(scene, "o1")
    first = scene.told[-1]
    scene.alarms = Alarms(settle_s=SETTLE_S, told=told, releases=scene.alarms.releases)
    scene.told.clear()
    scene.compares()
    assert scene.told[0].delivery(epoch="e") == first.delivery(epoch="e") == f"e-{revision}-guard-resolved"
    assert scene.told[0].text == first.text


def test_such_an_end_is_told_as_it_was_also_where_another_guard_was_raised_since(scene):
    leaves(scene, "o1")
    told, revision = dict(scene.alarms.told), scene.replica.revision
    recovers(scene, "o1")
    first, known = scene.told[-1], scene.alarms.releases
    raises(scene)
    scene.alarms = Alarms(settle_s=SETTLE_S, told=told, releases=known)
    scene.told.clear()
    scene.reads_again(revision + 1)
    scene.compares()
    end, _ = scene.told
    assert (end.delivery(epoch="e"), end.text) == (first.delivery(epoch="e"), first.text)
    assert end.evidence == first.evidence
    assert scene.news == ["guard resolved project:p1", "guard firing project:p1"]
    releases(scene)
    assert scene.news == ["guard resolved project:p1"]


def test_a_release_that_was_missed_leaves_those_that_are_silent_when_that_is_found(scene):
    raises(scene)
    is_suspect(scene, "o1", "o2")
    scene.deaf = True
    releases(scene)
    scene.goes_down("o1")
    scene.deaf = False
    scene.compares()
    scene.passes()
    assert scene.news == ["guard firing project:p1"]
    scene.changes_leader()
    recovers(scene, "o1")
    scene.goes_down("o2")
    scene.passes()
    assert scene.news == []
    recovers(scene, "o2")
    (alert,) = scene.told
    assert alert.text == "the guard over the group 'project:p1' is released; the 2 that it left silent are back or gone"
    assert alert.delivery(epoch="e") == "e-project:p1@6-guard-resolved"


def test_so_it_does_where_the_guard_was_found_only_after_its_verdicts(scene):
    scene.deaf = True
    raises(scene)
    is_suspect(scene, "o1", "o2")
    scene.compares()
    releases(scene)
    scene.compares()
    scene.deaf = False
    scene.goes_down("o1", "o2")
    scene.passes()
    assert scene.news == ["guard firing project:p1"]
    recovers(scene, "o1")
    recovers(scene, "o2")
    assert scene.news == ["guard resolved project:p1"]


@pytest.mark.parametrize("ends", [recovers, is_registered_again, is_removed, is_maintained, is_restarted])
def test_an_end_that_was_missed_is_found(scene, ends):
    revision = leaves(scene, "o1")
    scene.deaf = True
    ends(scene, "o1")
    scene.deaf = False
    scene.told.clear()
    scene.compares()
    assert scene.told[0].delivery(epoch="e") == f"e-{revision}-guard-resolved"
    assert scene.news == ["guard resolved project:p1"]


def test_what_cannot_be_read_is_awaited(scene):
    leaves(scene, "o1")
    scene.told.clear()
    scene.replica.remove("o1", scene.replica.revision)
    scene.replica.unreadable["o1"] = "its scope is 'moon'"
    scene.compares()
    assert scene.news == []


def test_after_lost_data_with_lower_revisions_the_alert_ends_and_another_guard_is_told(scene):
    leaves(scene, "o1")
    known: Any = scene.alarms.releases[GROUP]
    later = {GROUP: type(known)(**{name: getattr(known, name) for name in type(known).__slots__} | {"revision": 500})}
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"guard:project:p1": 490}, releases=later)
    scene.told.clear()
    scene.compares()
    recovers(scene, "o1")
    assert scene.told[0].delivery(epoch="e") == "e-project:p1@490-guard-resolved"
    leaves(scene, "o1")
    recovers(scene, "o1")
    assert scene.news == ["guard resolved project:p1", "guard firing project:p1", "guard resolved project:p1"]


def test_after_lost_data_a_release_that_was_over_hides_no_release_of_a_lower_revision(scene):
    raises(scene)
    before = copy.deepcopy(scene.replica)
    is_suspect(scene, "o1")
    releases(scene)
    recovers(scene, "o1")
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"]
    scene.replica = before
    scene.compares()
    assert scene.news == ["guard firing project:p1"]
    releases(scene)
    assert scene.news == ["guard resolved project:p1"]


def test_whom_a_guard_left_of_which_nobody_was_told_is_told_of(scene):
    leaves(scene, "o1")
    scene.told.clear()
    scene.alarms = Alarms(settle_s=SETTLE_S, releases=scene.alarms.releases)
    scene.compares()
    scene.passes()
    assert scene.news == ["down firing o1"]
