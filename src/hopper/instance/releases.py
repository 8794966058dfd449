"""Releases: guards that were, and whom the alert of a guard tells of, so that nobody else's does. It does no I/O."""

from collections.abc import Iterable

from hopper.instance.deaths import Death
from hopper.instance.replica import Replica
from hopper.model.event import Reason
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector

__all__ = ["Releases", "left_down"]

_REMEMBERED_MS = 3_600_000
"""How long a release is remembered, at least: those that lapsed before it are judged right after it."""


class Releases:
    """The last release of each group's guard, in milliseconds of Redis' clock."""

    def __init__(self) -> None:
        self._at_ms: dict[str, int] = {}
        self._now_ms = 0

    def heed_clock(self, at_ms: int) -> None:
        """Forget releases that are later than what follows them: Redis' clock was set back, and no time fits them."""
        if at_ms < self._now_ms:
            self._at_ms = {group: ms for group, ms in self._at_ms.items() if ms <= at_ms}
        self._now_ms = at_ms

    def put(self, group: str, at_ms: int) -> None:
        """The guard of a group was released."""
        self._at_ms = {other: ms for other, ms in self._at_ms.items() if at_ms - ms < _REMEMBERED_MS}
        self._at_ms[group] = at_ms

    def spare(self, record: Record, death: Death, guarded: Iterable[str]) -> bool:
        """Whether a guard's alert tells of a death: one stands, or stood when the heartbeat lapsed."""
        if death.reason == Reason.GUARD or any(_is_in(group, record) for group in guarded):
            return True
        lapsed_ms = death.evidence.get("deadline_ms", death.at_ms)
        return any(_is_in(group, record) and lapsed_ms < at_ms for group, at_ms in self._at_ms.items())


def left_down(group: str, replica: Replica) -> dict[str, int]:
    """Evidence of the end of a guard: how many of its group are not back."""
    left = sum(_count_in(group, health, replica) for health in (Health.DOWN, Health.SUSPECT))
    return {"left_down": left} if left else {}


def _count_in(group: str, health: Health, replica: Replica) -> int:
    """How many of a guarded group have a health. Looks at no more than its smallest index, of 100,000 records too."""
    if group.startswith("project:"):
        wanted = frozenset({health})
        project = group.removeprefix("project:")
        return len(replica.select(Selector(health=wanted, parent=project, scope=frozenset({Scope.ORCHESTRATION}))))
    orphans = len(replica.select(Selector(health=frozenset({health}), orphan=True)))
    return orphans if group == "orphans" else replica.count("health", health) - orphans


def _is_in(group: str, record: Record) -> bool:
    """Whether an instance belongs to a guarded group: `project:ID`, `orphans` or `global`, which is all the others."""
    if group.startswith("project:"):
        return record.parent_id == group.removeprefix("project:") and record.scope is Scope.ORCHESTRATION
    return record.is_orphan == (group == "orphans")
