"""Reaping: the leading monitor deregisters what has been down for as long as its record allows.

How long is counted by this monitor's own monotonic clock, from the moment at which it saw the verdict, leading or not:
Redis' clock may be moved by an hour, and nobody is to go for that. What was down before this monitor could see it is
believed once, when it is first seen: so long as Redis' clock has passed since the record's last change, which is the
verdict or came after it. From then on its time is counted as that of all others.

A claim of its restart makes `failed` what was down: its time begins anew with the claim, for whoever is to restart it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from hopper.errors import Conflict, HopperError
from hopper.instance.departures import Departures
from hopper.instance.detection.pulse import Pulse, local_ms
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.state import State

__all__ = ["Reaping"]

ACTOR = "monitor"
REASON = "reaped"
_LOOK_S = 0.5
_AGAIN_MS = 2_000
_AT_ONCE = 500
"""Records looked at before the next pulse and the next probe have their turn."""

_Verdict = tuple[int, int | None, int | None]
_CLAIMS = frozenset({EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED})


@dataclass(slots=True)
class _Grave:
    """One that is down. Times are local monotonic milliseconds."""

    verdict: _Verdict
    since_ms: float
    """From when on its time counts; before `seen_ms` where it was down before it could be seen."""
    seen_ms: float
    not_before_ms: float


class Reaping(Duty):
    """Reaps while its monitor leads. Who is `down`, or was when its restart was claimed and has not been started since;
    neither who failed by itself nor who is `stopped`. `deregister_after_ms` null is never.

    Nobody in maintenance, in a guarded group, in a hold or within one TTL of it, or within `guard_settle_s` of the
    verdict and of the beginning of this leadership; nor before a restart that is due by its policy was claimed. The
    script has the last word: what heartbeats again stays.
    """

    name = "reaping"

    def __init__(
        self, post: Post, departures: Departures, pulse: Pulse, *, is_guarded: Callable[[Record], bool]
    ) -> None:
        """`is_guarded` tells whether the group of an instance is guarded now."""
        super().__init__(post)
        self._settle_ms = self._settings.guard_settle_s * 1000
        self._departures = departures
        self._pulse = pulse
        self._is_guarded = is_guarded
        self._graves: dict[str, _Grave] = {}
        self._anew = True
        self._began_ms = local_ms()

    def begin(self) -> None:
        """Reap nobody before the guard can know."""
        self._anew = True
        self._began_ms = local_ms()

    def take(self, events: list[Event]) -> None:
        """Take in changes: the time of one that went down begins.

        So it does anew when its restart is claimed, and when its maintenance ends.
        """
        now_ms = local_ms()
        for event, record in of_instances(events):
            if event.type is EventType.DEREGISTERED or not _is_dead(record):
                self._graves.pop(record.id, None)
            elif event.resync:
                self._anew = True
            elif event.type in _CLAIMS or not event.previous.keys().isdisjoint(("health", "maintenance")):
                not_before_ms = now_ms + event.evidence.get("delay_ms", 0)
                self._graves[record.id] = _Grave(_verdict(record), now_ms, now_ms, not_before_ms)

    async def run(self) -> None:
        """Look every half second, also as a standby, which must know since when others are down."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._anew:
                self._anew = False
                await self._each(self._view.replica.records, self._bury)
            if self._leads():
                await self._each(self._graves, self._look_at)

    async def _each(self, ids: Iterable[str], look: Callable[[Record], Awaitable[None]]) -> None:
        ids = list(ids)
        for start in range(0, len(ids), _AT_ONCE):
            for id in ids[start : start + _AT_ONCE]:
                record = self._view.replica.records.get(id)
                if record is not None and _is_dead(record):
                    await look(record)
            await asyncio.sleep(0)

    async def _look_at(self, record: Record) -> None:
        grave = self._graves.get(record.id)
        if grave is not None and self._is_ripe(record, grave):
            await self._reap(record, grave)

    async def _bury(self, record: Record) -> None:
        """Begin the time of one whose verdict was not seen, by its record."""
        grave = self._graves.get(record.id)
        if grave is None or grave.verdict != _verdict(record):
            now_ms, clock = local_ms(), self._pulse.clock
            passed_ms = max(0.0, clock.redis_ms(now_ms) - record.updated_at_ms) if clock.known else 0.0
            self._graves[record.id] = _Grave(_verdict(record), now_ms - passed_ms, now_ms, now_ms)

    def _is_ripe(self, record: Record, grave: _Grave) -> bool:
        if record.deregister_after_ms is None or record.maintenance is not None or record.leaving is not None:
            return False
        if not self._leads() or not self._view.complete:
            return False
        now_ms = local_ms()
        return (
            now_ms - grave.since_ms >= record.deregister_after_ms
            and now_ms >= grave.not_before_ms
            and now_ms - max(grave.seen_ms, self._began_ms) >= self._settle_ms
            and self._pulse.holds.owed_ms(now_ms - record.ttl_ms, record.ttl_ms, now_ms) <= 0
            and not self._is_guarded(record)
        )

    async def _reap(self, record: Record, grave: _Grave) -> None:
        """Remove one. Who stays is looked at again later, and everybody soon after a fault of Redis."""
        try:
            revision = await self._departures.reap(record, monitor_id=self._monitor_id, reason=REASON, actor=ACTOR)
        except Conflict as stays:
            self._logger.info("reaping.stays", id=record.id, detail=str(stays))
        except HopperError as error:
            self._logger.warning("reaping.failed", id=record.id, detail=str(error))
        else:
            if revision is not None:
                self._logger.info("reaping.reaped", id=record.id, revision=revision)
            else:
                grave.not_before_ms = local_ms() + _AGAIN_MS


def _is_dead(record: Record) -> bool:
    """Whether it is down, or was when it failed; the script knows whether that was by a claim."""
    return record.health is Health.DOWN or (record.state is State.FAILED and record.down_at_ms is not None)


def _verdict(record: Record) -> _Verdict:
    return record.incarnation, record.down_at_ms, record.stopped_at_ms
