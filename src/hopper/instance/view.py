"""The view: a replica fed by the log, loaded from a snapshot and never with a silent hole."""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable
from itertools import count

import structlog

from hopper.config import Settings
from hopper.errors import Compacted, HopperError, StoreFault, Unavailable
from hopper.instance.difference import difference, difference_of_holds
from hopper.instance.replica import Replica
from hopper.model.event import Event
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.reading import Position

__all__ = ["RegistryView"]

Listener = Callable[[list[Event]], None]

_LATE_S = 0.5
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_LONGEST_PAUSE_AFTER_FAULT_S = 10.0
_NAMED = 20
"""Ids named in one line of the log."""


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
        self.trouble: HopperError | None = None
        """Why the view does not follow the log, None while it does."""
        self._settings = settings
        self._store = store
        self._log = log
        self._following = False
        self._heard_at = time.monotonic()
        self._silence_s = settings.log_block_ms / 1000 + _LATE_S
        self._pause_s = _FIRST_PAUSE_S
        self._entry: Event | None = None
        self._listeners: list[Listener] = []
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._abandoned = 0
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

        After a gap the events are the difference of the two snapshots, holds and guards included, marked `resync`. A
        listener must not block; one that raises is reported and called again with the next batch.
        """
        self._listeners.append(listener)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    async def reach(self, revision: int, *, timeout_s: float | None = None) -> None:
        """Wait until the replica is loaded and at least at `revision`, at most `read_wait_s`; then `Unavailable`.

        Raises the `StoreFault` that keeps the first snapshot from being taken, without waiting.
        """
        if self.loaded.is_set():
            if self.replica.revision >= revision:
                return
        elif isinstance(self.trouble, StoreFault):
            raise self.trouble.with_traceback(None)
        limit_s = self._settings.read_wait_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._told(revision)
        except TimeoutError:
            what = f"revision {revision} has not arrived here" if self.loaded.is_set() else "the view has not loaded"
            why = f": {self.trouble}" if self.trouble else ""
            raise Unavailable(f"{what} within {limit_s:g} s{why}") from None

    async def catch_up(self) -> None:
        """Wait until the replica has everything that Redis had when this was called: a consistent read follows."""
        position = await self._store.position()
        if position.epoch != self.epoch and self.loaded.is_set():
            position = await self._other_epoch()
        await self.reach(position.revision)

    async def _other_epoch(self) -> Position:
        """Make the view look at Redis again until both are in the same epoch; the first to look may begin one more."""
        limit_s = self._settings.read_wait_s
        try:
            async with asyncio.timeout(limit_s):
                while (position := await self._store.position()).epoch != self.epoch:
                    await self._log.disconnect()
                    await self._told(0)
        except TimeoutError:
            raise Unavailable(f"the epoch that Redis has now has not arrived here within {limit_s:g} s") from None
        return position

    async def _told(self, revision: int) -> None:
        """Wait until events or a snapshot are next taken in with which the replica is at least at `revision`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._order), future))
        try:
            await future
        finally:
            if future.cancelled():
                self._abandon()

    def _abandon(self) -> None:
        """Forget the waits that were given up once they are the greater part: nobody else takes them off."""
        self._abandoned += 1
        if self._abandoned * 2 > len(self._waiting):
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)
            self._abandoned = 0

    # -- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load, follow the log, and begin again whenever Redis was away or answered nonsense; for ever."""
        try:
            while True:
                longest_s = _LONGEST_PAUSE_AFTER_FAULT_S
                try:
                    await self._log.connect()
                    position = await self._store.open()
                    if not await self._continues(position):
                        await self._load(position)
                    await self._follow()
                except Unavailable as error:
                    longest_s = _LONGEST_PAUSE_S
                    self._lose(error, "view.stale")
                except Compacted as gap:
                    self._entry = None
                    self._lose(gap, "view.gap")
                except HopperError as fault:
                    self._entry = None
                    self._lose(fault, "view.fault")
                except Exception as bug:
                    self._logger.exception("view.failed", revision=self.revision)
                    self._entry = None
                    self._lose(StoreFault(f"the view failed: {bug!r}"), "view.fault")
                await self._log.disconnect()
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(self._pause_s * 2, longest_s)
        finally:
            self._following = False

    def _lose(self, trouble: HopperError, what: str) -> None:
        """The replica is no longer known to be current; said once per trouble, not at every attempt."""
        if self._following or str(self.trouble) != str(trouble):
            level = self._logger.error if isinstance(trouble, StoreFault) else self._logger.warning
            level(what, revision=self.revision, detail=str(trouble))
        self._following = False
        self.trouble = trouble
        if isinstance(trouble, StoreFault) and not self.loaded.is_set():
            waiting, self._waiting, self._abandoned = self._waiting, [], 0
            for _, _, future in waiting:
                if not future.done():
                    future.set_exception(trouble)

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
        self._entry = await self._entry_at(position.revision)
        async for records in self._store.snapshot(unreadable=fresh.unreadable):
            for record in records:
                fresh.put(record)
        _, fresh.guards = await self._store.surveillance()
        fresh.hold = fresh.guards.pop("hold", None)
        target = await self._store.position()
        if target.epoch != position.epoch:
            raise Unavailable(f"the epoch became {target.epoch!r} while that of {position.epoch!r} was loaded")
        while fresh.revision < target.revision:
            events = await self._log.follow(fresh.revision)
            if not events:
                raise Compacted(f"the log ends at revision {fresh.revision}, and the revision is {target.revision}")
            for event in events:
                fresh.apply(event)
            self._entry = events[-1]
        fresh.settle()
        for id, reason in fresh.unreadable.items():
            self._logger.error("view.unreadable", id=id, detail=reason)
        first = not self.loaded.is_set()
        changes = [] if first else difference(self.replica.records, fresh) + difference_of_holds(self.replica, fresh)
        if not first and self.epoch != position.epoch:
            self._tell_of_loss(fresh, position.epoch)
        self.replica, self.epoch = fresh, position.epoch
        self._heard()
        self.reloads += 1
        self.loaded.set()
        self._logger.info("view.loaded", revision=fresh.revision, instances=len(fresh), epoch=self.epoch)
        self._tell(changes)

    def _tell_of_loss(self, fresh: Replica, epoch: str) -> None:
        """Say which records Redis no longer has after it lost data: whoever asks it now hears nothing of them."""
        gone = [id for id in self.replica.records if id not in fresh.records]
        if gone:
            self._logger.error("view.lost", instances=len(gone), ids=gone[:_NAMED], epoch=epoch, former=self.epoch)

    async def _entry_at(self, revision: int) -> Event | None:
        try:
            return next(iter(await self._log.between(revision, revision)), None)
        except StoreFault:
            return None

    def _heard(self) -> None:
        self._following = True
        self._heard_at = time.monotonic()
        self.trouble = None

    async def _follow(self) -> None:
        """Take in the log as it grows. The epoch is looked at in every silence, and as often where there is none."""
        self._heard()
        checked_at = time.monotonic()
        while True:
            events = await self._log.follow(self.revision)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # `asyncio.wait_for` of 3.11 can swallow the one that came with the answer
            self._heard()
            self._pause_s = _FIRST_PAUSE_S
            if events:
                for event in events:
                    self.replica.apply(event)
                self._entry = events[-1]
                self._tell(events)
            if not events or time.monotonic() - checked_at > self._settings.log_block_ms / 1000:
                await self._check_position(silent=not events)
                checked_at = time.monotonic()

    async def _check_position(self, *, silent: bool) -> None:
        """Is it still the same epoch, and after a silence: is there truly nothing that we have not seen?"""
        position = await self._store.position()
        if position.epoch != self.epoch or position.revision < self.revision:
            self._entry = None
            raise Unavailable(f"the epoch is {position.epoch!r} at {position.revision}, no longer {self.epoch!r}")
        if silent and position.revision > self.revision:
            if await self._log.between(self.revision + 1, self.revision + 1):
                return
            raise Compacted(f"the log ends at revision {self.revision}, and the revision is {position.revision}")

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
