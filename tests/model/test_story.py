"""Stories: what one event means, in a sentence."""

from typing import Any

import pytest

from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State
from hopper.model.story import moment, tell

AT_MS = 1_795_377_295_782

ENDED = "its heartbeat of 2026-11-22 19:54:55.782 ended at 2026-11-22 19:55:10.782"

LAPSE = {
    "last_heartbeat_ms": AT_MS,
    "deadline_ms": AT_MS + 15_000,
    "lateness_ms": 4,
    "lapsed": 1,
    "group_size": 30,
    "monitor": "m",
}


def event(kind: EventType, *, previous: Any = None, reason: str = "", actor: str = "", **more: Any) -> Event:
    evidence = more.pop("evidence", {})
    record = Record(**{"id": "run", "name": "nightly", "scope": Scope.ORCHESTRATION, **more})
    return Event(
        revision=7, type=kind, id="run", at_ms=AT_MS, record=record, previous=previous or {}, reason=reason,
        actor=actor, evidence=evidence,
    )  # fmt: skip


STORIES: dict[str, tuple[Event, str]] = {
    "a heartbeat that was cut short": (
        event(
            EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.DOWN, reason="lapsed",
            evidence={**LAPSE, "last_heartbeat_ms": None},
        ),
        "healthy -> down: its heartbeat was gone at 2026-11-22 19:55:10.782, and when it was written is not known",
    ),
    "a check that failed": (
        event(
            EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.DOWN, reason="check",
            evidence={**LAPSE, "lapsed": 2, "last_heartbeat_ms": None, "reasons": ["its check failed once: refused"]},
        ),
        "healthy -> down: its check failed once: refused, with 1 more of the 30 in its group",
    ),
    "registered": (
        event(EventType.REGISTERED, parent_id="web", actor="api"),
        "registered as orchestration 'nightly' under 'web', running, by api",
    ),
    "an orphan": (
        event(EventType.REGISTERED, state=State.CREATED),
        "registered as orchestration 'nightly', created",
    ),
    "superseded": (
        event(EventType.SUPERSEDED, previous={"incarnation": 3}, incarnation=7),
        "registered again as incarnation 7, superseding 3",
    ),
    "linked": (event(EventType.PARENT_CHANGED, previous={"parent_id": None}, parent_id="web"), "put under 'web'"),
    "moved": (
        event(EventType.PARENT_CHANGED, previous={"parent_id": "a"}, parent_id="b", reason="reparent"),
        "moved from 'a' to 'b' (reparent)",
    ),
    "unlinked": (event(EventType.PARENT_CHANGED, previous={"parent_id": "a"}), "taken from 'a': an orphan"),
    "a state": (
        event(EventType.STATE_CHANGED, previous={"state": "running"}, state=State.PAUSED, actor="cli", reason="lunch"),
        "running -> paused, by cli (lunch)",
    ),
    "down": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.DOWN, reason="lapsed",
            actor="monitor", evidence=LAPSE),
        f"healthy -> down: {ENDED} and was found gone 4 ms later, by monitor",
    ),
    "down with others": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.SUSPECT, reason="grace",
            evidence=LAPSE | {"lapsed": 3}),
        (f"healthy -> suspect: {ENDED} and was found gone 4 ms later with 2 more of the 30 in its group"
        "; it is in its grace"),
    ),
    "down with others of a group that is named": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.SUSPECT, reason="guard",
            evidence=LAPSE | {"lapsed": 5, "group_size": 40, "group": "global", "noticed_ms": AT_MS + 15_002}),
        (f"healthy -> suspect: {ENDED} and was found gone 4 ms later with 4 more of the 40 in the group 'global'"
        "; the group 'global' is guarded, since so many lapsed together"),
    ),
    "guarded, and no group is named": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.SUSPECT, reason="guard",
            evidence=LAPSE),
        (f"healthy -> suspect: {ENDED} and was found gone 4 ms later"
        "; its group is guarded, since so many lapsed together"),
    ),
    "a verdict that waited": (
        event(EventType.HEALTH_CHANGED, previous={"health": "suspect"}, health=Health.DOWN, reason="lapsed",
            evidence=LAPSE | {"lateness_ms": 81_050, "noticed_ms": AT_MS + 15_006}),
        f"suspect -> down: {ENDED} and was found gone 6 ms later, and this verdict given 81044 ms after that",
    ),
    "a late verdict of which it is not known whether it waited": (
        event(EventType.HEALTH_CHANGED, previous={"health": "suspect"}, health=Health.DOWN, reason="lapsed",
            evidence=LAPSE | {"lateness_ms": 81_050}),
        f"suspect -> down: {ENDED} and was judged gone 81050 ms later",
    ),
    "over a threshold": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.DEGRADED, reason="thresholds",
            evidence={"metric": "queue_depth", "value": 7, "limit": 5,
                "reasons": ["queue_depth is 7, at or over 5 (degraded)", "error_rate is 1, at or over 1 (degraded)"]}),
        "healthy -> degraded: queue_depth is 7, at or over 5 (degraded); error_rate is 1, at or over 1 (degraded)",
    ),
    "over none any more": (
        event(EventType.HEALTH_CHANGED, previous={"health": "degraded"}, health=Health.HEALTHY, reason="thresholds",
            evidence={"monitor": "m"}),
        "degraded -> healthy: its metrics are over no threshold",
    ),
    "by a check": (
        event(EventType.HEALTH_CHANGED, previous={"health": "healthy"}, health=Health.UNHEALTHY, reason="check"),
        "healthy -> unhealthy: check",
    ),
    "recovered": (
        event(EventType.HEALTH_CHANGED, previous={"health": "down"}, health=Health.HEALTHY, reason="heartbeat"),
        "down -> healthy: it heartbeats again",
    ),
    "updated": (
        event(EventType.UPDATED, previous={"version": None, "tags": ["a"]}, version="2", tags=("b",)),
        'updated: version none -> 2, tags ["a"] -> ["b"]',
    ),
    "leaving": (
        event(EventType.UPDATED, previous={"leaving": None},
            leaving=Departure(children=ChildrenMode.REPARENT, reparent_to="heir")),
        "its removal began: its children move to 'heir'",
    ),
    "staying": (
        event(EventType.UPDATED, previous={"leaving": {"children": "cascade"}}, reason="no room"),
        "no longer being removed (no room)",
    ),
    "removed": (event(EventType.DEREGISTERED, reason="operator"), "deregistered (operator)"),
    "removed with its root": (
        event(EventType.DEREGISTERED, evidence={"root": "hq"}),
        "deregistered with 'hq', below which it stood",
    ),
    "failed by its exit": (
        event(EventType.STATE_CHANGED, previous={"state": "running"}, state=State.FAILED, evidence={"exit_code": 3}),
        "running -> failed, exit code 3",
    ),
    "failed by a signal": (
        event(
            EventType.STATE_CHANGED,
            previous={"state": "running"},
            state=State.FAILED,
            evidence={"exit_code": 137, "signal": 9},
        ),
        "running -> failed, ended by signal 9",
    ),
    "to be restarted": (
        event(
            EventType.RESTART_CLAIMED,
            evidence={"count": 2, "max_restarts": 5, "delay_ms": 2000},
            reason="exit",
            actor="monitor",
        ),
        "restart 2 of 5 claimed, in 2000 ms, by monitor (exit)",
    ),
    "to be restarted by an operator": (
        event(EventType.RESTART_CLAIMED, evidence={"count": 0, "delay_ms": 0}, reason="operator", actor="cli"),
        "a restart claimed, at once, by cli (operator)",
    ),
    "a restart after one in vain": (
        event(
            EventType.RESTART_CLAIMED,
            evidence={
                "count": 2, "max_restarts": 5, "delay_ms": 0, "sent_at_ms": AT_MS, "register_by_ms": AT_MS + 15_000,
            },
            reason="not-registered",
        ),
        (
            "restart 2 of 5 claimed, at once: the one sent at 2026-11-22 19:54:55.782 was in vain, as it had not "
            "registered by 2026-11-22 19:55:10.782 (not-registered)"
        ),
    ),
    "given up": (
        event(EventType.RESTART_EXHAUSTED, evidence={"count": 5}, reason="exit"),
        "not restarted: 5 restarts have not helped, and no more are allowed (exit)",
    ),
    "what comes later": (event(EventType.GUARD_RAISED), "guard raised"),
    "a hold": (
        Event(revision=1, type=EventType.HOLD_STARTED, id=None, at_ms=0, record=None, reason="a stall"),
        "hold started (a stall)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("told", "sentence"), STORIES.values(), ids=STORIES.keys())
def test_an_event_is_told_in_a_sentence(told, sentence):
    assert tell(told) == sentence


def test_a_long_value_is_cut():
    told = tell(event(EventType.UPDATED, previous={"description": None}, description="x" * 100))
    assert told == f"updated: description none -> {'x' * 60}…"


def test_a_moment_is_utc_to_the_millisecond():
    assert moment(AT_MS) == "2026-11-22 19:54:55.782"


@pytest.mark.parametrize(
    ("at_ms", "told"),
    [
        (0, "1970-01-01 00:00:00.000"),
        (253_402_300_799_000, "9999-12-31 23:59:59.000"),
        (253_402_300_800_000, "253402300800000 ms"),
        (10**15 - 1, "999999999999999 ms"),
        (-1, "-1 ms"),
    ],
)
def test_a_moment_that_no_calendar_has_is_told_in_milliseconds(at_ms, told):
    assert moment(at_ms) == told
