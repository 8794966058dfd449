"""Alarms: which events become alerts. It does no I/O; seconds are of a monotonic clock.

One condition is told once. An instance that is down is told of after `guard_settle_s`, if it is down then, by nobody
else's alert: not where one above it is down too, nor where its group is or was guarded, nor in maintenance. The claim
of a restart, by which it is `failed`, does not end its death: that is over when it lives again or is gone.
"""

from collections.abc import Collection, Mapping
from typing import Any

from hopper.instance.deaths import Death, Deaths
from hopper.instance.releases import Releases, count_in
from hopper.instance.replica import Replica
from hopper.model.alert import Alert, AlertKind, AlertStatus, describe
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["Alarms"]

_LEADERSHIP = "leadership"
"""The reason of the hold with which every leader begins: routine, told to nobody."""

_RANK = {Scope.GLOBAL: 0, Scope.PROJECT: 1, Scope.ORCHESTRATION: 2}
_LOST = frozenset({Health.DOWN, Health.SUSPECT})
_CLAIMS = {EventType.RESTART_CLAIMED: "claimed", EventType.RESTART_EXHAUSTED: "exhausted"}
"""What becomes of one that is down and has a restart policy: it is `failed` from then on."""


class Alarms:
    """What is told, what waits, and what each event makes of it. Give it every event in order.

    `told` is what was told before and is not over, by the keys of the alerts; `guards` are the groups now guarded.
    """

    def __init__(self, *, settle_s: float, told: Mapping[str, int] | None = None, guards: Collection[str] = ()) -> None:
        self.told: dict[str, int] = dict(told or {})
        self._settle_s = settle_s
        self._guards = set(guards)
        self._releases = Releases()
        self._deaths = Deaths()

    @property
    def next_due_s(self) -> float | None:
        """When `due` next has something to look at."""
        return self._deaths.next_due_s

    @property
    def oldest_origin(self) -> int | None:
        """The revision of the oldest event about which nothing is decided yet."""
        return self._deaths.oldest_origin

    # -- events ----------------------------------------------------------------------------------------------------

    def take(self, event: Event, replica: Replica, now_s: float) -> list[Alert]:
        """The alerts that an event leads to at once. The replica may be newer than the event."""
        self._releases.heed_clock(event.at_ms)
        match event.type:
            case EventType.HOLD_STARTED | EventType.HOLD_ENDED:
                return self._hold(event)
            case EventType.GUARD_RAISED | EventType.GUARD_RELEASED:
                return self._guard(event, replica)
        record = event.record
        if record is None:
            return []
        alerts: list[Alert] = []
        gone = event.type is EventType.DEREGISTERED
        ended = event.type is EventType.STATE_CHANGED or not self._is_dead(record)
        if gone or (record.health not in _LOST and ended):
            alerts += self._over(event, record, replica, now_s, gone=gone)
        elif event.type in _CLAIMS and event.previous.get("health") == Health.DOWN:
            self._claimed(record, event)
        elif record.health is Health.DOWN and "health" in event.previous:
            self._judged(record, event, now_s)
        elif record.health is not Health.SUSPECT and "maintenance" in event.previous:
            self._look_again(record, event.revision, now_s)
        if gone or not record.flapping:
            self.told.pop(f"{AlertKind.FAILED}:{record.id}", None)
        if event.type is EventType.STATE_CHANGED and record.state is State.FAILED:
            alerts += self._failed(event, record)
        if event.type is EventType.RESTART_EXHAUSTED and record.maintenance is None:
            alerts.append(_alert(AlertKind.EXHAUSTED, AlertStatus.FIRING, event, record))
        return alerts

    def _hold(self, event: Event) -> list[Alert]:
        if event.evidence.get("reason", event.reason) == _LEADERSHIP:
            return []
        status = AlertStatus.FIRING if event.type is EventType.HOLD_STARTED else AlertStatus.RESOLVED
        return [_alert(AlertKind.HOLD, status, event, None)]

    def _guard(self, event: Event, replica: Replica) -> list[Alert]:
        group = str(event.evidence.get("group", ""))
        if event.type is EventType.GUARD_RAISED:
            self._guards.add(group)
            return [_alert(AlertKind.GUARD, AlertStatus.FIRING, event, None)]
        self._guards.discard(group)
        self._releases.put(group, event.at_ms)
        left = sum(count_in(group, health, replica) for health in _LOST)
        evidence = {"left_down": left} if left else {}
        return [_alert(AlertKind.GUARD, AlertStatus.RESOLVED, event, None, more=evidence)]

    def _failed(self, event: Event, record: Record) -> list[Alert]:
        key = f"{AlertKind.FAILED}:{record.id}"
        if record.maintenance is not None or self.told.get(key, event.revision) != event.revision:
            return []
        if record.flapping:
            self.told[key] = event.revision
        return [_alert(AlertKind.FAILED, AlertStatus.FIRING, event, record)]

    def _over(self, event: Event, record: Record, replica: Replica, now_s: float, *, gone: bool) -> list[Alert]:
        """It is down no more: say so if it was told, unless it flaps; and look at those below that still are."""
        self._deaths.forget(record.id)
        if gone or event.previous.get("health") == Health.DOWN or event.previous.get("state") == State.FAILED:
            for below in self._dead_below(record, replica):
                self._look_again(below, event.revision, now_s)
        key = f"{AlertKind.DOWN}:{record.id}"
        if self.told.get(key, event.revision) >= event.revision or (record.flapping and record.monitored and not gone):
            return []
        del self.told[key]
        why = "it was deregistered" if gone else f"it is {record.state} and {record.health}"
        return [_alert(AlertKind.DOWN, AlertStatus.RESOLVED, event, record, why=why)]

    def _is_dead(self, record: Record) -> bool:
        """Whether it is down, or was until a restart was claimed: one that fails by itself is forgotten as it does."""
        if record.state is not State.FAILED:
            return record.health is Health.DOWN
        return f"{AlertKind.DOWN}:{record.id}" in self.told or self._deaths.get(record) is not None

    def _dead_below(self, record: Record, replica: Replica) -> list[Record]:
        """Those below an instance that are dead. Looks only at what is down or failed, since all may be far more."""
        parent = None if record.scope is Scope.GLOBAL else record.id
        found = replica.select(Selector(health=frozenset({Health.DOWN}), parent=parent))
        failed = replica.select(Selector(state=frozenset({State.FAILED}), parent=parent))
        found += [one for one in failed if self._is_dead(one)]
        if parent is not None:
            return found
        return [one for one in found if any(above.id == record.id for above in replica.ancestors(one.id))]

    # -- what waits ------------------------------------------------------------------------------------------------

    def _judged(self, record: Record, event: Event, now_s: float) -> None:
        """Look at an instance that has gone down once it is certain whether others have too."""
        death = Death(
            incarnation=record.incarnation,
            revision=event.revision,
            origin=event.revision,
            at_ms=event.at_ms,
            reason=event.reason,
            evidence=event.evidence,
        )
        self._deaths.put(record.id, death)
        self._deaths.wait(record.id, death, now_s + self._settle_s)

    def _claimed(self, record: Record, event: Event) -> None:
        """It died, and its restart is claimed or will not be: what waits to be told of it says so."""
        death = self._deaths.get(record)
        if death is not None:
            death.evidence = {**death.evidence, "restart": _CLAIMS[event.type]}

    def _look_again(self, record: Record, origin: int, now_s: float) -> None:
        """Look at an instance that was down before, since what kept it from being told is over."""
        death = self._deaths.get(record)
        if death is None:
            death = Death(
                incarnation=record.incarnation,
                revision=record.revision,
                origin=origin,
                at_ms=record.down_at_ms or record.updated_at_ms,
                reason="",
            )
            self._deaths.put(record.id, death)
        elif death.due_s is not None:
            return
        death.origin = origin
        self._deaths.wait(record.id, death, now_s + self._settle_s)

    def due(self, replica: Replica, now_s: float) -> list[Alert]:
        """The alerts whose time has come, those above before those below them. The replica must be up to date."""
        ripe: list[tuple[int, int, Record, Death]] = []
        for order, id, death in self._deaths.pop_due(now_s):
            record = replica.records.get(id)
            if record is None or not self._is_dead(record) or record.incarnation != death.incarnation:
                self._deaths.forget(id)
                continue
            ripe.append((_RANK[record.scope], order, record, death))
        alerts = (
            self._look_at(record, death, replica) for _, _, record, death in sorted(ripe, key=lambda one: one[:2])
        )
        return [alert for alert in alerts if alert is not None]

    def _look_at(self, record: Record, death: Death, replica: Replica) -> Alert | None:
        death.due_s = None
        key = f"{AlertKind.DOWN}:{record.id}"
        if key in self.told or record.maintenance is not None:
            return None
        if self._releases.spare(record, death, self._guards):
            return None
        for above in replica.ancestors(record.id):
            if above.health not in _LOST and not self._is_dead(above):
                continue
            if f"{AlertKind.DOWN}:{above.id}" in self.told:
                return None
            due_s = self._deaths.waits(above.id)
            if due_s is not None:
                self._deaths.wait(record.id, death, due_s)
                return None
        self.told[key] = death.revision
        below = len(self._dead_below(record, replica))
        evidence = dict(death.evidence) | ({"descendants_down": below} if below else {})
        return Alert(
            kind=AlertKind.DOWN,
            status=AlertStatus.FIRING,
            id=record.id,
            record=record,
            reason=death.reason,
            evidence=evidence,
            at_ms=death.at_ms,
            revision=death.revision,
            origin=death.origin,
            text=describe(
                AlertKind.DOWN, AlertStatus.FIRING, id=record.id, record=record, evidence=evidence, at_ms=death.at_ms
            ),
        )

    def reconcile(self, replica: Replica, now_ms: int) -> list[Alert]:
        """The ends of what was told and is over, where the events that ended it will never come."""
        alerts: list[Alert] = []
        for key, revision in list(self.told.items()):
            kind, _, id = key.partition(":")
            record = replica.records.get(id)
            dead = record is not None and (record.health in _LOST or record.state is State.FAILED)
            if dead and kind == AlertKind.DOWN:
                continue
            del self.told[key]
            if kind == AlertKind.DOWN:
                why = f"it is {record.state} and {record.health}" if record else "it was deregistered"
                text = describe(AlertKind.DOWN, AlertStatus.RESOLVED, id=id, record=record, reason=why)
                alerts.append(
                    Alert(
                        kind=AlertKind.DOWN,
                        status=AlertStatus.RESOLVED,
                        id=id,
                        record=record,
                        reason="resync",
                        at_ms=record.updated_at_ms if record else now_ms,
                        revision=record.revision if record else revision,
                        origin=replica.revision,
                        text=text,
                    )
                )
        return alerts


def _alert(
    kind: AlertKind,
    status: AlertStatus,
    event: Event,
    record: Record | None,
    *,
    why: str = "",
    more: Mapping[str, Any] | None = None,
) -> Alert:
    """The alert that an event leads to at once. `why` says in words what its reason says in one."""
    evidence = {**event.evidence, **(more or {})}
    id = record.id if record else None
    return Alert(
        kind=kind,
        status=status,
        id=id,
        record=record,
        reason=event.reason or (str(event.type) if why else ""),
        evidence=evidence,
        at_ms=event.at_ms,
        revision=event.revision,
        origin=event.revision,
        text=describe(
            kind, status, id=id, record=record, reason=why or event.reason, evidence=evidence, at_ms=event.at_ms
        ),
    )
