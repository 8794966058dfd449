"""Alarms: which events become alerts. It does no I/O; seconds are of a monotonic clock.

One condition is told once. An instance that is down is told of after `guard_settle_s`, if it is down then, by nobody
else's alert: not where one above it is down too, nor where a guard's alert stands for it, nor in maintenance. The claim
of a restart, by which it is `failed`, does not end its death: that is over when it lives again or is gone. The alert of
a guard is over when that is released and nobody whom it left is silent any more.
"""

from collections.abc import Mapping

from hopper.instance.alerting.conditions import is_failing, is_so, newest, over, standing, still_failed
from hopper.instance.alerting.deaths import Death, Deaths
from hopper.instance.alerting.pauses import Pauses
from hopper.instance.alerting.releases import LOST, Releases
from hopper.instance.replica import Replica
from hopper.model.alert import Alert, AlertKind, AlertStatus, KnownDeath, KnownRelease
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["Alarms"]

_RANK = {Scope.GLOBAL: 0, Scope.PROJECT: 1, Scope.ORCHESTRATION: 2}
_CLAIMS = {EventType.RESTART_CLAIMED: "claimed", EventType.RESTART_EXHAUSTED: "exhausted"}
"""What becomes of one that is down and has a restart policy: it is `failed` from then on."""

_HIDING = frozenset({"maintenance", "parent_id"})
"""What of a record may keep its death from being told."""


