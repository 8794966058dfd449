"""The view: a replica fed by the log, loaded from a snapshot and never with a silent hole."""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import orjson
import structlog

from hopper.config import Settings
from hopper.errors import Compacted, Unavailable
from hopper.instance.difference import difference
from hopper.instance.replica import Replica
from hopper.model.event import Event
from hopper.store.instances import InstanceStore, Position
from hopper.store.log import ChangeLog

__all__ = ["RegistryView"]

Listener = Callable[[list[Event]], None]

_LATE_S = 0.5
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class RegistryView:
    """The records of a namespace in memory, as new as the log. Run it as a task: it ends by cancellation only.

    Reads go to `replica`, which a reload replaces as a whole: do not keep it. While Redis is away the last replica
    stays, `complete` is false and `stale_ms` grows.
    """

    def __init__(self, settings: Settings, store: InstanceStore, log: ChangeLog) -> None:
        self.replica = Replica()
        self.epoch = ""
        self.loaded = asyncio.Event()
        """Set once the first snapshot has been taken in."""
        self.reloads = 0
        """How many snapshots have been taken; more than one means that the log had a gap or Redis another epoch."""
        self._settings = settings
        self._store = store
        self._log = log
        self._following = False
        self._heard_at = time.monotonic()
        self._silence_s = settings.log_block_ms / 1000 + _LATE_S
        self._entry: Event | None = None
        self._listeners: list[Listener] = []
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    @property
    def revision(self) -> int:
        """The revision of the replica."""
        return self.replica.revision

    @property
    def complete(self) -> bool:
        """Whether the replica is all there is: loaded, and Redis there to tell of changes."""
        return self._following and time.monotonic() - self._heard_at < self._silence_s

    @property
    def stale_ms(self) -> int:
        """Milliseconds since the replica was last known to be current; 0 while Redis answers."""
        return 0 if self.complete else int((time.monotonic() - self._heard_at) * 1000)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every batch of events after it is taken in, in order; answers how to stop that.

        After a gap the events are the difference of the two snapshots, marked `resync`. A listener must not block.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def reach(self, revision: int, *, timeout_s: float | None = None) -> None:
        """Wait until the replica is at least at `revision`, at most `read_wait_s`; then `Unavailable`."""
        if self.replica.revision >= revision and self.loaded.is_set():
            return
        limit_s = self._settings.read_wait_s if timeout_s is None else timeout_s
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), future))
        try:
            async with asyncio.timeout(limit_s):
                await future
        except TimeoutError:
            raise Unavailable(f"revision {revision} has not arrived here within {limit_s:g} s") from None

    async def catch_up(self) -> None:
        """Wait until the replica has everything that Redis had when this was called: a consistent read follows."""
        position = await self._store.position()
        if position.epoch != self.epoch and self.loaded.is_set():
            await self._other_epoch(position)
        await self.reach(position.revision)

    async def _other_epoch(self, position: Position) -> None:
        limit_s = self._settings.read_wait_s
        await self._log.disconnect()
        try:
            async with asyncio.timeout(limit_s):
                while self.epoch != position.epoch:
                    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    heapq.heappush(self._waiting, (position.revision, next(self._order), future))
                    await future
        except TimeoutError:
            raise Unavailable(f"epoch {position.epoch!r} has not arrived here within {limit_s:g} s") from None

    # -- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load, follow the log, and begin again whenever Redis was away; for ever."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._log.connect()
                position = await self._store.open()
                if not await self._continues(position):
                    await self._load(position)
                pause_s = _FIRST_PAUSE_S
                await self._follow()
            except Compacted as gap:
                self._entry = None
                self._logger.warning("view.gap", revision=self.revision, detail=str(gap))
            except Unavailable as error:
                if self._following:
                    self._logger.warning("view.stale", revision=self.revision, detail=str(error))
                self._following = False
                await self._log.disconnect()
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _continues(self, position: Position) -> bool:
        """Whether the log goes on where this replica stands: same epoch, and the same entry at our revision."""
        if not self.loaded.is_set() or position.epoch != self.epoch or position.revision < self.revision:
            return False
        if self._entry is None:
            return self.revision == 0
        at_ours = await self._log.between(self.revision, self.revision)
        return len(at_ours) == 1 and _same_entry(at_ours[0], self._entry)

    async def _load(self, position: Position) -> None:
        """Take a snapshot, catch up with the log, then replace the replica and tell the listeners the difference."""
        fresh = Replica()
        fresh.revision = position.revision
        first_entry = await self._log.between(position.revision, position.revision)
        self._entry = first_entry[0] if first_entry else None
        async for records in self._store.snapshot():
            for record in records:
                fresh.put(record)
        fresh.hold = await self._hold()
        target = (await self._store.position()).revision
        while fresh.revision < target:
            events = await self._log.follow(fresh.revision)
            if not events:
                raise Compacted(f"the log ends at revision {fresh.revision}, and the revision is {target}")
            for event in events:
                fresh.apply(event)
            self._entry = events[-1]
        fresh.settle()
        first = not self.loaded.is_set()
        changes = [] if first else difference(self.replica, fresh)
        self.replica, self.epoch = fresh, position.epoch
        self._heard()
        self.reloads += 1
        self.loaded.set()
        self._logger.info("view.loaded", revision=fresh.revision, instances=len(fresh), epoch=self.epoch)
        self._tell(changes)

    async def _hold(self) -> dict[str, Any] | None:
        _, holds = await self._store.surveillance()
        return orjson.loads(holds["hold"]) if "hold" in holds else None

    def _heard(self) -> None:
        self._following = True
        self._heard_at = time.monotonic()

    async def _follow(self) -> None:
        self._heard()
        while True:
            events = await self._log.follow(self.revision)
            self._heard()
            if events:
                for event in events:
                    self.replica.apply(event)
                self._entry = events[-1]
                self._tell(events)
            else:
                await self._check_position()

    async def _check_position(self) -> None:
        """After a silence: is it still the same epoch, and is there truly nothing that we have not seen?"""
        position = await self._store.position()
        if position.epoch == self.epoch and position.revision == self.revision:
            return
        if position.epoch == self.epoch and position.revision > self.revision:
            if await self._log.between(self.revision + 1, self.revision + 1):
                return
            raise Compacted(f"the log ends at revision {self.revision}, and the revision is {position.revision}")
        self._entry = None
        raise Unavailable(f"the epoch is {position.epoch!r} at {position.revision}, no longer {self.epoch!r}")

    def _tell(self, events: list[Event]) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        if not events:
            return
        for listener in list(self._listeners):
            try:
                listener(events)
            except Exception:
                self._logger.exception("view.listener_failed", revision=self.revision)


def _same_entry(one: Event, other: Event) -> bool:
    return (one.type, one.id, one.at_ms, one.record_json) == (other.type, other.id, other.at_ms, other.record_json)
