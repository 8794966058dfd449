"""Guards: groups of which so many lapsed together that a common cause is likelier than their deaths.

Nobody of a guarded group is judged, restarted or reaped. A guard always ends: when enough of the group heartbeat again,
after some TTLs, or by hand.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

from hopper.config import Settings
from hopper.errors import HopperError, NotLeader
from hopper.instance.detection.fleet import Fleet, Watch
from hopper.instance.detection.group import Group
from hopper.instance.detection.lapses import Together
from hopper.instance.detection.pulse import Pulse, local_ms
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.store.surveillance import SurveillanceStore

__all__ = ["Guards"]

ACTOR = "monitor"
_AT_ONCE = 1_000
"""Members looked at before the next pulse and the next probe have their turn."""


class Guards:
    """The guards over the groups of a fleet. `run` as a task.

    `on_guard` is awaited with each group that is guarded from now on, `on_release` called with each that no longer is.
    """

    def __init__(
        self,
        settings: Settings,
        surveillance: SurveillanceStore,
        fleet: Fleet,
        *,
        on_guard: Callable[[Group[Watch]], Awaitable[None]],
        on_release: Callable[[Group[Watch]], None],
    ) -> None:
        self.pulse: Pulse
        """Set by the monitor, since each needs the other."""
        self._settings = settings
        self._surveillance = surveillance
        self._fleet = fleet
        self._on_guard = on_guard
        self._on_release = on_release
        self._doubts, self._settled = 1, 0
        """How often it became unknown which guards stand in Redis, and up to which of these doubts that was read."""
        self._raising: set[str] = set()
        """Groups of which the guard is on its way to Redis."""
        self._reach_ms: dict[str, float] = {}
        self._until_ms: dict[str, float] = {}
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    def begin(self) -> None:
        """This monitor leads from now on: read again which guards stand before anybody is judged."""
        self._doubts += 1
        self._reach_ms.clear()
        self._until_ms.clear()

    def spares(self, record: Record) -> bool:
        """Whether an instance is under guard. While it is not known yet which guards stand, everybody is."""
        return self._settled != self._doubts or self._fleet.spares(record)

    # -- raising ---------------------------------------------------------------------------------------------------

    async def settle(self, watches: Iterable[Watch]) -> None:
        """Raise the guards that the lapses of these call for.

        A Project's group comes before the one around it, which it then no longer burdens, also where nobody of that
        Project is among these. Raises `NotLeader`, and `Unavailable` where Redis is away.
        """
        await self._load()
        groups = dict.fromkeys(watch.group for watch in watches if watch.counted)
        around = dict.fromkeys(group.outer for group in groups if group.outer is not None)
        now_ms = local_ms()
        for struck in (*groups, *around):
            if self._strikes(struck, now_ms) is None:
                continue
            for group in (*self._fleet.within(struck), struck):
                together = self._strikes(group, now_ms)
                if together is not None:
                    await self._raise(group, together, now_ms)

    def _strikes(self, group: Group[Watch], now_ms: float) -> Together | None:
        """So many of a group lapsed together that it is to be guarded; None where they are fewer, or it is spared."""
        if group.spared or group.size < self._settings.guard_minimum:
            return None
        return group.together(now_ms, self._settings.guard_share * group.size)

    async def _raise(self, group: Group[Watch], together: Together, now_ms: float) -> None:
        lapsed, ttl_ms, since_ms = together.count, together.ttl_ms, round(self.pulse.clock.redis_ms(now_ms))
        lasts_ms = ttl_ms * self._settings.guard_ttls
        share = f"{self._settings.guard_share:.0%}"
        reason = f"{lapsed} of {group.size} lapsed within {ttl_ms / 1000:g} s, over {share}"
        evidence: dict[str, Any] = {
            "group": group.name,
            "lapsed": lapsed,
            "group_size": group.size,
            "ttl_ms": ttl_ms,
            "since_ms": since_ms,
            "until_ms": since_ms + round(lasts_ms),
            "monitor": self.pulse.monitor_id,
            "reason": reason,
        }
        self._raising.add(group.name)
        try:
            await self._surveillance.raise_guard(
                group.name, monitor_id=self.pulse.monitor_id, reason=reason, evidence=evidence
            )
        except HopperError:
            self._doubts += 1  # it may stand all the same
            raise
        finally:
            self._raising.discard(group.name)
        if self._fleet.group(group.name) is not group:
            self._doubts += 1  # this monitor has begun anew
            return
        self._stand(group, reach_ms=since_ms - ttl_ms, until_ms=now_ms + lasts_ms)
        self._logger.warning("guard.raised", group=group.name, lapsed=lapsed, size=group.size)
        await self._on_guard(group)

    def _stand(self, group: Group[Watch], *, reach_ms: float, until_ms: float) -> None:
        group.guard()
        self._reach_ms[group.name] = reach_ms
        self._until_ms[group.name] = until_ms

    async def _load(self) -> None:
        """Where it is in doubt, what Redis says of which guards stand; again, where another doubt came meanwhile."""
        while self._settled != (doubts := self._doubts):
            known = self._fleet.guarded()
            found = await self._surveillance.guards()
            if doubts == self._doubts:
                self._settled = doubts
                await self._adopt(known, found)

    async def _adopt(self, known: list[Group[Watch]], found: dict[str, dict[str, Any]]) -> None:
        """Take over the guards that stand in Redis, and let those fall that were known and no longer do."""
        now_ms = local_ms()
        redis_ms = self.pulse.clock.redis_ms(now_ms)
        groups = [group for group in map(self._fleet.group, found) if not group.guarded]
        for group in groups:
            longest_ms = max(group.ttl_ms, self._settings.ttl_ms) * self._settings.guard_ttls
            since_ms = _number(found[group.name].get("since_ms"), redis_ms)
            reach_ms = since_ms - _number(found[group.name].get("ttl_ms"), group.ttl_ms)
            left_ms = _number(found[group.name].get("until_ms"), redis_ms) - redis_ms
            self._stand(group, reach_ms=reach_ms, until_ms=now_ms + min(max(left_ms, 0.0), longest_ms))
        for group in known:
            if group.name not in found:
                self._fall(group, "it was released meanwhile")
        for group in groups:
            await self._on_guard(group)

    def reach_ms(self, group: Group[Watch]) -> float:
        """From when on, by Redis' clock, a verdict on one of a guarded group is taken back: a TTL before the guard, the
        largest of those that lapsed together.
        """
        standing = group.standing
        return math.inf if standing is None else self._reach_ms.get(standing.name, math.inf)

    # -- releasing -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Release the guards whose time has come; ends by cancellation."""
        while True:
            await asyncio.sleep(self._settings.recovery_ms / 1000)
            if not self.pulse.leads or self.pulse.holds.open:
                continue
            try:
                await self._load()
                for group in self._fleet.guarded():
                    await self._look_at(group)
            except NotLeader:
                self.pulse.step_down()
            except HopperError as error:
                self._logger.warning("guard.not_released", detail=str(error))

    async def _look_at(self, group: Group[Watch]) -> None:
        reason = await self._reason_to_release(group)
        if reason is not None and group.guarded:
            try:
                await self._surveillance.release_guard(group.name, monitor_id=self.pulse.monitor_id, reason=reason)
            except HopperError:
                self._doubts += 1  # it may have fallen all the same
                raise
            self._fall(group, reason)

    async def _reason_to_release(self, group: Group[Watch]) -> str | None:
        if not group.size:
            return "the group is empty"
        if local_ms() >= self._until_ms.get(group.name, 0.0):
            return f"it has stood for {self._settings.guard_ttls:g} TTLs"
        reach_ms, members, silent = self.reach_ms(group), self._fleet.members(group), 0
        for start in range(0, len(members), _AT_ONCE):
            silent += sum(watch.is_silent_since(reach_ms) for watch in members[start : start + _AT_ONCE])
            await asyncio.sleep(0)
        if silent <= self._settings.guard_share / 2 * group.size:
            return f"{silent} of {group.size} are still silent"
        return None

    def take(self, event: Event) -> None:
        """Take in a change of the registry: a guard that was released by hand, or that stands and is not known here."""
        name = event.evidence.get("group")
        standing = [group for group in self._fleet.guarded() if group.name == name]
        unsure = name in self._raising
        if event.resync or (event.type is EventType.GUARD_RAISED and not standing and not unsure):
            self._doubts += 1
        elif event.type is EventType.GUARD_RELEASED:
            if unsure or self._settled != self._doubts:
                self._doubts += 1  # what is on its way from Redis may be older
            if event.actor != ACTOR:
                for group in standing:
                    self._fall(group, event.reason)

    def _fall(self, group: Group[Watch], reason: str) -> None:
        if self._fleet.group(group.name) is not group or not group.guarded:
            return  # somebody else was quicker, or this monitor has begun anew
        self._reach_ms.pop(group.name, None)
        self._until_ms.pop(group.name, None)
        self._logger.info("guard.released", group=group.name, reason=reason)
        self._fleet.release(group)
        self._on_release(group)


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default
