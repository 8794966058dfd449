"""Deaths: what the alarms know of who is down, and when they look at it. It does no I/O."""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hopper.model.alert import FOUND, KnownDeath
from hopper.model.event import Event
from hopper.model.record import Record

__all__ = ["Death", "Deaths"]

_AT_ONCE = 500
"""Deaths looked at before the next pulse of the monitor has its turn."""


@dataclass(slots=True, kw_only=True)
class Death:
    """An instance that was judged down, and when to look whether that is to be told; never, where `due_s` is None.

    `revision`, `at_ms`, `reason` and `evidence` are those of the verdict. `origin` is the revision of the event that
    last gave cause to look at it. `spared`: it is not to be told, since it was so before there were alerts. `seen`: the
    verdict was read; else the log is asked for it before this is told.
    """

    incarnation: int
    revision: int
    origin: int
    at_ms: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    due_s: float | None = None
    spared: bool = False
    seen: bool = True

    def recall(self, id: str, event: Event | None) -> None:
        """Take in the event at its revision, None where the log has none: it is the verdict, or something later."""
        self.seen = True
        if event is not None and event.id == id and event.at_ms == self.at_ms:
            self.reason, self.evidence = event.reason, {**event.evidence, **self.evidence}


class Deaths:
    """The death of each instance that is down, by its id. Seconds are of a monotonic clock.

    `handed` are those that the leader before knew.
    """

    def __init__(self, handed: Mapping[str, KnownDeath]) -> None:
        self._known: dict[str, Death] = {}
        self._handed = dict(handed)
        self._due: list[tuple[float, int, str, Death]] = []
        self._order = count()
        self._unseen: dict[str, Death] = {}

    def get(self, record: Record) -> Death | None:
        """What is known of the death of this incarnation."""
        death = self._known.get(record.id)
        return death if death is not None and death.incarnation == record.incarnation else None

    def has(self, record: Record) -> bool:
        """Whether the death of this incarnation is known, here or to the leader before."""
        handed = self._handed.get(record.id)
        return self.get(record) is not None or (handed is not None and handed.at_ms == record.down_at_ms)

    def of(self, record: Record, origin: int) -> Death:
        """The death of one that is dead: as it is known, else as the leader before knew it or the record tells."""
        death = self.get(record)
        if death is None or record.down_at_ms not in (None, death.at_ms):
            at_ms = record.updated_at_ms if record.down_at_ms is None else record.down_at_ms
            death = self._known[record.id] = Death(
                incarnation=record.incarnation,
                revision=record.revision,
                origin=origin,
                at_ms=at_ms,
                reason=FOUND,
                seen=False,
            )
            handed = self._handed.get(record.id)
            if handed is not None and handed.at_ms == at_ms:
                death.revision, death.spared = handed.revision, handed.spared
        return death

    def put(self, id: str, death: Death) -> None:
        """Know of a death, in the place of an earlier one."""
        handed = self._handed.get(id)
        if handed is not None and handed.revision == death.revision:
            death.spared = handed.spared
        self._known[id] = death

    def forget(self, id: str, revision: int) -> None:
        """It lives again, or is gone, by an event of this revision."""
        self._known.pop(id, None)
        handed = self._handed.get(id)
        if handed is not None and handed.revision < revision:
            del self._handed[id]

    def keep(self, ids: Collection[str]) -> None:
        """Forget all but these, who alone are dead."""
        self._known = {id: death for id, death in self._known.items() if id in ids}
        self._handed.clear()

    def all(self) -> dict[str, KnownDeath]:
        """What another leader is to know of them."""
        return {id: KnownDeath(death.revision, death.at_ms, death.spared) for id, death in self._known.items()}

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
        """Those whose time has come, each with its place in the order in which they began to wait; at most 500."""
        for _ in range(_AT_ONCE):
            if not self._due or self._due[0][0] > now_s:
                return
            due_s, order, id, death = heapq.heappop(self._due)
            if self._known.get(id) is death and death.due_s == due_s:
                yield order, id, death

    def ask(self, id: str, death: Death, now_s: float) -> None:
        """Look at a death again once the log was asked for its verdict."""
        self._unseen[id] = death
        self.wait(id, death, now_s)

    def pop_unseen(self) -> dict[str, Death]:
        """Those whose verdicts the log is to be asked for."""
        unseen, self._unseen = self._unseen, {}
        return unseen

    @property
    def next_due_s(self) -> float | None:
        """When the next is due."""
        return self._due[0][0] if self._due else None

    @property
    def oldest_origin(self) -> int | None:
        """The revision of the oldest event about which nothing is decided yet."""
        return min((death.origin for due_s, _, _, death in self._due if death.due_s == due_s), default=None)