class Alarms:
    """What is told, what waits, and what each event makes of it. Give it every event in order.

    `told` is what was told before and is not over, by the keys of the alerts; `deaths` are those that were known and
    not told, and `releases` the guards that were released and are not over. Where events may be missing, `reconcile`
    says what they would have led to and is still so.
    """

    def __init__(
        self,
        *,
        settle_s: float,
        told: Mapping[str, int] | None = None,
        deaths: Mapping[str, KnownDeath] | None = None,
        releases: Mapping[str, KnownRelease] | None = None,
    ) -> None:
        self.told: dict[str, int] = dict(told or {})
        self._settle_s = settle_s
        self._deaths = Deaths(deaths or {})
        self._releases = Releases(releases or {})
        self._pauses = Pauses(self.told, self._deaths, self._releases, is_dead=self._is_dead)

    @property
    def next_due_s(self) -> float | None:
        """When `due` next has something to look at."""
        return self._deaths.next_due_s

    @property
    def oldest_origin(self) -> int | None:
        """The revision of the oldest event about which nothing is decided yet."""
        return self._deaths.oldest_origin

    @property
    def deaths(self) -> dict[str, KnownDeath]:
        """Who is known to be down, told or not, by id."""
        return self._deaths.all()

    @property
    def releases(self) -> dict[str, KnownRelease]:
        """The guards that were released, by group: those whose alerts stand, and some whose alerts are over."""
        return self._releases.all()

    def unseen(self) -> dict[str, Death]:
        """Deaths that are to be told and whose verdicts were not read, by id, once each: `recall` them before `due`."""
        return self._deaths.pop_unseen()

    # -- events ----------------------------------------------------------------------------------------------------

    def take(self, event: Event, replica: Replica, now_s: float) -> list[Alert]:
        """The alerts that an event leads to at once. The replica may be newer than the event."""
        match event.type:
            case EventType.HOLD_STARTED | EventType.HOLD_ENDED:
                return self._pauses.hold(event, replica)
            case EventType.GUARD_RAISED:
                return self._pauses.guard(event, replica)
            case EventType.GUARD_RELEASED:
                alerts, bared = self._pauses.release(event, replica)
                for one in bared:
                    self._look_again(one, event.revision, now_s)
                return alerts
        record = event.record
        if record is None:
            return []
        alerts = []
        gone = event.type is EventType.DEREGISTERED
        ended = event.type is EventType.STATE_CHANGED or not self._is_dead(record)
        if gone or (record.health not in LOST and ended):
            alerts += self._over(event, record, replica, now_s, gone=gone)
        elif event.type in _CLAIMS and event.previous.get("health") == Health.DOWN:
            self._claimed(record, event)
        elif record.health is Health.DOWN and "health" in event.previous:
            self._judged(record, event, now_s)
        elif record.health is not Health.SUSPECT and not _HIDING.isdisjoint(event.previous):
            self._look_again(record, event.revision, now_s)
        if "parent_id" in event.previous:
            self._look_below(record, event.revision, replica, now_s)
        failed = f"{AlertKind.FAILED}:{record.id}"
        if (gone or not is_failing(record)) and self.told.get(failed, event.revision) < event.revision:
            del self.told[failed]
        if event.type is EventType.STATE_CHANGED and record.state is State.FAILED:
            alerts += self._failed(Alert.of_event(AlertKind.FAILED, AlertStatus.FIRING, event, record))
        elif "maintenance" in event.previous:
            alerts += self._still_failed(record, event.revision)
        if event.type is EventType.RESTART_EXHAUSTED and record.maintenance is None:
            if record.state is State.FAILED and not self._is_dead(record):
                self.told.setdefault(failed, event.revision)
            alerts.append(Alert.of_event(AlertKind.EXHAUSTED, AlertStatus.FIRING, event, record))
        return alerts + self._pauses.heed(event, record, replica)

    def _failed(self, alert: Alert) -> list[Alert]:
        """It has failed: that is told once until it is over, and of one that flaps once until it is calm."""
        if alert.record is None or alert.record.maintenance is not None or alert.key in self.told:
            return []
        self.told[alert.key] = alert.revision
        return [alert]

    def _still_failed(self, record: Record, origin: int) -> list[Alert]:
        """It came to be failed when that could not be told, and still is."""
        if record.state is not State.FAILED or record.stopped_at_ms is None or self._is_dead(record):
            return []
        return self._failed(still_failed(record, record.stopped_at_ms, origin))

    def _over(self, event: Event, record: Record, replica: Replica, now_s: float, *, gone: bool) -> list[Alert]:
        """It is down no more: say so if it was told, unless it flaps; and look at those below that still are."""
        self._deaths.forget(record.id, event.revision)
        if gone or event.previous.get("health") in LOST or event.previous.get("state") == State.FAILED:
            self._look_below(record, event.revision, replica, now_s)
        key = f"{AlertKind.DOWN}:{record.id}"
        if self.told.get(key, event.revision) >= event.revision or (record.flapping and record.monitored and not gone):
            return []
        del self.told[key]
        why = "it was deregistered" if gone else f"it is {record.state} and {record.health}"
        return [Alert.of_event(AlertKind.DOWN, AlertStatus.RESOLVED, event, record, why=why)]

    def _is_dead(self, record: Record) -> bool:
        """Whether it is down, or was until a restart was claimed: one that failed by itself is told as that."""
        if record.state is not State.FAILED or record.down_at_ms is None:
            return record.health is Health.DOWN
        down, failed = f"{AlertKind.DOWN}:{record.id}", f"{AlertKind.FAILED}:{record.id}"
        return down in self.told or self._deaths.has(record) or failed not in self.told

    def _dead(self, replica: Replica, parent: str | None = None) -> list[Record]:
        """Those that are dead, all or the children of one. Looks only at what is down or failed, since all may be far
        more.
        """
        found = replica.select(Selector(health=frozenset({Health.DOWN}), parent=parent))
        failed = replica.select(Selector(state=frozenset({State.FAILED}), parent=parent))
        return found + [one for one in failed if self._is_dead(one)]

    def _dead_below(self, record: Record, replica: Replica) -> list[Record]:
        if record.scope is not Scope.GLOBAL:
            return self._dead(replica, record.id)
        dead = self._dead(replica)
        return [one for one in dead if any(above.id == record.id for above in replica.ancestors(one.id))]

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
        if not death.spared:
            self._deaths.wait(record.id, death, now_s + self._settle_s)

    def _claimed(self, record: Record, event: Event) -> None:
        """It died, and its restart is claimed or will not be: what waits to be told of it says so."""
        death = self._deaths.get(record)
        if death is not None:
            death.evidence = {**death.evidence, "restart": _CLAIMS[event.type]}

    def _look_again(self, record: Record, origin: int, now_s: float) -> None:
        """Look at an instance that was down before, since what kept it from being told is over."""
        death = self._deaths.of(record, origin)
        if death.due_s is None and not death.spared:
            death.origin = origin
            self._deaths.wait(record.id, death, now_s + self._settle_s)

    def _look_below(self, record: Record, origin: int, replica: Replica, now_s: float) -> None:
        """Look at those below an instance that are down, since they may not be hidden by one above them any more."""
        for below in self._dead_below(record, replica):
            self._look_again(below, origin, now_s)

    def due(self, replica: Replica, now_s: float) -> list[Alert]:
        """The alerts whose time has come, those above before those below them; of very many only the first.

        The replica must be up to date.
        """
        ripe: list[tuple[int, int, Record, Death]] = []
        for order, id, death in self._deaths.pop_due(now_s):
            record = replica.records.get(id)
            if record is None or not self._is_dead(record) or record.incarnation != death.incarnation:
                self._deaths.forget(id, replica.revision)
                continue
            ripe.append((_RANK[record.scope], order, record, death))
        alerts = (
            self._look_at(record, death, replica, now_s)
            for _, _, record, death in sorted(ripe, key=lambda one: one[:2])
        )
        return [alert for alert in alerts if alert is not None]

    def _look_at(self, record: Record, death: Death, replica: Replica, now_s: float) -> Alert | None:
        death.due_s = None
        key = f"{AlertKind.DOWN}:{record.id}"
        if key in self.told or death.spared or record.maintenance is not None:
            return None
        if self._releases.spare(record, death, replica.guards):
            return None
        for above in replica.ancestors(record.id):
            if above.health not in LOST and not self._is_dead(above):
                continue
            if f"{AlertKind.DOWN}:{above.id}" in self.told:
                return None
            due_s = self._deaths.waits(above.id)
            if due_s is not None:
                self._deaths.wait(record.id, death, due_s)
                return None
        if not death.seen:
            self._deaths.ask(record.id, death, now_s)
            return None
        self.told[key] = death.revision
        below = len(self._dead_below(record, replica))
        evidence = dict(death.evidence) | ({"descendants_down": below} if below else {})
        return Alert.make(
            AlertKind.DOWN,
            AlertStatus.FIRING,
            id=record.id,
            record=record,
            reason=death.reason,
            evidence=evidence,
            at_ms=death.at_ms,
            revision=death.revision,
            origin=death.origin,
        )

    # -- what no event tells ---------------------------------------------------------------------------------------

    def reconcile(self, replica: Replica, now_s: float, now_ms: int) -> list[Alert]:
        """What is over of what was told, and what is so and was not told; deaths that were not known wait.

        For a new leader, and where the log cannot tell what has happened. The replica must be up to date, and every
        event up to it be taken. Idempotent. What was told at a later revision, which is lost, counts as told by now:
        else it would be newer than its end.
        """
        alerts: list[Alert] = []
        for key, revision in list(self.told.items()):
            kind, _, subject = key.partition(":")
            if kind == AlertKind.GUARD:
                alerts += self._pauses.compare(subject, revision, replica, now_ms)
            elif is_so(key, revision, replica):
                self.told[key] = min(revision, newest(key, replica))
            else:
                del self.told[key]
                alerts += over(key, revision, replica, now_ms)
        self._pauses.forget_untold(replica)
        return alerts + self._found(replica, now_s, now_ms)

    def accept(self, replica: Replica) -> None:
        """What is so by now is not to be told: alerts begin here. One in maintenance is, when that ends."""
        self._found(replica, 0.0, 0)
        for record in self._dead(replica):
            death = self._deaths.of(record, replica.revision)
            death.spared, death.due_s = record.maintenance is None, None

    def _found(self, replica: Replica, now_s: float, now_ms: int) -> list[Alert]:
        told = [alert for alert in standing(replica, now_ms) if alert.key not in self.told]
        self.told.update((alert.key, alert.revision) for alert in told)
        for record in replica.select(Selector(state=frozenset({State.FAILED}))):
            told += self._still_failed(record, replica.revision)
        dead = self._dead(replica)
        for record in dead:
            if f"{AlertKind.DOWN}:{record.id}" not in self.told:
                self._look_again(record, replica.revision, now_s)
        self._deaths.keep({record.id for record in dead})
        return told
