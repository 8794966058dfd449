"""Health reports: the whole registry at a glance, and one instance with its heartbeat as it is now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Any

import orjson

from hopper.errors import NotFound, StoreFault, Unavailable
from hopper.instance.history import History
from hopper.instance.replica import Replica
from hopper.instance.topology import rollup
from hopper.instance.view import RegistryView
from hopper.model.group import groups_around
from hopper.model.health import Health
from hopper.model.heartbeat import Metrics, parse_heartbeat
from hopper.model.reasons import BADLY, reasons_of
from hopper.model.record import Record
from hopper.model.restart_report import RestartReport, report_of
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State
from hopper.model.stray import StrayKind
from hopper.model.thresholds import effective_thresholds
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore

__all__ = ["MAX_HEARTBEATS", "GuardReport", "HealthReports", "HealthSummary", "InstanceHealth", "Troubled"]

MAX_HEARTBEATS = 1000
_COULD_BE_DEEP_BYTES = 500
_NAMED = 5
_TROUBLES: tuple[tuple[str, Selector], ...] = (
    (Health.DOWN.value, Selector(health=frozenset({Health.DOWN}))),
    (State.FAILED.value, Selector(state=frozenset({State.FAILED}))),
    (Health.UNHEALTHY.value, Selector(health=frozenset({Health.UNHEALTHY}))),
    (Health.SUSPECT.value, Selector(health=frozenset({Health.SUSPECT}))),
)
"""What makes the status `degraded`, the gravest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHealth:
    """One instance's health with its heartbeat as read just now. Times are milliseconds of Redis' clock.

    `heartbeat` tells whether there is one, None while Redis is away and where what is there cannot be read: then
    nothing is known of it, nor of the metrics. `reasons` are sentences: why it is not healthy, or not in service;
    `problems` what is wrong with the heartbeat's value. `rollup` is the health of it and all below it, for one that has
    children and is asked for by itself, and `restart` what became of the restart that it waits for, if any, where it is
    asked for by itself too.
    """

    id: str
    name: str
    scope: Scope
    state: str
    health: Health
    reasons: tuple[str, ...]
    metrics: dict[str, Any]
    problems: tuple[str, ...]
    heartbeat: bool | None
    expires_in_ms: int | None
    ttl_ms: int
    incarnation: int
    down_at_ms: int | None
    started_at_ms: int | None
    flapping: bool
    restarts: int
    restart: RestartReport | None = None
    rollup: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """How many do badly in one way, those in maintenance left out, and the first five of their ids in their order."""

    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSummary:
    """The registry at a glance. `status` is `ok`, `degraded` or `unavailable`.

    It is `degraded` where somebody is `troubled`, a hold or a guard is in force, nobody leads, or something cannot be
    read. `troubled` are those who are `down`, `failed`, `unhealthy` or `suspect`, under these words and in this order,
    without those in maintenance, who alarm nobody; a word that holds for none is left out.
    `strays` names heartbeats of nobody, of instances that are not monitored, and of former incarnations, as the monitor
    found them; only the last kind makes it `degraded`, since it may hide that the present incarnation is gone.
    `unreadable` names what is at the place of a record in Redis and is none, with the reason; no list shows these.
    """

    status: str
    total: int
    health: dict[str, int]
    scopes: dict[str, int]
    states: dict[str, int]
    by_scope: dict[str, dict[str, int]]
    orphans: int
    unreadable: dict[str, str]
    monitor: str | None
    hold: dict[str, Any] | None
    guards: dict[str, dict[str, Any]] = field(default_factory=dict)
    strays: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubled: dict[str, Troubled] = field(default_factory=dict)
    redis: str = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """Why nobody, or nobody of a group, is judged just now: the evidence of the hold and of each group's guard."""

    hold: dict[str, Any] | None
    guards: dict[str, dict[str, Any]]
    monitor: str | None


