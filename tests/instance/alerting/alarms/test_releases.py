"""Releases: the alert of a guard stands until nobody whom it left is silent any more, and is then over."""

import copy
from typing import Any

import pytest

from hopper.instance.alerting.alarms import Alarms
from hopper.model.alert import AlertPosition
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import SETTLE_S, Scene, Unwalked

GROUP = "project:p1"


def raises(scene: Scene, group: str = GROUP) -> None:
    evidence = {"group": group, "lapsed": 9, "group_size": 40, "since_ms": int(scene.now_s * 1000), "ttl_ms": 1000}
    scene.happens(EventType.GUARD_RAISED, evidence=evidence)


def releases(scene: Scene, group: str = GROUP) -> int:
    event = scene.happens(EventType.GUARD_RELEASED, evidence=scene.replica.guards[group], reason="after 5 TTLs")
    return event.revision


def is_suspect(scene: Scene, *ids: str) -> None:
    for id in ids:
        scene.happens(EventType.HEALTH_CHANGED, id, health=Health.SUSPECT, down_at_ms=None, reason="guard")


def leaves(scene: Scene, *ids: str, group: str = GROUP) -> int:
    """Let a guard be raised and released over these, who are silent then and judged right after."""
    raises(scene, group)
    is_suspect(scene, *ids)
    lapsed_ms = int(scene.now_s * 1000)
    scene.passes(5)
    revision = releases(scene, group)
    scene.goes_down(*ids, deadline_ms=lapsed_ms)
    scene.passes()
    return revision


def recovers(scene: Scene, id: str) -> None:
    scene.comes_back(id, down_at_ms=None)


def is_stopped(scene: Scene, id: str) -> None:
    scene.happens(EventType.STATE_CHANGED, id, state=State.STOPPED, health=Health.UNKNOWN)


def is_registered_again(scene: Scene, id: str) -> None:
    changes = {"state": State.RUNNING, "health": Health.HEALTHY, "down_at_ms": None}
    scene.happens(EventType.SUPERSEDED, id, incarnation=scene.replica.revision + 1, **changes)


def is_removed(scene: Scene, id: str) -> None:
    scene.happens(EventType.DEREGISTERED, id)


def is_maintained(scene: Scene, id: str) -> None:
    scene.happens(EventType.UPDATED, id, maintenance=Maintenance())


def is_claimed(scene: Scene, id: str) -> None:
    scene.happens(EventType.RESTART_CLAIMED, id, state=State.FAILED, health=Health.UNKNOWN, stopped_at_ms=1)


def is_restarted(scene: Scene, id: str) -> None:
    is_claimed(scene, id)
    is_registered_again(scene, id)


ENDS = [recovers, is_stopped, is_registered_again, is_removed, is_maintained, is_restarted]


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


# -- leaders, gaps, lost data ------------------------------------------------------------------------------------------


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
