"""Releases: guards that were, and whom the alert of a guard tells of, so that nobody else's does. It does no I/O."""

from collections.abc import Mapping
from typing import Any

from hopper.instance.alerting.deaths import Death
from hopper.instance.replica import Replica
from hopper.model.event import Reason
from hopper.model.group import ORPHANS, groups_around, project_of
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector

__all__ = ["Releases", "left_down"]

Span = tuple[int | None, int]

_REMEMBERED_MS = 3_600_000
"""How long a release is remembered, at least: those that lapsed before it are judged right after it."""


class Releases:
    """The last release of each group's guard. Times are milliseconds of Redis' clock.

    `spans` has for each group from when on the guard took verdicts back, None for always, and when it was released.
    """

    def __init__(self, spans: Mapping[str, Span]) -> None:
        self.spans = dict(spans)
        self._now_ms = max((at_ms for _, at_ms in self.spans.values()), default=0)

    def heed_clock(self, at_ms: int) -> None:
        """Forget releases that are later than what follows them: Redis' clock was set back, and no time fits them."""
        if at_ms < self._now_ms:
            self.spans = {group: span for group, span in self.spans.items() if span[1] <= at_ms}
        self._now_ms = at_ms

    def put(self, group: str, guard: Mapping[str, Any], at_ms: int) -> None:
        """The guard of a group was released."""
        from_ms = _reach_ms(guard)
        self.spans = {other: span for other, span in self.spans.items() if at_ms - span[1] < _REMEMBERED_MS}
        self.spans[group] = (None if from_ms is None or from_ms > at_ms else from_ms, at_ms)

    def spare(self, record: Record, death: Death, guards: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether a guard's alert tells of a death: one of these stands, or one stood when the heartbeat lapsed.

        Not of one that was down before the guard, which has nothing to do with it.
        """
        if death.reason == Reason.GUARD:
            return True
        groups = groups_around(record)
        if any(group in groups and _is_after(_reach_ms(guard), death) for group, guard in guards.items()):
            return True
        lapsed_ms = death.evidence.get("deadline_ms", death.at_ms)
        return any(
            group in groups and _is_after(from_ms, death) and lapsed_ms < at_ms
            for group, (from_ms, at_ms) in self.spans.items()
        )


def _reach_ms(guard: Mapping[str, Any]) -> int | None:
    """From when on a guard takes verdicts back: a TTL before it was raised. None where it does not say."""
    since_ms, ttl_ms = guard.get("since_ms"), guard.get("ttl_ms")
    if isinstance(since_ms, int | float) and isinstance(ttl_ms, int | float):
        return int(since_ms - ttl_ms)
    return None


def _is_after(from_ms: int | None, death: Death) -> bool:
    return from_ms is None or death.at_ms >= from_ms


def left_down(group: str, replica: Replica) -> dict[str, int]:
    """Evidence of the end of a guard: how many of its group are not back."""
    left = sum(_count_in(group, health, replica) for health in (Health.DOWN, Health.SUSPECT))
    return {"left_down": left} if left else {}


def _count_in(group: str, health: Health, replica: Replica) -> int:
    """How many of a guarded group have a health. Looks at no more than its smallest index, of 100,000 records too."""
    wanted, project = frozenset({health}), project_of(group)
    if project is not None:
        return len(replica.select(Selector(health=wanted, parent=project, scope=frozenset({Scope.ORCHESTRATION}))))
    orphans = len(replica.select(Selector(health=wanted, orphan=True)))
    return orphans if group == ORPHANS else replica.count("health", health) - orphans