class HealthReports:
    """Reads of health. Records come from the view, heartbeats and who leads from Redis.

    Why one does badly that the view has not heard, since it was loaded later, comes from the log; of one by itself.
    """

    def __init__(self, store: InstanceStore, view: RegistryView, history: History) -> None:
        self._store = store
        self._history = history
        self._restarts = RestartStore(store.settings, client=store.client)
        self._view = view

    async def summary(self) -> HealthSummary:
        """Counts by health, scope and state, who monitors, and the hold; from the view alone while Redis is away."""
        replica = self._view.replica
        monitor: str | None = None
        hold, guards, redis = replica.hold, replica.guards, "ok"
        strays: dict[str, dict[str, Any]] = {}
        try:
            monitor, guards = await self._store.surveillance()
            strays = await self._store.strays()
            hold = guards.pop("hold", None)
        except Unavailable as error:
            redis = str(error)
        counts = replica.health_counts()
        by_scope: dict[str, dict[str, int]] = {scope.value: {} for scope in Scope}
        for record in replica.records.values():
            held = by_scope[record.scope.value]
            held[record.health.value] = held.get(record.health.value, 0) + 1
        troubled = _troubled(replica)
        if redis != "ok" or not self._view.complete:
            status = "unavailable"
        elif hold or guards or troubled or replica.unreadable or monitor is None or _overwritten(strays):
            status = "degraded"
        else:
            status = "ok"
        return HealthSummary(
            status=status,
            total=len(replica),
            health={health.value: count for health, count in counts.items()},
            scopes={scope.value: replica.count("scope", scope) for scope in Scope},
            states={state.value: count for state, count in replica.state_counts().items()},
            by_scope=by_scope,
            orphans=replica.count("orphan", True),
            unreadable=dict(replica.unreadable),
            monitor=monitor,
            hold=hold,
            guards=guards,
            strays=strays,
            troubled=troubled,
            redis=redis,
        )

    async def guard(self) -> GuardReport:
        """The hold and the guards in force, as they stand in Redis. Raises `Unavailable` where it is away."""
        monitor, guards = await self._store.surveillance()
        return GuardReport(hold=guards.pop("hold", None), guards=guards, monitor=monitor)

    async def instance(self, id: str) -> InstanceHealth:
        """One instance with its metrics and the time left to it. Raises `NotFound`."""
        record = self._view.replica.records.get(id)
        if record is None:
            raise NotFound(f"there is no instance '{id}'")

        def unknown() -> InstanceHealth:
            return self._with_rollup(self._report(record, None, away=True))

        try:
            found, faults = await self._found(record)
            value, left_ms = await self._store.read_heartbeat(id)
            report = replace(self._with_rollup(self._report(record, value, found)), expires_in_ms=_left(left_ms))
        except Unavailable:
            return unknown()
        except StoreFault as fault:
            report, faults = unknown(), (f"the heartbeat cannot be read: {fault}",)
        try:
            report = replace(report, restart=report_of(record, await self._restarts.ledger(id)))
        except Unavailable:
            return unknown()
        except StoreFault as fault:
            faults = (*faults, str(fault))
        return replace(report, problems=(*report.problems, *faults))

    async def detail(self, records: list[Record]) -> list[InstanceHealth]:
        """Up to 1,000 instances with their metrics, read in one MGET, and the time left to each."""
        asked = records[:MAX_HEARTBEATS]
        try:
            values, left = await self._store.read_heartbeats_left([record.id for record in asked])
        except Unavailable:
            return [self._report(record, None, away=True) for record in asked]
        return [
            replace(self._report(record, value), expires_in_ms=_left(left_ms))
            for record, value, left_ms in zip(asked, values, left, strict=True)
        ]

    def _with_rollup(self, report: InstanceHealth) -> InstanceHealth:
        replica = self._view.replica
        if report.id not in replica.records or not replica.count("parent", report.id):
            return report
        return replace(report, rollup=rollup(replica.rollup(report.id)))

    async def _found(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Why an instance does badly, as the view or else the log has it, and why the log cannot tell."""
        heard = self._view.replica.found.get(record.id)
        if heard is not None or record.health not in BADLY:
            return heard or (), ()
        try:
            return await self._history.found(record) or (), ()
        except StoreFault as fault:
            return (), (str(fault),)

    def _guard_over(self, record: Record) -> str | None:
        """Why the group of an instance is guarded, None where it is not."""
        guards = self._view.replica.guards
        evidence = next((guards[group] for group in groups_around(record) if group in guards), None)
        return None if evidence is None else str(evidence.get("reason", "no reason given"))

    def _report(
        self, record: Record, value: bytes | None, found: Sequence[str] | None = None, *, away: bool = False
    ) -> InstanceHealth:
        metrics = Metrics() if value is None else _metrics(value)
        thresholds = effective_thresholds(self._store.settings.thresholds, record.thresholds)
        heartbeat = None if away else value is not None
        return InstanceHealth(
            id=record.id,
            name=record.name,
            scope=record.scope,
            state=record.state.value,
            health=record.health,
            reasons=reasons_of(
                record,
                metrics.as_json(),
                thresholds,
                heartbeat=heartbeat,
                found=self._view.replica.found.get(record.id, ()) if found is None else found,
                guard=self._guard_over(record),
            ),
            metrics=metrics.as_json(),
            problems=(*metrics.problems, *_conflict(record, metrics)),
            heartbeat=heartbeat,
            expires_in_ms=None,
            ttl_ms=record.ttl_ms,
            incarnation=record.incarnation,
            down_at_ms=record.down_at_ms,
            started_at_ms=record.started_at_ms,
            flapping=record.flapping,
            restarts=record.restarts,
        )


def _troubled(replica: Replica) -> dict[str, Troubled]:
    found: dict[str, Troubled] = {}
    for word, selector in _TROUBLES:
        ids = [record.id for record in replica.select(selector) if record.maintenance is None]
        if ids:
            found[word] = Troubled(count=len(ids), ids=tuple(nsmallest(_NAMED, ids)))
    return found


def _left(left_ms: int) -> int | None:
    return left_ms if left_ms > 0 else None


def _conflict(record: Record, metrics: Metrics) -> Iterator[str]:
    if metrics.incarnation is not None and metrics.incarnation < record.incarnation:
        yield f"the heartbeat is of incarnation {metrics.incarnation}, and the instance is {record.incarnation} now"


def _overwritten(strays: dict[str, dict[str, Any]]) -> bool:
    return any(stray.get("kind") == StrayKind.OLD_INCARNATION for stray in strays.values())


def _metrics(value: bytes) -> Metrics:
    """The metrics of a heartbeat; one that is nested so deep that no answer could carry it is a problem of its own."""
    metrics = parse_heartbeat(value)
    if len(value) > _COULD_BE_DEEP_BYTES:
        try:
            orjson.dumps(metrics.other)
        except orjson.JSONEncodeError:
            return Metrics(problems=("the value is nested too deep",))
    return metrics
