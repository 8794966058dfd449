"""Groups: instances that are likely to lapse together, and how many of them have. Times are local milliseconds."""

from collections import Counter, OrderedDict
from typing import Generic, Protocol, TypeVar

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

    __slots__ = ("_guarded", "_lapsed", "_lapses", "_longest_ms", "_ttls", "members", "name", "outer", "size")

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
        self._lapses: OrderedDict[float, int] = OrderedDict()
        self._lapsed = 0

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

    def lapse(self, at_ms: float) -> None:
        """Count one that lapsed."""
        self._lapses[at_ms] = self._lapses.get(at_ms, 0) + 1
        self._lapsed += 1
        if self.outer is not None and not self._guarded:
            self.outer.lapse(at_ms)

    def retract(self, at_ms: float) -> None:
        """Count no more one that lapsed at `at_ms`."""
        if self._lapses.get(at_ms, 0):
            self._lapses[at_ms] -= 1
            self._lapsed -= 1
        if self.outer is not None and not self._guarded:
            self.outer.retract(at_ms)

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

    # -- the guard -------------------------------------------------------------------------------------------------

    @property
    def guarded(self) -> bool:
        """Whether this group itself is guarded."""
        return self._guarded

    @property
    def spared(self) -> bool:
        """Whether nobody of this group is judged: it is guarded, or the one around it."""
        return self._guarded or (self.outer is not None and self.outer.spared)

    def guard(self) -> None:
        """Guard it; its members and their lapses count no more in the group around it."""
        if self._guarded:
            return
        self._guarded = True
        if self.outer is not None:
            for ttl_ms, count in self._ttls.items():
                self.outer.tally(ttl_ms, -count)
            for at_ms, count in self._lapses.items():
                for _ in range(count):
                    self.outer.retract(at_ms)

    def release(self) -> None:
        """Guard it no longer, and forget who lapsed: they bring about no other guard."""
        if not self._guarded:
            return
        self._guarded = False
        self._lapses.clear()
        self._lapsed = 0
        if self.outer is not None:
            for ttl_ms, count in self._ttls.items():
                self.outer.tally(ttl_ms, count)
