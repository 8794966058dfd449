"""Guards and holds: these are told of, and not those whom they spare."""

import pytest

from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from instance.alerting.alarms.scene import Scene, Unwalked


def guard(scene: Scene, kind: EventType, group: str) -> None:
    evidence = {"group": group, "lapsed": 9, "group_size": 40, "since_ms": 1, "ttl_ms": 1000}
    scene.happens(kind, evidence=evidence, reason="settled" if kind is EventType.GUARD_RELEASED else "lapsed")


def test_under_a_guard_only_the_guard_is_told(scene):
    scene.goes_down("o1", "o2", "p2")
    scene.passes(0.5)
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    assert "9 of 40" in scene.told[-1].text
    scene.passes()
    assert scene.news == ["guard firing project:p1", "down firing p2"]


def test_a_guard_says_what_it_spares_its_group(scene):
    evidence = {"group": "project:p1", "lapsed": 20, "group_size": 30, "ttl_ms": 15_000}
    scene.happens(EventType.GUARD_RAISED, None, evidence=evidence)
    assert scene.told[0].text == (
        "a guard stands over the group 'project:p1': 20 of 30 lapsed within 15 s; its silent ones are suspect, and "
        "none of it is judged down, restarted or reaped"
    )


def test_those_that_lapsed_under_a_guard_are_not_told_of_after_it_but_counted_in_its_end(scene):
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    for id in ("o1", "o2"):
        scene.happens(EventType.HEALTH_CHANGED, id, health=Health.SUSPECT, reason="guard")
    lapsed_ms = int(scene.now_s * 1000)
    scene.passes(5)
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    assert scene.told[-1].evidence["left_down"] == 2
    assert "2 of it are still suspect or down" in scene.told[-1].text
    scene.goes_down("o1", deadline_ms=lapsed_ms)
    scene.goes_down("o2", reason="guard")
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"]
    scene.comes_back("o1")
    scene.passes(5)
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["down firing o1"]


def test_after_a_clock_that_is_set_back_a_released_guard_hides_no_death(scene):
    scene.passes(7200)
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    back_ms = int(scene.now_s * 1000) - 3_600_000
    facts = {"deadline_ms": back_ms}
    scene.happens(EventType.HEALTH_CHANGED, "o1", health=Health.DOWN, reason="lapsed", evidence=facts, at_ms=back_ms)
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1", "down firing o1"]


def test_one_that_a_guard_left_down_in_maintenance_is_not_told_of_after_another_guard_either(scene):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    for down in ("o1", None):
        evidence = {"group": "project:p1", "since_ms": int(scene.now_s * 1000), "ttl_ms": 1000}
        scene.happens(EventType.GUARD_RAISED, evidence=evidence)
        scene.passes(5)
        scene.happens(EventType.GUARD_RELEASED, evidence=evidence)
        if down is not None:
            scene.goes_down(down, deadline_ms=4999)
        scene.passes(60)
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"] * 2


def test_a_guard_hides_whom_it_left_down_though_the_clock_was_set_back_while_it_stood(scene):
    scene.passes(7200)
    evidence = {"group": "project:p1", "since_ms": int(scene.now_s * 1000), "ttl_ms": 1000}
    scene.happens(EventType.GUARD_RAISED, evidence=evidence)
    scene.now_s -= 3600
    scene.happens(EventType.GUARD_RELEASED, evidence=evidence)
    scene.goes_down("o1", deadline_ms=int(scene.now_s * 1000) - 500)
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1"]


def test_the_release_of_another_guard_does_not_tell_of_those_that_lapsed_under_the_first(scene):
    scene.passes(10)
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    lapsed_ms = int(scene.now_s * 1000)
    scene.passes(5)
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    guard(scene, EventType.GUARD_RELEASED, "orphans")
    scene.goes_down("o1", deadline_ms=lapsed_ms)
    scene.passes()
    assert scene.news[2:] == ["guard resolved orphans"]


