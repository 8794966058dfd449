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


def test_after_a_clock_that_is_set_back_a_released_guard_hides_no_death(scene):
    scene.passes(7200)
    guard(scene, EventType.GUARD_RAISED, "project:p1")
    guard(scene, EventType.GUARD_RELEASED, "project:p1")
    back_ms = int(scene.now_s * 1000) - 3_600_000
    facts = {"deadline_ms": back_ms}
    scene.happens(EventType.HEALTH_CHANGED, "o1", health=Health.DOWN, reason="lapsed", evidence=facts, at_ms=back_ms)
    scene.passes()
    assert scene.news == ["guard firing project:p1", "guard resolved project:p1", "down firing o1"]


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
