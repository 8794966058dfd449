"""The monitor: a process of its own that notices who stopped heartbeating. Any number run; one leads."""

import asyncio
import os
import secrets
import socket

import structlog

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.instance.detector import FailureDetector
from hopper.instance.pulse import Pulse
from hopper.instance.view import RegistryView
from hopper.model.event import Event
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.surveillance import SurveillanceStore

__all__ = ["Monitor"]

_NOTIFICATIONS_PAUSE_S = 1.0


class Monitor:
    """One monitor of a namespace. `run` ends by cancellation and gives the leadership back."""

    def __init__(self, settings: Settings) -> None:
        self.id = f"monitor-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._settings = settings
        self._store = InstanceStore(settings)
        self._surveillance = SurveillanceStore(settings)
        self._log = ChangeLog(settings)
        self.view = RegistryView(settings, self._store, self._log)
        self.detector = FailureDetector(settings, self._surveillance)
        self.pulse = Pulse(
            settings,
            self._store,
            self._surveillance,
            monitor_id=self.id,
            on_lead=self._lead,
            on_follow=self.detector.end,
        )
        self.detector.pulse = self.pulse
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, monitor=self.id)

    async def run(self) -> None:
        """Stand by, lead when the lease is free, and detect failures while leading; for ever."""
        self.view.listen(self._take)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.view.run(), name="view")
                await self.view.loaded.wait()
                tasks.create_task(self.pulse.run(), name="pulse")
                tasks.create_task(self.detector.run(), name="detector")
                tasks.create_task(self.detector.judge(), name="judge")
                tasks.create_task(self._notifications(), name="notifications")
        finally:
            await self._surveillance.aclose()
            await self._log.aclose()
            await self._store.aclose()

    def _lead(self) -> None:
        self.detector.begin(list(self.view.replica.records.values()))

    def _take(self, events: list[Event]) -> None:
        if self.pulse.leads:
            for event in events:
                self.detector.take(event)

    async def _notifications(self) -> None:
        """Expired keys as Redis tells of them: a second trigger, never the only one."""
        while True:
            try:
                flags = await self._surveillance.enable_notifications()
                self._logger.info("monitor.notifications", flags=flags)
                async for id, what in self._surveillance.notifications():
                    if what == "evicted":
                        self.detector.excuse(id)
                    else:
                        self.detector.look_at(id)
            except Unavailable as error:
                self._logger.warning("monitor.notifications_lost", detail=str(error))
            await asyncio.sleep(_NOTIFICATIONS_PAUSE_S)