def test_a_release_is_forgotten_once_another_follows_it_hours_later(scene):
    scene.passes(10)
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    scene.passes(7200)
    guard(scene, EventType.GUARD_RELEASED, "orphans")
    scene.goes_down("o1", deadline_ms=0)
    scene.passes()
    assert scene.news[2:] == ["down firing o1"]


@pytest.mark.parametrize(("group", "left"), [("global", 4), ("orphans", 1), ("project:p1", 2), ("project:p2", 0)])
def test_the_end_of_a_guard_counts_those_of_its_group_without_a_walk_over_all_records(scene, group, left, monkeypatch):
    scene.happens(EventType.REGISTERED, "o9")
    scene.goes_down("g", "p1", "o1", "o9")
    scene.happens(EventType.HEALTH_CHANGED, "o2", health=Health.SUSPECT)
    monkeypatch.setattr(scene.replica, "records", Unwalked(scene.replica.records))
    guard(scene, EventType.GUARD_RELEASED, group)
    assert scene.told[-1].evidence.get("left_down", 0) == left


def test_the_alert_of_a_global_looks_only_at_what_is_down(scene, monkeypatch):
    scene.goes_down("g", "o1")
    monkeypatch.setattr(scene.replica, "records", Unwalked(scene.replica.records))
    monkeypatch.setattr(scene.replica, "descendants", None)
    scene.passes()
    assert scene.told[-1].evidence["descendants_down"] == 1


@pytest.mark.parametrize(
    ("group", "hidden"), [("global", {"p1", "o1", "o2"}), ("orphans", {"o9"}), ("project:p2", set())]
)
def test_a_guard_hides_its_own_group(scene, group, hidden):
    scene.happens(EventType.REGISTERED, "o9")
    guard(scene, EventType.GUARD_RAISED, group)
    assert scene.news == [f"guard firing {group}"]
    everybody = {"p1", "o1", "o2", "o9"}
    for id in sorted(everybody):
        scene.goes_down(id)
        scene.passes()
        scene.comes_back(id)
        scene.passes(10)
    assert {word.split()[-1] for word in scene.news} == everybody - hidden


def test_a_guard_of_which_the_log_did_not_tell_is_known(scene):
    scene.replica.guards["project:p1"] = {}
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []


def test_a_guard_that_was_released_where_the_log_does_not_tell_hides_nobody(scene):
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    scene.replica.guards.clear()
    scene.compares()
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1", "down firing o1"]


@pytest.mark.parametrize("stands", [True, False], ids=["which stands", "which was released"])
def test_one_that_was_down_long_before_a_guard_is_not_hidden_by_it(scene, stands):
    scene.happens(EventType.UPDATED, "o1", maintenance=Maintenance())
    scene.goes_down("o1")
    scene.passes(60)
    evidence = {"group": "project:p1", "since_ms": int(scene.now_s * 1000), "ttl_ms": 1000}
    scene.happens(EventType.GUARD_RAISED, evidence=evidence)
    if not stands:
        scene.passes(5)
        scene.happens(EventType.GUARD_RELEASED, evidence=evidence)
    scene.happens(EventType.UPDATED, "o1", maintenance=None)
    scene.passes()
    assert scene.news[-1] == "down firing o1"


def test_holds_are_told_of_but_for_the_routine_one(scene):
    for reason in ("leadership", "Redis stood still for 900 ms"):
        facts = {"reason": reason, "since_ms": 0}
        scene.happens(EventType.HOLD_STARTED, reason=reason, evidence=facts)
        scene.happens(EventType.HOLD_ENDED, reason="Redis works", evidence=facts)
    assert [alert.text for alert in scene.told] == [
        "nobody is judged any more: Redis stood still for 900 ms",
        "instances are judged again after a hold since 1970-01-01 00:00:00.000 UTC: Redis works",
    ]
    assert scene.news == ["hold firing", "hold resolved"]
