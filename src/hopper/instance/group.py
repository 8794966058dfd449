"""Groups: instances that are likely to lapse together, and how many of them have. Times are local milliseconds."""

from collections import OrderedDict

__all__ = ["Group"]


class Group:
    """A Project's Orchestrations, the Global's descendants, or the orphans.

    The members of a Project's group count in the Global's, its `outer` one, too, but for those of a guarded Project.
    """

    __slots__ = ("_guarded", "_lapsed", "_lapses", "name", "outer", "size", "ttl_ms")

    def __init__(self, name: str, outer: "Group | None" = None) -> None:
        self.name = name
        self.outer = outer
        self.size = 0
        self.ttl_ms = 0
        """The largest TTL there has been in the group."""
        self._guarded = False
        self._lapses: OrderedDict[float, int] = OrderedDict()
        self._lapsed = 0

    # -- members ---------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Count one member more."""
        self.size += 1
        if self.outer is not None and not self._guarded:
            self.outer.enter()

    def leave(self) -> None:
        """Count one member less."""
        self.size -= 1
        if self.outer is not None and not self._guarded:
            self.outer.leave()

    def last(self, ttl_ms: int) -> None:
        """A member has this TTL."""
        self.ttl_ms = max(self.ttl_ms, ttl_ms)
        if self.outer is not None:
            self.outer.last(ttl_ms)

    # -- lapses ----------------------------------------------------------------------------------------------------

    def lapse(self, at_ms: float) -> None:
        """Count one that lapsed."""
        self._lapses[at_ms] = self._lapses.get(at_ms, 0) + 1
        self._lapsed += 1
        if self.outer is not None and not self._guarded:
            self.outer.lapse(at_ms)

    def retract(self, at_ms: float) -> None:
        """Count no more one that lapsed at `at_ms`: it lives after all."""
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
            self.outer.size -= self.size
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
            self.outer.size += self.size
