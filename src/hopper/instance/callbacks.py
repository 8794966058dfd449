"""Callbacks: called from the log, in its order, whoever made the change."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from hopper.model.event import Event, EventType

__all__ = ["Callback", "Callbacks"]

Callback = Callable[..., Awaitable[None] | None]

_MANY = 10_000


class Callbacks:
    """The callbacks of one registry. `run` calls them one after the other, apart from the view, so that none delays it.

    A callback that raises is reported in the log and does not stop the others. Nothing is left out for one that is
    slower than the changes: they wait in memory, and the log warns of them.
    """

    def __init__(self, *, namespace: str) -> None:
        self._by_type: dict[EventType | None, list[Callback]] = {}
        self._child_added: list[Callback] = []
        self._child_removed: list[Callback] = []
        self._parent_changed: list[Callback] = []
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._warn_at = _MANY
        self._logger = structlog.get_logger().bind(namespace=namespace)

    def on(self, event: EventType | str | None, callback: Callback) -> None:
        """Call `callback(event)` for each event of a type, or for every one where `event` is None."""
        self._by_type.setdefault(EventType(event) if event is not None else None, []).append(callback)

    def on_child_added(self, callback: Callback) -> None:
        """Call `callback(parent_id, child)` with the child's record when an instance gets a child."""
        self._child_added.append(callback)

    def on_child_removed(self, callback: Callback) -> None:
        """Call `callback(parent_id, child)` with the child's last record when an instance loses a child."""
        self._child_removed.append(callback)

    def on_parent_changed(self, callback: Callback) -> None:
        """Call `callback(child, old_parent_id, new_parent_id)` when a parent changes; an absent one is None."""
        self._parent_changed.append(callback)

    def take(self, events: list[Event]) -> None:
        """Take in events, in the order of the log; never blocks. Those before the first callback are not kept."""
        if not (self._by_type or self._child_added or self._child_removed or self._parent_changed):
            return
        for event in events:
            self._queue.put_nowait(event)
        if self._queue.qsize() >= self._warn_at:
            self._logger.warning("callbacks.behind", events=self._queue.qsize(), revision=events[-1].revision)
            self._warn_at = self._queue.qsize() * 2

    async def run(self) -> None:
        """Call back for each event; ends by cancellation."""
        while True:
            event = await self._queue.get()
            if self._queue.empty():
                self._warn_at = _MANY
            for callback, arguments in self._calls(event):
                try:
                    result = callback(*arguments)
                    if inspect.isawaitable(result):
                        await result
                except (Exception, asyncio.CancelledError):
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise  # it is this task that is to end, not something the callback waited for
                    self._logger.exception("callback.failed", revision=event.revision, type=event.type, id=event.id)

    def _calls(self, event: Event) -> list[tuple[Callback, tuple[Any, ...]]]:
        calls: list[tuple[Callback, tuple[Any, ...]]] = [
            (callback, (event,)) for kind in (event.type, None) for callback in self._by_type.get(kind, ())
        ]
        old, new = _parents(event)
        if old == new or event.record is None:
            return calls
        if old is not None:
            calls += [(callback, (old, event.record)) for callback in self._child_removed]
        if new is not None:
            calls += [(callback, (new, event.record)) for callback in self._child_added]
        calls += [(callback, (event.record, old, new)) for callback in self._parent_changed]
        return calls


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
