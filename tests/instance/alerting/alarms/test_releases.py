"""Releases: the alert of a guard stands until nobody whom it left is silent any more, and is then over."""

import pytest

from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.state import State
from instance.alerting.alarms.guarding import (
    ENDS,
    GROUP,
    is_claimed,
    is_maintained,
    is_suspect,
    leaves,
    raises,
    recovers,
    releases,
)
from instance.alerting.alarms.scene import Unwalked


def test_a_guard_that_leaves_nobody_is_over_with_its_release(scene):
    raises(scene)
    is_suspect(scene, "o1")
    recovers(scene, "o1")
    revision = releases(scene)
    (alert,) = scene.told[1:]
    assert alert.text == "the guard over the group 'project:p1' is released: after 5 TTLs"
    assert (alert.delivery(epoch="e"), alert.at_ms) == (f"e-{revision}-guard-resolved", 0)
    assert "left_down" not in alert.evidence


@pytest.mark.parametrize("ends", ENDS)
def test_the_alert_of_a_guard_stands_until_all_that_it_left_are_back_or_gone(scene, ends):
    revision = leaves(scene, "o1", "o2")
    assert scene.news == ["guard firing project:p1"]
    ends(scene, "o1")
    scene.passes(100)
    assert scene.news == []
    ends(scene, "o2")
    (alert,) = scene.told
    assert alert.text == (
        "the guard over the group 'project:p1' was released at 1970-01-01 00:00:05.000 UTC: after 5 TTLs; "
        "the 2 that it left silent are back or gone"
    )
    assert (alert.delivery(epoch="e"), alert.reason) == (f"e-{revision}-guard-resolved", "after 5 TTLs")
    assert (alert.at_ms, alert.revision) == (106_000, scene.replica.revision)
    assert {name: alert.evidence[name] for name in ("group", "lapsed", "left_down", "released_at_ms")} == {
        "group": GROUP,
        "lapsed": 9,
        "left_down": 2,
        "released_at_ms": 5_000,
    }
    assert scene.news == ["guard resolved project:p1"]


def test_the_claim_of_a_restart_ends_it_for_nobody(scene):
    leaves(scene, "o1")
    is_claimed(scene, "o1")
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.passes(10)
    assert scene.news == ["guard firing project:p1"]


def test_one_that_fails_by_itself_has_an_alert_of_its_own(scene):
    leaves(scene, "o1")
    scene.happens(EventType.STATE_CHANGED, "o1", state=State.FAILED, health=Health.UNKNOWN, stopped_at_ms=1)
    assert scene.news == ["guard firing project:p1", "failed firing o1", "guard resolved project:p1"]


def test_one_that_was_back_and_dies_again_is_told_of_by_itself(scene):
    leaves(scene, "o1", "o2")
    recovers(scene, "o1")
    scene.passes()
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["guard firing project:p1", "down firing o1"]
    recovers(scene, "o2")
    assert scene.news == ["guard resolved project:p1"]


def test_one_that_had_lapsed_before_the_release_and_is_judged_after_it_joins_those_that_were_left(scene):
    raises(scene)
    is_suspect(scene, "o1")
    scene.passes(5)
    releases(scene)
    scene.goes_down("o2", deadline_ms=4_999)
    scene.passes()
    recovers(scene, "o1")
    assert scene.news == ["guard firing project:p1"]
    recovers(scene, "o2")
    assert scene.told[0].evidence["left_down"] == 2
    assert scene.news == ["guard resolved project:p1"]


def test_one_that_is_judged_after_the_alert_is_over_is_told_of(scene):
    raises(scene)
    scene.passes(5)
    releases(scene)
    scene.goes_down("o1", deadline_ms=4_999)
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1", "down firing o1"]


@pytest.mark.parametrize("elsewhere", ["before", "of itself", "in another group"])
def test_it_does_not_wait_for_those_that_were_not_left_by_it(scene, elsewhere):
    match elsewhere:
        case "before":
            scene.happens(EventType.UPDATED, "o1", flapping=True)
            scene.goes_down("p1", "o1")
            scene.passes()
        case "of itself":
            scene.goes_down("o1")
            scene.passes()
    scene.told.clear()
    scene.passes(60)
    raises(scene)
    if elsewhere == "in another group":
        is_suspect(scene, "p2")
    releases(scene)
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"]


