"""Missing: whatever the alarms do not hear, and however often the leader changes, in the end all that is so is told."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hopper.model.event import EventType
from hopper.model.group import group_name
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State
from instance.alerting.alarms.scene import Scene

IDS = ["g", "p1", "p2", "o1", "o2", "o3"]
PARENTS: dict[str, list[str | None]] = {"g": [None], "p": ["g", None], "o": ["p1", "p2", None]}
GROUPS = ["project:p1", "project:p2", "global", "orphans"]


class World(Scene):
    """A scene in which only happens what can, and a receiver that holds the news against each other."""

    def __init__(self) -> None:
        super().__init__()
        self.unsure = False
        self.floor = 0
        self.names: set[str] = set()
        self.open: set[str] = set()
        self.left: dict[str, str] = {}
        """Whom a guard that was told of left silent, and of which group it was."""

    def get(self, id: str) -> Record | None:
        return self.replica.records.get(id)

    def tries(self, what: str, id: str, number: int) -> None:
        """Let something happen, if it can."""
        self.now_s += 0.25
        getattr(self, f"_{what}")(id, number)
        if len(self.told) > 0:
            self.receives()

    def receives(self) -> None:
        told, self.told = self.told, []
        for alert in told:
            name = alert.delivery(epoch="e")
            if name in self.names or alert.kind == "exhausted":
                continue
            self.names.add(name)
            if alert.kind == "down" and alert.status == "firing":
                assert not self.is_told_by_a_guard(alert.id or ""), f"a guard's alert tells of it: {alert.text}"
            if alert.kind == "guard" and alert.status == "resolved" and "guarded_again" not in alert.evidence:
                assert not self.awaited(alert.evidence["group"]), f"there are more: {alert.text}"
                self.left = {id: group for id, group in self.left.items() if group != alert.evidence["group"]}
            if alert.status == "firing":
                assert alert.key not in self.open or alert.kind == "failed", f"told twice: {alert.text}"
                self.open.add(alert.key)
            else:
                assert alert.key in self.open or alert.id is None, f"over, and never told: {alert.text}"
                self.open.discard(alert.key)

    def is_told_by_a_guard(self, id: str) -> bool:
        releases = self.alarms.releases.items()
        return any(id in release.left and f"guard:{group}" in self.open for group, release in releases)

    def awaited(self, group: str) -> list[str]:
        """Whom the guard of a group left, and who is not back nor gone."""
        left = [id for id, by in self.left.items() if by == group]
        return [id for id in left if self.replica.records[id].maintenance is None]

    # -- what may happen -------------------------------------------------------------------------------------------

    def _dies(self, id: str, _: int) -> None:
        record = self.get(id)
        if record is None or not record.monitored or record.health is Health.DOWN:
            return
        if any(_is_in(group, record) for group in self.replica.guards):
            if record.health is not Health.SUSPECT:
                self.happens(EventType.HEALTH_CHANGED, id, health=Health.SUSPECT, reason="guard")
        else:
            self.goes_down(id)

    def _recovers(self, id: str, number: int) -> None:
        record = self.get(id)
        if record is not None and record.monitored and record.health is not Health.HEALTHY:
            self.left.pop(id, None)
            flapping = record.flapping or number == 0
            self.comes_back(id, down_at_ms=None, flapping=flapping)

    def _is_claimed(self, id: str, number: int) -> None:
        record = self.get(id)
        if record is not None and record.health is Health.DOWN and record.maintenance is None:
            kind = EventType.RESTART_CLAIMED if number else EventType.RESTART_EXHAUSTED
            self.happens(kind, id, state=State.FAILED, health=Health.UNKNOWN, stopped_at_ms=self.now_ms)

    def _fails(self, id: str, _: int) -> None:
        record = self.get(id)
        if record is not None and record.monitored:
            self.left.pop(id, None)
            changes = {"health": Health.UNKNOWN, "stopped_at_ms": self.now_ms}
            self.happens(EventType.STATE_CHANGED, id, state=State.FAILED, **changes)

    def _starts(self, id: str, number: int) -> None:
        record = self.get(id)
        changes: dict[str, Any] = {"state": State.RUNNING, "health": Health.HEALTHY, "down_at_ms": None}
        if record is not None and (not record.monitored or number == 0):
            self.left.pop(id, None)
        if record is not None and not record.monitored and number:
            self.happens(EventType.STATE_CHANGED, id, stopped_at_ms=None, **changes)
        elif record is not None and (number == 0 or not record.monitored):
            changes |= {"incarnation": self.replica.revision + 1, "stopped_at_ms": None}
            self.happens(EventType.SUPERSEDED, id, **changes)

    def _goes(self, id: str, _: int) -> None:
        if self.get(id) is not None and not self.replica.children(id) and id != "g":
            self.left.pop(id, None)
            self.happens(EventType.DEREGISTERED, id)

    def _moves(self, id: str, number: int) -> None:
        parents = PARENTS[id[0]]
        parent, record = parents[number % len(parents)], self.get(id)
        if parent is not None and self.get(parent) is None:
            return
        if record is None:
            incarnation = self.replica.revision + 1
            self.happens(EventType.REGISTERED, id, parent_id=parent, incarnation=incarnation)
        elif record.parent_id != parent:
            self.happens(EventType.PARENT_CHANGED, id, parent_id=parent)
            if self.unsure:
                self.left.pop(id, None)  # a release that was missed leaves who is in the group when that is found

    def _is_maintained(self, id: str, _: int) -> None:
        record = self.get(id)
        if record is not None:
            mark = Maintenance() if record.maintenance is None else None
            self.happens(EventType.UPDATED, id, maintenance=mark)

    def _is_calm(self, id: str, _: int) -> None:
        record = self.get(id)
        if record is not None and record.flapping:
            self.happens(EventType.UPDATED, id, flapping=False)

    def _is_guarded(self, _: str, number: int) -> None:
        group = GROUPS[number % len(GROUPS)]
        standing = self.replica.guards.get(group)
        if standing is not None:
            left = [one for one in self.replica.records.values() if _is_in(group, one) and one.health is Health.SUSPECT]
            if f"guard:{group}" in self.open:
                own = [one for one in left if not (set(self.replica.guards) - {group}) & {group_name(one)}]
                self.left = {one.id: group for one in own if f"down:{one.id}" not in self.open} | self.left
            self.happens(EventType.GUARD_RELEASED, evidence=standing)
            for record in left:
                self.goes_down(record.id, deadline_ms=self.now_ms - 1)
            return
        self.happens(EventType.GUARD_RAISED, evidence={"group": group, "since_ms": self.now_ms, "ttl_ms": 100})
        for record in list(self.replica.records.values()):
            if record.health is Health.DOWN and _is_in(group, record) and (record.down_at_ms or 0) >= self.now_ms - 100:
                self.happens(
                    EventType.HEALTH_CHANGED, record.id, health=Health.SUSPECT, down_at_ms=None, reason="guard"
                )

    def _holds(self, _: str, number: int) -> None:
        evidence = {"reason": "Redis stood still" if number else "leadership", "since_ms": self.now_ms}
        if self.replica.hold is None:
            self.happens(EventType.HOLD_STARTED, evidence=evidence)
        else:
            self.happens(EventType.HOLD_ENDED, evidence=self.replica.hold)

    def _hears_nothing(self, *_: Any) -> None:
        self.deaf = self.unsure = True

    def _hears(self, *_: Any) -> None:
        if self.deaf:
            self.deaf, self.floor = False, self.replica.revision

    def _is_led_by_another(self, _: str, number: int) -> None:
        if not self.deaf and not self.unsure:
            self.is_led_by_another()
            self.reads_again(max(self.floor, self.replica.revision - 5 * number) + 1)
            self.compares()

    def _waits(self, _: str, number: int) -> None:
        if self.deaf:
            return
        if self.unsure:
            self.unsure = False
            self.compares()
        self.passes(number)

    @property
    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    # -- what is so ------------------------------------------------------------------------------------------------

    def calms(self) -> None:
        """Let all end that keeps anything from being told: guards, holds, maintenance, flapping, dead parents."""
        self._hears("", 0)
        self._waits("", 2)
        for number, group in enumerate(GROUPS):
            if group in self.replica.guards:
                self.tries("is_guarded", "", number)
        if self.replica.hold is not None:
            self.tries("holds", "", 1)
        for id in IDS:
            record = self.get(id)
            if record is not None and record.maintenance is not None:
                self.tries("is_maintained", id, 0)
            self.tries("is_calm", id, 0)
        for id in ("g", "p1", "p2"):
            self.tries("starts", id, 1)
            self.tries("recovers", id, 1)
            self.tries("is_calm", id, 1)
        for _ in range(3):
            self.tries("waits", "", 2)


def _is_in(group: str, record: Record) -> bool:
    if group.startswith("project:"):
        return record.parent_id == group.removeprefix("project:") and record.scope is Scope.ORCHESTRATION
    return record.is_orphan == (group == "orphans")


OFTEN = ["dies", "dies", "waits", "waits", "recovers"]
WHAT = OFTEN + [name[1:] for name in vars(World) if name.startswith("_") and not name.startswith("__")]
WHOM = ["p1", "o1", "p1", "o1", "o2", "g", "p2", "o3"]


@given(st.lists(st.tuples(st.sampled_from(WHAT), st.sampled_from(WHOM), st.integers(0, 3)), max_size=60))
def test_in_the_end_exactly_what_is_so_is_told_and_not_over(happens):
    world = World()
    world.tries("moves", "o3", 0)
    for what, id, number in happens:
        world.tries(what, id, number)
    world.calms()
    assert not any(death.spared for death in world.alarms.deaths.values())
    for id in IDS:
        record = world.get(id)
        dead = record is not None and record.health is Health.DOWN
        guarded = world.is_told_by_a_guard(id)
        if not dead and not (record is not None and record.state is State.FAILED):
            assert f"down:{id}" not in world.open, f"{id} is not down"
        if dead:
            assert f"down:{id}" in world.open or guarded, f"{id} is down"
        if record is not None and record.state is State.FAILED:
            assert {f"down:{id}", f"failed:{id}"} & world.open or guarded, f"{id} is failed"
    for group in GROUPS:
        assert f"guard:{group}" in world.open or not world.awaited(group)
    for id in IDS:
        world.tries("starts", id, 1)
        world.tries("recovers", id, 1)
        world.tries("is_calm", id, 1)
    assert not {key for key in world.open if key.startswith(("down", "guard", "hold"))}
