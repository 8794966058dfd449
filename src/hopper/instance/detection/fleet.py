"""The fleet: what the monitor knows of each instance that must heartbeat. Times are local monotonic milliseconds."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hopper.instance.detection.group import Group
from hopper.instance.detection.wheel import Wheel
from hopper.model.group import GLOBAL, ORPHANS, group_name
from hopper.model.health import ALIVE, Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

__all__ = ["Fleet", "Watch"]


class Watch:
    """One instance under watch."""

    __slots__ = (
        "alive",
        "counted",
        "deadline_ms",
        "down_at_ms",
        "dropped",
        "evicted_ms",
        "grace_ms",
        "group",
        "health",
        "id",
        "incarnation",
        "key",
        "lapsed_ms",
        "pardoned",
        "problem",
        "state",
        "tick",
        "timed",
        "ttl_ms",
        "verdict_revision",
    )

    def __init__(self, record: Record, key: str, group: "Group[Watch]") -> None:
        self.id = record.id
        self.key = key
        self.group = group
        self.counted = record.scope is not Scope.GLOBAL
        """Whether it is a member of its group: the Global is only spared with those below it."""
        self.tick = -1
        self.dropped = False
        """Whether it is watched no more: whoever still holds it after an await forgets it."""
        self.deadline_ms = math.inf
        self.lapsed_ms: float | None = None
        """When the lapse that is not judged yet was noticed."""
        self.pardoned = False
        """Whether a guard was released over this lapse: it brings about no other one."""
        self.timed = False
        """Whether the heartbeat that ends at the deadline was written one TTL before that, as far as can be known."""
        self.problem: Mapping[str, Any] | None = None
        """What its check has found, for which its heartbeat was taken back."""
        self.evicted_ms = -math.inf
        """When Redis evicted the heartbeat for lack of memory: a hold of this one instance."""
        self.down_at_ms: int | None = None
        """When it was judged `down`, by Redis' clock."""
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
            self.down_at_ms = record.down_at_ms

    def turn(self, health: Health) -> None:
        """Take over another health."""
        self.health = health
        self.alive = health in ALIVE
        """Whether no verdict stands."""

    def lapse(self, at_ms: float) -> None:
        """Its heartbeat is gone, as was noticed at `at_ms`: it may be judged, and counts in its group from then on.

        Noticed again, it counts anew: whoever waited for the end of a hold lapses with all who waited too. One that is
        suspect already counts no second time, and one that is about to stop not at all.
        """
        self._notice(at_ms)
        if self.alive:
            if self.counted and not self.pardoned and self.state is not State.STOPPING:
                self.group.lapse(self.id, at_ms, self.ttl_ms)
            else:
                self.group.retract(self.id)

    def wait(self, at_ms: float) -> None:
        """Its heartbeat is gone, as was noticed at `at_ms`, but it may not be judged yet, and counts once it may."""
        self._notice(at_ms)
        self._retract()

    def revive(self) -> None:
        """It heartbeats: a lapse on which there was no verdict never was."""
        self._retract()
        self.lapsed_ms = None
        self.pardoned = False

    def pardon(self) -> None:
        """The guard over it is released: it counts no more for the lapse that it is in, whatever comes of that."""
        self.group.retract(self.id)
        self.pardoned = self.lapsed_ms is not None

    def _notice(self, at_ms: float) -> None:
        if self.lapsed_ms is None:
            self.lapsed_ms = at_ms
            self.deadline_ms = min(self.deadline_ms, at_ms)

    def _retract(self) -> None:
        if self.lapsed_ms is not None and self.alive:
            self.group.retract(self.id)

    def is_silent_since(self, at_ms: float) -> bool:
        """Whether its heartbeat is gone, and it was not `down` before `at_ms` of Redis' clock."""
        if self.health is Health.DOWN:
            return self.down_at_ms is not None and self.down_at_ms >= at_ms
        return self.health is Health.SUSPECT or self.lapsed_ms is not None

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
        self._groups: dict[str, Group[Watch]] = {GLOBAL: Group(GLOBAL)}

    def __len__(self) -> int:
        return len(self._watches)

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches.values())

    def get(self, id: str) -> Watch | None:
        """The watch of an id, None where it is not watched."""
        return self._watches.get(id)

    def take(self, record: Record, key: str) -> Watch:
        """Watch an instance, or take over what changed; answers its watch, not scheduled if it is new."""
        group = self.group(group_name(record))
        watch = self._watches.get(record.id)
        if watch is None:
            watch = self._watches[record.id] = Watch(record, key, group)
        elif watch.group is not group:
            at_ms = watch.group.retract(watch.id)
            self._leave(watch)
            watch.group = group
            if at_ms is not None and watch.lapsed_ms is not None:
                watch.lapse(at_ms)  # it is not judged yet, and then will be as one of its new group
        watch.take(record)
        group.enter(watch)
        return watch

    def drop(self, id: str) -> None:
        """Watch an instance no longer."""
        watch = self._watches.pop(id, None)
        if watch is not None:
            watch.dropped = True
            watch.revive()
            self.wheel.cancel(watch)
            self._leave(watch)

    def clear(self) -> None:
        """Watch nobody."""
        for watch in self._watches.values():
            watch.dropped = True
        self.wheel = Wheel(tick_ms=self._tick_ms)
        self._watches.clear()
        self._groups = {GLOBAL: Group(GLOBAL)}

    # -- groups ----------------------------------------------------------------------------------------------------

    def group(self, name: str) -> Group[Watch]:
        """The group of a name; a new one is empty."""
        group = self._groups.get(name)
        if group is None:
            outer = None if name == ORPHANS else self._groups[GLOBAL]
            group = self._groups[name] = Group(name, outer)
        return group

    def guarded(self) -> list[Group[Watch]]:
        """The groups that are guarded."""
        return [group for group in self._groups.values() if group.guarded]

    def members(self, group: Group[Watch]) -> list[Watch]:
        """Everyone whose place is in a group, or in one that counts in it; the Global among its descendants."""
        return [watch for one in (group, *self.within(group)) for watch in one.members]

    def judged_since(self, group: Group[Watch], at_ms: float) -> list[Watch]:
        """The members of a group who were judged no earlier than `at_ms` of Redis' clock.

        Not those at whom this monitor has not looked yet: it knows no deadline of theirs, and judges them once it does.
        """
        return [
            watch
            for watch in self.members(group)
            if watch.is_judged and watch.is_silent_since(at_ms) and watch.deadline_ms < math.inf
        ]

    def within(self, group: Group[Watch]) -> list[Group[Watch]]:
        """The groups that count in a group: those of the Projects that are not guarded, in the Global's."""
        return [inner for inner in self._groups.values() if inner.outer is group and not inner.guarded]

    def spares(self, record: Record) -> bool:
        """Whether the group of an instance, or the one around it, is guarded."""
        group = self._groups.get(group_name(record)) or self._groups[GLOBAL]
        return group.spared

    def release(self, group: Group[Watch]) -> None:
        """Guard a group no longer; the lapses of its members are forgotten."""
        for watch in self.members(group):
            watch.pardon()
        for inner in self.within(group):
            inner.forget()
        group.release()
        self._forget(group)

    def _leave(self, watch: Watch) -> None:
        watch.group.leave(watch)
        self._forget(watch.group)

    def _forget(self, group: Group[Watch]) -> None:
        if not group.members and not group.guarded and group.name != GLOBAL:
            self._groups.pop(group.name, None)
