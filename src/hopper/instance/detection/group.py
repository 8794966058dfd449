"""Groups: instances that are likely to lapse together, and how many of them have. Times are local milliseconds."""

from collections import Counter
from math import inf
from typing import Generic, Protocol, TypeVar

from hopper.instance.detection.lapses import Lapses, Together

__all__ = ["Group"]


class Member(Protocol):
    """Who is in a group; who is not `counted` belongs to it, but neither to its size nor to its lapses."""

    ttl_ms: int
    counted: bool


M = TypeVar("M", bound=Member)


class Group(Generic[M]):
    """A Project's Orchestrations, the Global's descendants, or the orphans.

    The members of a Project's group count in the Global's, its `outer` one, too, but for those of a guarded Project.
    """

    __slots__ = ("_guarded", "_lapses", "_longest_ms", "_ttls", "members", "name", "outer", "size")

    def __init__(self, name: str, outer: "Group[M] | None" = None) -> None:
        self.name = name
        self.outer = outer
        self.size = 0
        """How many are counted, those of the groups within among them."""
        self.members: dict[M, int] = {}
        """Whose own group this is, with the TTL that they have in it."""
        self._ttls: Counter[int] = Counter()
        self._longest_ms = 0
        self._guarded = False
        self._lapses = Lapses()
        """Who of those that are counted lapsed. Each counts once."""

    # -- members ---------------------------------------------------------------------------------------------------

    def enter(self, member: M) -> None:
        """Take one in, or take over another TTL of one that is in."""
        old_ms = self.members.get(member)
        self.members[member] = member.ttl_ms
        if member.counted and old_ms != member.ttl_ms:
            self.tally(member.ttl_ms, 1)
            if old_ms is not None:
                self.tally(old_ms, -1)

    def leave(self, member: M) -> None:
        """Let one go."""
        ttl_ms = self.members.pop(member, None)
        if ttl_ms is not None and member.counted:
            self.tally(ttl_ms, -1)

    @property
    def ttl_ms(self) -> int:
        """The largest TTL in the group."""
        return self._longest_ms

    def tally(self, ttl_ms: int, change: int) -> None:
        """Count so many members more with a TTL, or fewer."""
        self.size += change
        self._ttls[ttl_ms] += change
        if not self._ttls[ttl_ms]:
            del self._ttls[ttl_ms]
        if change > 0:
            self._longest_ms = max(self._longest_ms, ttl_ms)
        elif ttl_ms >= self._longest_ms:
            self._longest_ms = max(self._ttls, default=0)
        if self.outer is not None and not self._guarded:
            self.outer.tally(ttl_ms, change)

    # -- lapses ----------------------------------------------------------------------------------------------------

    def lapse(self, id: str, at_ms: float, ttl_ms: int, *, place: str | None = None) -> None:
        """Count one that lapsed with its TTL, no earlier than those before it, in place of an earlier lapse of its own.

        `place` names the group within this one to which it belongs.
        """
        self._lapses.prune(at_ms - self.ttl_ms)
        self._lapses.put(id, at_ms, ttl_ms, place or self.name)
        if self.outer is not None and not self._guarded:
            self.outer.lapse(id, at_ms, ttl_ms, place=self.name)

    def retract(self, id: str) -> float | None:
        """Count a lapse no more; answers when it was, None where it was not counted."""
        at_ms = self._lapses.pop(id)
        if self.outer is not None:
            self.outer.retract(id)
        return at_ms

    def lapsed(self, from_ms: float, to_ms: float = inf) -> int:
        """How many have lapsed from a time on, up to another; as far back as the largest TTL in the group."""
        return self._lapses.since(from_ms, to_ms)

    def lapsed_with(self, id: str, noticed_ms: float, ttl_ms: int) -> int:
        """How many lapsed within a TTL of when one did, itself counted; or was noticed, where it counts no more."""
        at_ms = self._lapses.at_ms(id)
        at_ms = noticed_ms if at_ms is None else at_ms
        return max(1, self.lapsed(at_ms - ttl_ms, at_ms + ttl_ms))

    def together(self, now_ms: float, more_than: float) -> Together | None:
        """How many may have fallen silent together, where that is more than so many; the largest TTL is among them."""
        self._lapses.prune(now_ms - self.ttl_ms)
        return self._lapses.together(now_ms, more_than)

    # -- the guard -------------------------------------------------------------------------------------------------

    @property
    def guarded(self) -> bool:
        """Whether this group itself is guarded."""
        return self._guarded

    @property
    def spared(self) -> bool:
        """Whether nobody of this group is judged: it is guarded, or the one around it."""
        return self.standing is not None

    @property
    def standing(self) -> "Group[M] | None":
        """The guarded group for whose sake nobody of this one is judged: itself, or the one around it."""
        if self._guarded:
            return self
        return self.outer.standing if self.outer is not None else None

    def guard(self) -> None:
        """Guard it; its members and their lapses count no more in the group around it."""
        if self._guarded:
            return
        self._guarded = True
        if self.outer is not None:
            for ttl_ms, count in self._ttls.items():
                self.outer.tally(ttl_ms, -count)
            self.outer.disregard(self.name)

    def forget(self) -> None:
        """Count nobody's lapse so far; those of the group around it are its own."""
        self._lapses.clear()

    def disregard(self, place: str) -> None:
        """Count no more who lapsed in a group within."""
        self._lapses.pop_of(place)

    def release(self) -> None:
        """Guard it no longer, and forget who lapsed: they bring about no other guard."""
        if not self._guarded:
            return
        self._guarded = False
        self.forget()
        if self.outer is not None:
            for ttl_ms, count in self._ttls.items():
                self.outer.tally(ttl_ms, count)
