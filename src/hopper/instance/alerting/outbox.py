"""The outbox: alerts on their way to their receiver, in order and bounded, so that one that is dead delays nothing."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hopper.config import Settings
from hopper.errors import WebhookFailed
from hopper.instance.webhook import Webhook
from hopper.model.alert import Alert

__all__ = ["Outbox"]

MAX_WAITING = 1_000
"""Alerts that wait at most; the oldest gives way."""

KEEP_S = 600.0
"""Seconds an alert waits for a receiver that cannot be told, before it is dropped."""

PAUSE_S = 5.0
"""Seconds between giving up a delivery, with all its repeats, and trying it again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    alert: Alert
    epoch: str
    put_s: float


class Outbox:
    """Sends what is put into it, one after the other. `run` as a task; `on_done` hears of each that is sent or dropped.

    An alert that is refused is dropped, one whose receiver is away is sent again for ten minutes.
    """

    def __init__(self, settings: Settings, url: str, *, on_done: Callable[[Alert], None]) -> None:
        self._settings = settings
        self._url = url
        self._on_done = on_done
        self._waiting: deque[_Entry] = deque()
        self._sending: _Entry | None = None
        self._wake = asyncio.Event()
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    def __len__(self) -> int:
        """How many wait or are on their way."""
        return len(self._waiting) + (self._sending is not None)

    @property
    def oldest_origin(self) -> int | None:
        """The revision of the oldest event whose alert is not done with."""
        entries = [*self._waiting, *([self._sending] if self._sending else [])]
        return min((entry.alert.origin for entry in entries), default=None)

    def put(self, alert: Alert, *, epoch: str) -> None:
        """Send an alert after those that wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._drop([self._waiting.popleft()], why=f"{MAX_WAITING} alerts wait already")
        self._waiting.append(_Entry(alert, epoch, time.monotonic()))
        self._wake.set()

    def clear(self) -> None:
        """Forget what waits: another monitor sends it."""
        self._waiting.clear()
        self._sending = None

    async def run(self) -> None:
        """Send; ends by cancellation."""
        webhook = Webhook(self._settings)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._send(webhook, self._waiting.popleft())
        finally:
            await webhook.aclose()

    async def _send(self, webhook: Webhook, entry: _Entry) -> None:
        """Send one until it is done with, or forgotten."""
        self._sending, alert = entry, entry.alert
        document = alert.document(namespace=self._settings.namespace, epoch=entry.epoch)
        delivery = alert.delivery(epoch=entry.epoch)
        while self._sending is entry:
            try:
                await webhook.send(self._url, document, delivery, allow_listed=False)
            except WebhookFailed as error:
                if self._sending is not entry:
                    return
                if error.passing and time.monotonic() - entry.put_s < KEEP_S:
                    self._logger.warning("alerts.not_sent", detail=str(error), delivery=delivery, waiting=len(self))
                    await asyncio.sleep(PAUSE_S)
                else:
                    self._sending = None
                    self._drop([entry, *self._outlived()], why=str(error))
            else:
                self._logger.info("alerts.sent", delivery=delivery, id=alert.id)
                if self._sending is entry:
                    self._sending = None
                    self._on_done(alert)

    def _outlived(self) -> list[_Entry]:
        """Those that have waited too long as well, taken out."""
        found: list[_Entry] = []
        while self._waiting and time.monotonic() - self._waiting[0].put_s >= KEEP_S:
            found.append(self._waiting.popleft())
        return found

    def _drop(self, entries: list[_Entry], *, why: str) -> None:
        first = entries[0].alert
        self._logger.error("alerts.dropped", dropped=len(entries), first=first.text, detail=why)
        for entry in entries:
            self._on_done(entry.alert)
