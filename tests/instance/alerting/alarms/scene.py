"""A scene: a small tree to which things happen, and what the alarms tell of them."""

from typing import Any

from hopper.instance.alerting.alarms import Alarms
from hopper.instance.replica import Replica
from hopper.model.alert import Alert
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["SETTLE_S", "Scene", "Unwalked"]

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
        self.log: dict[int, Event] = {}
        self.deaf = False
        """Whether the alarms do not hear of what happens."""
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
        self.log[revision] = event
        if not self.deaf:
            self.told += self.alarms.take(event, self.replica, self.now_s)
        return event

    def goes_down(self, *ids: str, reason: str = "lapsed", **evidence: Any) -> None:
        for id in ids:
            at_ms = int(self.now_s * 1000)
            facts = {"deadline_ms": at_ms, "last_heartbeat_ms": 0, **evidence}
            changes = {"health": Health.DOWN, "down_at_ms": at_ms}
            self.happens(EventType.HEALTH_CHANGED, id, reason=reason, evidence=facts, **changes)

    def comes_back(self, *ids: str, **changes: Any) -> None:
        for id in ids:
            self.happens(EventType.HEALTH_CHANGED, id, health=Health.HEALTHY, reason="heartbeat", **changes)

    def flaps(self, id: str, flapping: bool) -> None:
        self.happens(EventType.UPDATED, id, flapping=flapping)

    def passes(self, seconds: float = SETTLE_S) -> None:
        """Let time pass, and what is due be told, by what the log has of it."""
        self.now_s += seconds
        self.told += self.alarms.due(self.replica, self.now_s)
        for id, death in self.alarms.unseen().items():
            death.recall(id, self.log.get(death.revision))
        self.told += self.alarms.due(self.replica, self.now_s)

    def compares(self) -> None:
        """Let what is so be compared with what is told."""
        self.told += self.alarms.reconcile(self.replica, self.now_s, int(self.now_s * 1000))

    def reads_again(self, first: int, last: int | None = None) -> None:
        """Let the alarms come to these events, or all from a revision on, as those of a leader that takes over."""
        for revision in range(first, (last or self.replica.revision) + 1):
            self.told += self.alarms.take(self.log[revision], self.replica, self.now_s)

    def changes_leader(self) -> None:
        """Let another leader begin, by what this one has noted."""
        self.is_led_by_another()
        self.compares()

    def is_led_by_another(self) -> None:
        known = self.alarms
        self.alarms = Alarms(settle_s=SETTLE_S, told=known.told, deaths=known.deaths, releases=known.releases)

    @property
    def news(self) -> list[str]:
        """What was told since this was last asked: `down firing web`."""
        told, self.told = self.told, []
        return [f"{alert.kind} {alert.status} {alert.id or alert.evidence.get('group', '')}".strip() for alert in told]


class Unwalked(dict[str, Record]):
    """Records to be looked up one by one."""

    def values(self) -> Any:
        raise AssertionError("somebody walks over all records")
