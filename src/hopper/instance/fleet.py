"""The fleet: what the monitor knows of each instance that must heartbeat. Times are local monotonic milliseconds."""

import math
from collections import OrderedDict
from collections.abc import Iterator

from hopper.instance.wheel import Wheel
from hopper.model.health import ALIVE, Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

__all__ = ["Fleet", "Group", "Watch"]


class Group:
    """Instances that are likely to lapse together: a Project's Orchestrations, the rest under the Global, orphans."""

    __slots__ = ("_lapsed", "_lapses", "name", "size", "ttl_ms")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.ttl_ms = 0
        """The largest TTL there has been in the group."""
        self._lapses: OrderedDict[float, int] = OrderedDict()
        self._lapsed = 0

    def lapse(self, at_ms: float) -> None:
        """Count one that lapsed."""
        self._lapses[at_ms] = self._lapses.get(at_ms, 0) + 1
        self._lapsed += 1

    def retract(self, at_ms: float) -> None:
        """Count no more one that lapsed at `at_ms`: it lives after all."""
        if self._lapses.get(at_ms, 0):
            self._lapses[at_ms] -= 1
            self._lapsed -= 1

    def lapsed(self, at_ms: float) -> int:
        """How many have lapsed with one that did so at `at_ms`: since one TTL before, the largest of the group."""
        since_ms = at_ms - self.ttl_ms
        while self._lapses:
            first_ms, count = self._lapses.popitem(last=False)
            if first_ms >= since_ms:
                self._lapses[first_ms] = count
                self._lapses.move_to_end(first_ms, last=False)
                break
            self._lapsed -= count
        return self._lapsed


class Watch:
    """One instance under watch."""

    __slots__ = (
        "alive",
        "deadline_ms",
        "dropped",
        "evicted_ms",
        "grace_ms",
        "group",
        "health",
        "id",
        "incarnation",
        "key",
        "lapsed_ms",
        "state",
        "tick",
        "ttl_ms",
        "verdict_revision",
    )

    def __init__(self, record: Record, key: str, group: Group) -> None:
        self.id = record.id
        self.key = key
        self.group = group
        self.tick = -1
        self.dropped = False
        """Whether it is watched no more: whoever still holds it after an await forgets it."""
        self.deadline_ms = math.inf
        self.lapsed_ms: float | None = None
        """When the lapse that is not judged yet was noticed."""
        self.evicted_ms = -math.inf
        """When Redis evicted the heartbeat for lack of memory: a hold of this one instance."""
        self.verdict_revision = -1
        """The revision of the last verdict: the log tells of it later, and must not undo what came since."""
        self.take(record)

    def take(self, record: Record) -> None:
        """Take over what the record says, but for a health that a verdict of ours has overtaken."""
        self.incarnation = record.incarnation
        self.ttl_ms = record.ttl_ms
        self.grace_ms = record.grace_ms
        self.state = record.state
        if record.revision > self.verdict_revision:
            self.turn(record.health)

    def turn(self, health: Health) -> None:
        """Take over another health."""
        self.health = health
        self.alive = health in ALIVE
        """Whether no verdict stands."""

    def lapse(self, at_ms: float) -> None:
        """Its heartbeat is gone, as was noticed at `at_ms`."""
        if self.lapsed_ms is None:
            self.lapsed_ms = at_ms
            self.deadline_ms = min(self.deadline_ms, at_ms)
            self.group.lapse(at_ms)

    def revive(self) -> None:
        """It heartbeats: a lapse on which there was no verdict never was."""
        if self.lapsed_ms is not None and self.alive:
            self.group.retract(self.lapsed_ms)
        self.lapsed_ms = None

    @property
    def is_judged(self) -> bool:
        """Whether the verdict stands and only a recovery is awaited."""
        return self.health is Health.DOWN and self.state is not State.STOPPING

    @property
    def grace_end_ms(self) -> float:
        """Until when a lapse makes it `suspect`, not `down`."""
        return self.deadline_ms + self.grace_ms

    @property
    def since_ms(self) -> float:
        """The last sign of life that is certain: the start of the TTL that ended at the deadline."""
        return self.deadline_ms - self.ttl_ms


class Fleet:
    """Every instance under watch, by id, in groups, and on a wheel of deadlines."""

    def __init__(self, *, tick_ms: int) -> None:
        self.wheel: Wheel[Watch] = Wheel(tick_ms=tick_ms)
        self._tick_ms = tick_ms
        self._watches: dict[str, Watch] = {}
        self._groups: dict[str, Group] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches.values())

    def get(self, id: str) -> Watch | None:
        """The watch of an id, None where it is not watched."""
        return self._watches.get(id)

    def take(self, record: Record, key: str) -> Watch:
        """Watch an instance, or take over what changed; answers its watch, not scheduled if it is new."""
        group = self._group(record)
        watch = self._watches.get(record.id)
        if watch is None:
            watch = self._watches[record.id] = Watch(record, key, group)
            group.size += 1
        elif watch.group is not group:
            self._leave(watch.group)
            watch.group = group
            group.size += 1
        group.ttl_ms = max(group.ttl_ms, record.ttl_ms)
        watch.take(record)
        return watch

    def drop(self, id: str) -> None:
        """Watch an instance no longer."""
        watch = self._watches.pop(id, None)
        if watch is not None:
            watch.dropped = True
            self.wheel.cancel(watch)
            self._leave(watch.group)

    def clear(self) -> None:
        """Watch nobody."""
        for watch in self._watches.values():
            watch.dropped = True
        self.wheel = Wheel(tick_ms=self._tick_ms)
        self._watches.clear()
        self._groups.clear()

    def _group(self, record: Record) -> Group:
        if record.scope is Scope.ORCHESTRATION and record.parent_id is not None:
            name = f"project:{record.parent_id}"
        else:
            name = "orphans" if record.is_orphan else "global"
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name)
        return group

    def _leave(self, group: Group) -> None:
        group.size -= 1
        if not group.size:
            self._groups.pop(group.name, None)
