"""Strays: the leading monitor looks for heartbeats of nobody, and of incarnations that have been superseded."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hopper.errors import HopperError, StoreFault
from hopper.instance.duties.duty import Duty, Post
from hopper.model.event import Event
from hopper.model.heartbeat import parse_heartbeat
from hopper.model.stray import StrayKind
from hopper.store.sampling import SampleStore, Scanned

__all__ = ["MAX_STRAYS", "Strays"]

MAX_STRAYS = 1000
"""Strays that `P:strays` holds at most; the log of the monitor says how many there are."""

_STANDBY_S = 1.0
_STEP = 1000
_AT_ONCE = 250
"""Values looked at before the next pulse and the next probe have their turn."""
_WALKS_KEPT = 3
"""Walks that must miss an older incarnation before it counts as gone: its value is overwritten by the newer one's."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    kind: StrayKind
    incarnation: int | None
    seen_at_ms: int
    walk: int
    confirmed: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "incarnation": self.incarnation, "seen_at_ms": self.seen_at_ms}


class Strays(Duty):
    """Walks over all heartbeats once in `strays_s`, and keeps in `P:strays` what two walks have found.

    One walk is no proof: the heartbeat of one that was removed or registered again meanwhile has its TTL to live. What
    the log contradicts, as a registration of that id, is taken back at once.
    """

    name = "strays"

    def __init__(self, post: Post, store: SampleStore) -> None:
        super().__init__(post)
        self._store = store
        self._walk = 0
        self._seen: dict[str, _Sighting] = {}
        self._told: dict[str, Mapping[str, Any]] = {}
        self._contradicted = asyncio.Event()
        self._fresh = True

    def begin(self) -> None:
        """Believe what the leader before has found until the first walk ends."""
        self._seen.clear()
        self._fresh = True

    def take(self, events: list[Event]) -> None:
        """Take in changes: what was found may hold no longer."""
        if any(event.id in self._told and not self._stands(str(event.id)) for event in events):
            self._contradicted.set()

    async def run(self) -> None:
        """Walk once in each `strays_s`; ends by cancellation."""
        while True:
            started, period_s = time.monotonic(), self._settings.strays_s
            if not self._leads() or not self._view.complete:
                await asyncio.sleep(min(period_s, _STANDBY_S))
                continue
            try:
                if self._fresh:
                    await self._inherit()
                if await self._go(started):
                    await self._tell()
                await self._rest(max(period_s / 10, started + period_s - time.monotonic()))
            except HopperError as error:
                self._logger.warning("strays.failed", detail=str(error))
                await asyncio.sleep(max(period_s / 10, started + period_s - time.monotonic()))

    async def _rest(self, seconds: float) -> None:
        """Wait, and meanwhile take back what the log contradicts."""
        until = time.monotonic() + seconds
        while True:
            try:
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await self._contradicted.wait()
            except TimeoutError:
                return
            await self._take_back()

    async def _take_back(self) -> None:
        self._contradicted.clear()
        kept = {id: stray for id, stray in self._told.items() if self._stands(id)}
        if self._leads() and len(kept) < len(self._told):
            for id in self._told.keys() - kept.keys():
                self._seen.pop(id, None)
            await self._store.put_strays(kept)
            self._told = kept

    def _stands(self, id: str) -> bool:
        """Whether what is told of a heartbeat may still be so, by the record that there is now, or is none."""
        kind, record = self._told[id]["kind"], self._view.replica.records.get(id)
        if kind == StrayKind.NO_RECORD:
            return record is None
        if kind == StrayKind.NOT_MONITORED:
            return record is not None and not record.monitored
        return record is not None and record.monitored

    async def _inherit(self) -> None:
        """Count what the leader before has found as seen once, so that it is confirmed or gone after the first walk."""
        self._fresh = False
        self._told.clear()
        try:
            found = await self._store.strays()
        except StoreFault as fault:
            self._logger.warning("strays.unreadable", detail=str(fault))
            return
        for id, stray in found.items():
            if stray.get("kind") in list(StrayKind):
                kind, told = StrayKind(stray["kind"]), stray.get("incarnation")
                self._seen[id] = _Sighting(kind, told, stray.get("seen_at_ms", 0), self._walk, confirmed=True)
                self._told[id] = stray
        if any(not self._stands(id) for id in self._told):
            self._contradicted.set()  # before this monitor led

    async def _go(self, started: float) -> bool:
        """One walk, spread over nine tenths of `strays_s`; whether it came to its end with a view that was complete."""
        self._walk += 1
        steps = -(-await self._store.size() // _STEP) or 1
        cursor, step = 0, 0
        while True:
            scanned = await self._store.scan_heartbeats(cursor)
            if self._fresh or not self._leads() or not self._view.complete:
                return False
            await self._look_at(scanned)
            cursor, step = scanned.cursor, step + 1
            if cursor == 0:
                return True
            due = started + 0.9 * self._settings.strays_s * min(1.0, step / steps)
            await self._rest(due - time.monotonic())

    async def _look_at(self, scanned: Scanned) -> None:
        for number, (id, value) in enumerate(scanned.values.items()):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            found = self._judge(id, value)
            if found is None:
                continue
            kind, incarnation = found
            before = self._seen.get(id)
            twice = before is not None and before.kind is kind and (before.confirmed or before.walk < self._walk)
            self._seen[id] = _Sighting(kind, incarnation, scanned.now_ms, self._walk, confirmed=twice)

    def _judge(self, id: str, value: bytes) -> tuple[StrayKind, int | None] | None:
        """What is wrong with a heartbeat, and the incarnation that it names; None where nothing is."""
        record = self._view.replica.records.get(id)
        incarnation = parse_heartbeat(value).incarnation
        if record is None:
            return None if id in self._view.replica.unreadable else (StrayKind.NO_RECORD, incarnation)
        if not record.monitored:
            return StrayKind.NOT_MONITORED, incarnation
        if incarnation is not None and incarnation < record.incarnation:
            return StrayKind.OLD_INCARNATION, incarnation
        return None

    async def _tell(self) -> None:
        """After a walk: forget what it has not seen, and let Redis hold what two have."""
        self._seen = {id: sighting for id, sighting in self._seen.items() if self._is_there(id, sighting)}
        confirmed = {id: sighting for id, sighting in self._seen.items() if sighting.confirmed}
        if len(confirmed) > MAX_STRAYS:
            self._logger.warning("strays.many", strays=len(confirmed), kept=MAX_STRAYS)
        kept: Mapping[str, Any] = {id: confirmed[id].as_json() for id in sorted(confirmed)[:MAX_STRAYS]}
        await self._store.put_strays(kept)
        new, self._told = kept.keys() - self._told.keys(), dict(kept)
        if new:
            self._logger.warning("strays.found", strays=len(confirmed), new=len(new), first=min(new))

    def _is_there(self, id: str, sighting: _Sighting) -> bool:
        record = self._view.replica.records.get(id)
        if sighting.kind is StrayKind.NO_RECORD:
            return sighting.walk == self._walk and record is None
        if sighting.kind is StrayKind.NOT_MONITORED:
            return sighting.walk == self._walk and record is not None and not record.monitored
        superseded = record is not None and record.monitored and (sighting.incarnation or 0) < record.incarnation
        return superseded and self._walk - sighting.walk < _WALKS_KEPT
