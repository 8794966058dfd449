"""Alarms: which events become alerts, once per condition."""

from typing import Any

import pytest

from hopper.instance.alarms import Alarms
from hopper.instance.replica import Replica
from hopper.model.alert import Alert, AlertPosition
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

SETTLE_S = 1.0
SCOPES = {"g": Scope.GLOBAL, "p": Scope.PROJECT, "o": Scope.ORCHESTRATION}


class Scene:
    """A tree `g` over `p1` and `p2`, over `o1` and `o2`; a clock; and what is told of what happens to them.

    The first letter of an id is that of its scope.
    """

    def __init__(self, **more: Any) -> None:
        self.alarms = Alarms(settle_s=SETTLE_S, **more)
        self.replica = Replica()
        self.now_s = 0.0
        self.told: list[Alert] = []
        for id, parent in {"g": None, "p1": "g", "p2": "g", "o1": "p1", "o2": "p1"}.items():
            self.happens(EventType.REGISTERED, id, parent_id=parent, incarnation=self.replica.revision + 1)

    def happens(
        self,
        kind: EventType,
        id: str | None = None,
        *,
        reason: str = "",
        evidence: dict[str, Any] | None = None,
        at_ms: int | None = None,
        **changes: Any,
    ) -> Event:
        """Let an event come, by which a record gets these values."""
        revision = self.replica.revision + 1
        record, previous = None, {}
        at_ms = int(self.now_s * 1000) if at_ms is None else at_ms
        if id is not None:
            before = self.replica.records.get(id)
            values = {name: getattr(before, name) for name in Record.__slots__} if before else {}
            values |= {"id": id, "name": id, "scope": SCOPES[id[0]], "revision": revision}
            if before is None:
                values |= {"health": Health.HEALTHY, "created_revision": revision}
            record = Record(**(values | changes))
            previous = {name: getattr(before, name) for name in changes} if before else {}
        event = Event(
            revision=revision,
            type=kind,
            id=id,
            at_ms=at_ms,
            record=record,
            previous=previous,
            reason=reason,
            evidence=evidence or {},
        )
        self.replica.apply(event)
        self.told += self.alarms.take(event, self.replica, self.now_s)
        return event

    def goes_down(self, *ids: str, reason: str = "lapsed", **evidence: Any) -> None:
        for id in ids:
            facts = {"deadline_ms": int(self.now_s * 1000), "last_heartbeat_ms": 0, **evidence}
            self.happens(EventType.HEALTH_CHANGED, id, health=Health.DOWN, reason=reason, evidence=facts, down_at_ms=1)

    def comes_back(self, *ids: str, **changes: Any) -> None:
        for id in ids:
            self.happens(EventType.HEALTH_CHANGED, id, health=Health.HEALTHY, reason="heartbeat", **changes)

    def flaps(self, id: str, flapping: bool) -> None:
        self.happens(EventType.UPDATED, id, flapping=flapping)

    def passes(self, seconds: float = SETTLE_S) -> None:
        """Let time pass, and what is due be told."""
        self.now_s += seconds
        self.told += self.alarms.due(self.replica, self.now_s)

    @property
    def news(self) -> list[str]:
        """What was told since this was last asked: `down firing web`."""
        told, self.told = self.told, []
        return [f"{alert.kind} {alert.status} {alert.id or alert.evidence.get('group', '')}".strip() for alert in told]


class Unwalked(dict[str, Record]):
    """Records to be looked up one by one."""

    def values(self) -> Any:
        raise AssertionError("somebody walks over all records")


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    assert made.news == []
    return made


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


# -- those above -------------------------------------------------------------------------------------------------------


def test_those_below_one_that_is_down_are_counted_in_its_alert(scene):
    scene.goes_down("o1", "p1", "o2")
    scene.passes()
    (alert,) = scene.told
    assert scene.news == ["down firing p1"]
    assert alert.evidence["descendants_down"] == 2
    assert "2 below it are down too" in alert.text
    scene.comes_back("o1", "o2", "p1")
    scene.passes()
    assert scene.news == ["down resolved p1"]


def test_one_whose_parent_went_down_later_waits_for_what_becomes_of_that(scene):
    scene.goes_down("o1")
    scene.passes(0.9)
    scene.goes_down("p1")
    scene.passes(0.5)
    assert scene.news == []
    scene.passes(0.5)
    assert scene.news == ["down firing p1"]


