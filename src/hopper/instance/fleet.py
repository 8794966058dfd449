"""The fleet: what the monitor knows of each instance that must heartbeat. Times are local monotonic milliseconds."""

import math
from collections import deque
from collections.abc import Iterator

from hopper.instance.wheel import Wheel
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

__all__ = ["Fleet", "Group", "Watch"]


class Group:
    """Instances that are likely to lapse together: a Project's Orchestrations, the rest under the Global, orphans."""

    __slots__ = ("lapses", "name", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.lapses: deque[float] = deque(maxlen=10_000)

    def lapsed_since(self, since_ms: float) -> int:
        """How many have lapsed since a time."""
        while self.lapses and self.lapses[0] < since_ms:
            self.lapses.popleft()
        return len(self.lapses)


class Watch:
    """One instance under watch."""

    __slots__ = (
        "deadline_ms",
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
    )

    def __init__(self, record: Record, key: str, group: Group) -> None:
        self.id = record.id
        self.key = key
        self.group = group
        self.tick = -1
        self.deadline_ms = math.inf
        self.lapsed_ms: float | None = None
        """When the lapse that is not judged yet was noticed."""
        self.evicted_ms = -math.inf
        """When Redis evicted the heartbeat for lack of memory: a hold of this one instance."""
        self.take(record)

    def take(self, record: Record) -> None:
        """Take over what the record says."""
        self.incarnation = record.incarnation
        self.ttl_ms = record.ttl_ms
        self.grace_ms = record.grace_ms
        self.health = record.health
        self.state = record.state

    @property
    def is_judged(self) -> bool:
        """Whether the verdict stands and only a recovery is awaited."""
        return self.health is Health.DOWN and self.state is not State.STOPPING

    @property
    def since_ms(self) -> float:
        """The last sign of life that is certain: the start of the TTL that ended at the deadline."""
        return self.deadline_ms - self.ttl_ms


class Fleet:
    """Every instance under watch, by id, in groups, and on a wheel of deadlines."""

    def __init__(self, *, tick_ms: int) -> None:
        self.wheel: Wheel[Watch] = Wheel(tick_ms=tick_ms)
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
            return watch
        if watch.group is not group:
            self._leave(watch.group)
            watch.group = group
            group.size += 1
        watch.take(record)
        return watch

    def drop(self, id: str) -> None:
        """Watch an instance no longer."""
        watch = self._watches.pop(id, None)
        if watch is not None:
            self.wheel.cancel(watch)
            self._leave(watch.group)

    def clear(self) -> None:
        """Watch nobody."""
        for watch in self._watches.values():
            self.wheel.cancel(watch)
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