def test_one_whose_death_is_told_already_is_not_waited_for_though_the_guard_took_it_back(scene):
    scene.goes_down("o1")
    scene.passes()
    raises(scene)
    is_suspect(scene, "o1")
    releases(scene)
    assert scene.news == ["down firing o1", "guard firing project:p1", "guard resolved project:p1"]


def test_one_that_leaves_its_guarded_group_is_told_of_if_it_is_down(scene):
    raises(scene)
    scene.goes_down("o1")
    scene.passes()
    scene.happens(EventType.PARENT_CHANGED, "o1", parent_id="p2")
    scene.passes()
    assert scene.news == ["guard firing project:p1", "down firing o1"]


def test_one_that_moves_after_the_release_is_still_one_that_was_left(scene):
    leaves(scene, "o1")
    scene.happens(EventType.PARENT_CHANGED, "o1", parent_id="p2")
    scene.passes()
    assert scene.news == ["guard firing project:p1"]
    recovers(scene, "o1")
    assert scene.news == ["guard resolved project:p1"]


@pytest.mark.parametrize(("group", "ids"), [("global", ["g", "p1", "o1"]), ("orphans", ["o9"]), (GROUP, ["o1"])])
def test_whom_a_guard_left_is_found_without_a_walk_over_all_records(scene, group, ids, monkeypatch):
    scene.happens(EventType.REGISTERED, "o9")
    raises(scene, group)
    is_suspect(scene, "g", "p1", "o1", "o9")
    monkeypatch.setattr(scene.replica, "records", Unwalked(scene.replica.records))
    releases(scene, group)
    assert set(scene.alarms.releases[group].left) == set(ids)


@pytest.mark.parametrize("first", ["global", GROUP])
def test_of_two_guards_around_one_that_of_its_own_group_tells_of_it(scene, first):
    for group in (GROUP, "global"):
        raises(scene, group)
    is_suspect(scene, "o1", "p2")
    releases(scene, first)
    releases(scene, "global" if first == GROUP else GROUP)
    assert {group: set(one.left) for group, one in scene.alarms.releases.items()} == {GROUP: {"o1"}, "global": {"p2"}}


def test_a_guard_that_follows_takes_over_whom_the_one_before_has_left(scene):
    revision = leaves(scene, "o1")
    scene.passes(60)
    raises(scene)
    is_suspect(scene, "o2")
    assert scene.told[1].text == (
        "the guard over the group 'project:p1' was released at 1970-01-01 00:00:05.000 UTC: after 5 TTLs; "
        "another one stands over it since, and tells of the 1 that were silent then"
    )
    assert scene.told[1].delivery(epoch="e") == f"e-{revision}-guard-resolved"
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1", "guard firing project:p1"]
    second = releases(scene)
    recovers(scene, "o2")
    assert scene.news == []
    recovers(scene, "o1")
    assert scene.told[0].delivery(epoch="e") == f"e-{second}-guard-resolved"
    assert scene.news == ["guard resolved project:p1"]


def test_those_that_come_back_under_the_guard_that_follows_end_nothing(scene):
    leaves(scene, "o1")
    raises(scene)
    scene.told.clear()
    recovers(scene, "o1")
    assert scene.news == []
    releases(scene)
    assert scene.news == ["guard resolved project:p1"]


# -- maintenance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", ["before the guard", "under the guard", "after the guard"])
def test_whom_a_guard_left_in_maintenance_is_told_of_when_that_ends_and_it_is_still_down(scene, begins):
    if begins == "before the guard":
        is_maintained(scene, "o1")
    raises(scene)
    is_suspect(scene, "o1")
    if begins == "under the guard":
        is_maintained(scene, "o1")
    releases(scene)
    scene.goes_down("o1", deadline_ms=-1)
    if begins == "after the guard":
        is_maintained(scene, "o1")
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"]
    scene.changes_leader()
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    assert scene.news == ["down firing o1"]


def test_unless_the_alert_of_the_guard_still_stands_for_others(scene):
    is_maintained(scene, "o1")
    leaves(scene, "o1", "o2")
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    recovers(scene, "o2")
    scene.passes()
    assert scene.news == ["guard firing project:p1"]
    recovers(scene, "o1")
    assert scene.news == ["guard resolved project:p1"]
