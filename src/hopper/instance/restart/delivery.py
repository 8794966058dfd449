"""Delivery: the leading monitor asks a policy's webhook to start an instance whose restart was claimed."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson

from hopper.instance.duties.duty import Duty, Post
from hopper.instance.restart.executor import Executor
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event
from hopper.model.record import Record
from hopper.model.restart import RestartLedger
from hopper.model.webhook import target_of

__all__ = ["Delivery", "Send"]

Send = Callable[[str, dict[str, Any], str], Awaitable[None]]
"""`send(url, document, delivery)`: posts a document, again where that fails; raises `HopperError` where it gave up."""


class Delivery(Duty):
    """Sends one delivery for each claim, with the id `EPOCH-ID-INCARNATION-CLAIMED_AT_MS`, at the time of the restart.

    One that failed, or whose sender died, is sent again with the same id once the lease has ended.
    """

    name = "delivery"

    def __init__(self, post: Post, restarts: Restarts, *, send: Send) -> None:
        super().__init__(post)
        self._send = send
        self._namespace = post.settings.namespace
        self._executor = Executor(
            self._view,
            restarts.store,
            self._deliver,
            wants=_has_webhook,
            candidates=self._with_webhook,
            acts=self._leads,
            lane=_receiver,
        )

    def begin(self) -> None:
        """Look for every claim that is still to be sent."""
        self._executor.begin()

    def take(self, events: list[Event]) -> None:
        """Take in changes: claims to be sent."""
        self._executor.take(events)

    async def run(self) -> None:
        """Send what is due; ends by cancellation."""
        await self._executor.run()

    def _with_webhook(self) -> Iterable[Record]:
        return [record for record in self._view.replica.records.values() if _has_webhook(record)]

    async def _deliver(self, record: Record, ledger: RestartLedger) -> None:
        document = {
            "namespace": self._namespace,
            "id": record.id,
            "name": record.name,
            "scope": record.scope.value,
            "incarnation": record.incarnation,
            "reason": ledger.reason,
            "count": ledger.count,
            "not_before_ms": ledger.not_before_ms,
            "record": orjson.loads(record.to_json()),
        }
        url = record.restart.webhook if record.restart else None
        if url is not None:
            delivery = f"{self._view.epoch}-{record.id}-{record.incarnation}-{ledger.claimed_at_ms}"
            await self._send(url, document, delivery)


def _receiver(record: Record) -> str:
    url = record.restart.webhook if record.restart else None
    return str(url and target_of(url))


def _has_webhook(record: Record) -> bool:
    return record.restart is not None and record.restart.webhook is not None