def test_one_that_stays_down_after_its_parent_is_back_is_told_of_then(scene):
    scene.goes_down("p1", "o1", "o2")
    scene.passes()
    scene.comes_back("o2", "p1")
    scene.passes()
    assert scene.news == ["down firing p1", "down resolved p1", "down firing o1"]


def test_it_is_told_of_too_where_the_parent_was_back_before_it_was_told(scene):
    scene.goes_down("o1", "p1")
    scene.passes(0.5)
    scene.comes_back("p1")
    scene.passes(10)
    assert scene.news == ["down firing o1"]


def test_one_under_another_parent_is_told_of_alone(scene):
    scene.goes_down("p2", "o1")
    scene.passes()
    assert sorted(scene.news) == ["down firing o1", "down firing p2"]


def test_a_parent_that_flaps_and_is_up_hides_nobody(scene):
    scene.goes_down("p1")
    scene.passes()
    scene.flaps("p1", True)
    scene.comes_back("p1")
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == ["down firing p1", "down firing o1"]


# -- restarts ----------------------------------------------------------------------------------------------------------


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
    assert scene.alarms.reconcile(scene.replica, 77) == []
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


# -- flapping ----------------------------------------------------------------------------------------------------------


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


def test_a_guard_says_what_it_spares_its_group(scene):
    evidence = {"group": "project:p1", "lapsed": 20, "group_size": 30, "ttl_ms": 15_000}
    scene.happens(EventType.GUARD_RAISED, None, evidence=evidence)
    assert scene.told[0].text == (
        "a guard stands over the group 'project:p1': 20 of 30 lapsed within 15 s; its silent ones are suspect, and "
        "none of it is judged down, restarted or reaped"
    )


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


# -- guards and holds --------------------------------------------------------------------------------------------------


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


def test_a_guard_that_stood_before_it_looked_is_known():
    scene = Scene(guards=["project:p1"])
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []


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


# -- another leader ----------------------------------------------------------------------------------------------------


def test_what_was_told_before_is_not_told_again_and_its_end_is(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 7})
    scene.happens(EventType.UPDATED, "o1", version="2")
    scene.goes_down("o1")
    scene.passes()
    assert scene.news == []
    scene.comes_back("o1")
    assert scene.news == ["down resolved o1"]


def test_after_a_gap_the_ends_of_what_is_over_are_told(scene):
    scene.alarms = Alarms(settle_s=SETTLE_S, told={"down:o1": 3, "down:o2": 4, "down:gone": 5, "failed:o1": 6})
    scene.goes_down("o2")
    ends = scene.alarms.reconcile(scene.replica, 77)
    assert [(alert.id, alert.status, alert.revision) for alert in ends] == [
        ("o1", "resolved", 4),
        ("gone", "resolved", 5),
    ]
    assert [alert.document(namespace="n", epoch="e")["at_ms"] for alert in ends] == [0, 77]
    assert ends[1].text == "'gone' is no longer down: it was deregistered"
    assert scene.alarms.told == {"down:o2": 4}


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


def test_a_document_names_the_instance_and_the_event(scene):
    scene.goes_down("o1")
    scene.passes()
    assert scene.told[0].document(namespace="n", epoch="e") == {
        "namespace": "n",
        "alert": "down",
        "status": "firing",
        "id": "o1",
        "name": "o1",
        "scope": "orchestration",
        "parent_id": "p1",
        "reason": "lapsed",
        "evidence": {"deadline_ms": 0, "last_heartbeat_ms": 0},
        "at_ms": 0,
        "revision": 6,
        "epoch": "e",
        "text": "orchestration 'o1' under 'p1' is down since 1970-01-01 00:00:00.000 UTC: "
        "its last heartbeat was at 1970-01-01 00:00:00.000",
    }


def test_a_position_is_read_as_it_was_written():
    position = AlertPosition(epoch="e-1", revision=7, told={"down:o1": 5})
    assert AlertPosition.from_json(position.to_json()) == position
    for broken in (b"17", b"{", b"[]", b'{"epoch": "e", "revision": 1}'):
        with pytest.raises((ValueError, TypeError, KeyError)):
            AlertPosition.from_json(broken)
