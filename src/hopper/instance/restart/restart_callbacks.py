"""Callbacks that carry out restarts: each claim is given to one process of all that have one."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from hopper.instance.restart.executor import Executor
from hopper.instance.restart.restarts import Restarts
from hopper.instance.view import RegistryView
from hopper.model.event import Event
from hopper.model.record import Record
from hopper.model.restart import RestartLedger
from hopper.model.selector import Selector

__all__ = ["RestartCallback", "RestartCallbacks"]

RestartCallback = Callable[[Record, RestartLedger], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class _Listener:
    selector: Selector
    callback: RestartCallback


class RestartCallbacks:
    """The restart callbacks of one registry. `run` calls them; `take` hears every event."""

    def __init__(self, view: RegistryView, restarts: Restarts) -> None:
        self._view = view
        self._listeners: list[_Listener] = []
        self._executor = Executor(
            view,
            restarts.store,
            self._call,
            wants=lambda record: self._of(record) is not None,
            candidates=self._restarted,
            acts=lambda: bool(self._listeners),
        )

    def on_restart(self, callback: RestartCallback, *, selector: Selector | None = None) -> None:
        """Call `callback(record, claim)` for each claim of an instance that a selector matches; the first one asked."""
        if not self._listeners:
            self._view.listen(self.take)
        self._listeners.append(_Listener(selector or Selector(), callback))
        self._executor.begin()

    def take(self, events: list[Event]) -> None:
        """Take in changes."""
        self._executor.take(events)

    async def run(self) -> None:
        """Call for what is due; ends by cancellation."""
        await self._view.loaded.wait()
        await self._executor.run()

    def _restarted(self) -> Iterable[Record]:
        """Every one that ever had a claim: an operator's may be of one that lives."""
        return [record for record in self._view.replica.records.values() if record.restarts > 0]

    def _of(self, record: Record) -> _Listener | None:
        return next((one for one in self._listeners if one.selector.matches(record)), None)

    async def _call(self, record: Record, ledger: RestartLedger) -> None:
        listener = self._of(record)
        if listener is not None:
            result = listener.callback(record, ledger)
            if inspect.isawaitable(result):
                await result
