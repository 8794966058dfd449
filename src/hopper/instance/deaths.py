"""Deaths: what the alarms know of who is down, and when they look at it. It does no I/O."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hopper.model.record import Record

__all__ = ["Death", "Deaths"]


@dataclass(slots=True, kw_only=True)
class Death:
    """An instance that was judged down, and when to look whether that is to be told; never, where `due_s` is None.

    `revision`, `at_ms`, `reason` and `evidence` are those of the verdict. `origin` is the revision of the event that
    last gave cause to look at it.
    """

    incarnation: int
    revision: int
    origin: int
    at_ms: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    due_s: float | None = None


class Deaths:
    """The death of each instance that is down, by its id. Seconds are of a monotonic clock."""

    def __init__(self) -> None:
        self._known: dict[str, Death] = {}
        self._due: list[tuple[float, int, str, Death]] = []
        self._order = count()

    def get(self, record: Record) -> Death | None:
        """What is known of the death of this incarnation."""
        death = self._known.get(record.id)
        return death if death is not None and death.incarnation == record.incarnation else None

    def put(self, id: str, death: Death) -> None:
        """Know of a death, in the place of an earlier one."""
        self._known[id] = death

    def forget(self, id: str) -> None:
        """It lives again, or is gone."""
        self._known.pop(id, None)

    # -- what waits ------------------------------------------------------------------------------------------------

    def wait(self, id: str, death: Death, due_s: float) -> None:
        """Look at a death at this time."""
        death.due_s = due_s
        heapq.heappush(self._due, (due_s, next(self._order), id, death))

    def waits(self, id: str) -> float | None:
        """When an instance is to be looked at."""
        death = self._known.get(id)
        return None if death is None else death.due_s

    def pop_due(self, now_s: float) -> Iterator[tuple[int, str, Death]]:
        """Those whose time has come, each with its place in the order in which they began to wait."""
        while self._due and self._due[0][0] <= now_s:
            due_s, order, id, death = heapq.heappop(self._due)
            if self._known.get(id) is death and death.due_s == due_s:
                yield order, id, death

    @property
    def next_due_s(self) -> float | None:
        """When the next is due."""
        return self._due[0][0] if self._due else None

    @property
    def oldest_origin(self) -> int | None:
        """The revision of the oldest event about which nothing is decided yet."""
        return min((death.origin for due_s, _, _, death in self._due if death.due_s == due_s), default=None)
