"""Callbacks: called from the log, in its order, at least once for every change, whoever made it."""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from hopper.errors import HopperError, Invalid, Unavailable
from hopper.instance.difference import difference
from hopper.instance.view import RegistryView
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.store.log import ChangeLog

__all__ = ["Callback", "Callbacks"]

Callback = Callable[..., Awaitable[None] | None]
Arguments = tuple[Any, ...]

_MANY = 10_000
"""Events that wait in memory; beyond them they are read again from the log, once their turn comes."""

_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class _Listener:
    """A callback, and the arguments with which it is called for an event, None where that is nothing to it."""

    rank: int
    arguments: Callable[[Event], Arguments | None]
    callback: Callback


class Callbacks:
    """The callbacks of one registry. `run` calls them one after the other, apart from the view, so that none delays it.

    A callback that raises is reported in the log and does not stop the others. One that is slower than the changes
    loses none of them: they wait in memory, then in the log. Where the log no longer has them, or Redis has another
    epoch, it gets the difference instead: events marked `resync` that lead from what it was told last to what is now.
    """

    def __init__(self, view: RegistryView, log: ChangeLog, *, namespace: str) -> None:
        self._view = view
        self._log = log
        self._listeners: list[_Listener] = []
        self._joining: deque[tuple[_Listener, int]] = deque()
        self._reached = 0
        self._queue: deque[Event] = deque()
        self._told: dict[str, Record] = {}
        self._latest = 0
        self._behind = self._lost = False
        self._wake = asyncio.Event()
        self._logger = structlog.get_logger().bind(namespace=namespace)

    @property
    def revision(self) -> int:
        """The last revision for which every callback has been called: with it as `since` another process goes on."""
        return min([self._reached, *(since for _, since in self._joining)])

    # -- who listens -----------------------------------------------------------------------------------------------

    def on(self, event: EventType | str | None, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(event)` for each event of a type, or for every one where `event` is None.

        With `since` first for those after that revision, as far as the log has them, else from now on.
        """
        kind = EventType(event) if event is not None else None
        self._add(
            0 if kind else 1, lambda event: (event,) if kind is None or event.type is kind else None, callback, since
        )

    def on_child_removed(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(parent_id, child)` with the child's last record when an instance loses a child."""
        self._add(2, _child_removed, callback, since)

    def on_child_added(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(parent_id, child)` with the child's record when an instance gets a child."""
        self._add(3, _child_added, callback, since)

    def on_parent_changed(self, callback: Callback, *, since: int | None = None) -> None:
        """Call `callback(child, old_parent_id, new_parent_id)` when a parent changes; an absent one is None."""
        self._add(4, _parent_changed, callback, since)

    def _add(
        self, rank: int, arguments: Callable[[Event], Arguments | None], callback: Callback, since: int | None
    ) -> None:
        if since is not None and since < 0:
            raise Invalid(f"since is {since}, which is no revision", field="since", value=since)
        listener = _Listener(rank, arguments, callback)
        if since is None:
            self._listeners = sorted([*self._listeners, listener], key=lambda one: one.rank)
        else:
            self._joining.append((listener, since))
            self._wake.set()

    # -- what they hear --------------------------------------------------------------------------------------------

    def take(self, events: list[Event]) -> None:
        """Take in events, in the order of the log; never blocks."""
        self._latest = events[-1].revision
        if not (self._listeners or self._joining or self._queue or self._behind):
            for event in events:
                self._note(event)
            return
        if not self._behind and len(self._queue) + len(events) > _MANY:
            self._logger.warning("callbacks.behind", events=len(self._queue), revision=self.revision)
            self._behind = True
        if self._behind:
            self._lost = self._lost or events[0].resync
        else:
            self._queue.extend(events)
        self._wake.set()

    async def run(self) -> None:
        """Call back for each event; ends by cancellation."""
        await self._view.loaded.wait()
        if not self._queue:
            self._reached = self._latest = self._view.revision
            self._told = dict(self._view.replica.records)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._joining or self._behind or self._queue:
                if self._joining:
                    await self._join()
                elif self._queue:
                    await self._deliver(self._queue.popleft())
                else:
                    await self._catch_up()

    async def _deliver(self, event: Event) -> None:
        for listener in self._listeners:
            await self._call(listener, event)
        self._note(event)

    def _note(self, event: Event) -> None:
        if event.type is EventType.DEREGISTERED:
            self._told.pop(str(event.id), None)
        elif event.record is not None:
            self._told[event.record.id] = event.record
        if not (event.resync and self._queue and self._queue[0].resync):  # a difference counts as heard at its end
            self._reached = event.revision

    async def _call(self, listener: _Listener, event: Event) -> None:
        arguments = listener.arguments(event)
        if arguments is None:
            return
        try:
            result = listener.callback(*arguments)
            if inspect.isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # it is this task that is to end, not something the callback waited for
            self._logger.exception("callback.failed", revision=event.revision, type=event.type, id=event.id)

    # -- what is read again ----------------------------------------------------------------------------------------

    async def _read(self, first: int, last: int) -> list[Event] | None:
        """The next events of the log from a revision on; None where it no longer has that one. Waits for Redis."""
        while True:
            try:
                events = await self._log.between(first, last)
            except Unavailable as error:
                self._logger.warning("callbacks.log_not_read", revision=first, detail=str(error))
                await asyncio.sleep(_PAUSE_S)
            except HopperError as error:
                self._logger.error("callbacks.log_unreadable", revision=first, detail=str(error))
                return None
            else:
                return events if events and events[0].revision == first else None

    async def _catch_up(self) -> None:
        """Deliver what did not find room in memory."""
        events = None if self._lost else await self._read(self._reached + 1, self._latest)
        if events is None or self._lost:
            self._logger.warning("callbacks.resync", revision=self._reached)
            self._queue.extend(difference(self._told, self._view.replica))
            self._behind = self._lost = False
            self._latest = self._view.revision
            return
        for event in events:
            await self._deliver(event)
        if self._reached >= self._latest and not self._lost:
            self._behind = False
            self._logger.info("callbacks.caught_up", revision=self._reached)

    async def _join(self) -> None:
        """Tell a callback alone what the others have heard since a revision; from then on it hears with them.

        A revision that is ahead of Redis is one of another epoch: then, too, the callback hears of all there is.
        """
        listener, since = self._joining[0]
        if since > self._view.revision:
            await self._reach_present()
        epoch = self._view.epoch
        known = since <= self._view.revision
        while known and since < self._reached:
            events = await self._read(since + 1, self._reached)
            known = events is not None and self._view.epoch == epoch
            for event in events or ():
                if known:
                    await self._call(listener, event)
                    since = event.revision
                    self._joining[0] = listener, since
        if not known:
            self._logger.warning("callbacks.compacted", since=since, revision=self._reached)
            for event in difference({}, self._view.replica):
                await self._call(listener, event)
        self._joining.popleft()
        self._listeners = sorted([*self._listeners, listener], key=lambda one: one.rank)

    async def _reach_present(self) -> None:
        """Wait until the view has all that Redis has; for as long as Redis is away."""
        while True:
            try:
                return await self._view.catch_up()
            except Unavailable as error:
                self._logger.warning("callbacks.log_not_read", detail=str(error))
                await asyncio.sleep(_PAUSE_S)


def _parents(event: Event) -> tuple[str | None, str | None]:
    """The parent before and after an event."""
    record = event.record
    if record is None:
        return None, None
    if event.type is EventType.DEREGISTERED:
        return record.parent_id, None
    if event.type is EventType.REGISTERED:
        return None, record.parent_id
    return event.previous.get("parent_id", record.parent_id), record.parent_id


def _child_removed(event: Event) -> Arguments | None:
    old, new = _parents(event)
    return None if old is None or old == new else (old, event.record)


def _child_added(event: Event) -> Arguments | None:
    old, new = _parents(event)
    return None if new is None or old == new else (new, event.record)


def _parent_changed(event: Event) -> Arguments | None:
    old, new = _parents(event)
    return None if old == new else (event.record, old, new)
