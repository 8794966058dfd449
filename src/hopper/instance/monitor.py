"""The monitor: a process of its own that notices who stopped heartbeating. Any number run; one leads."""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from hopper.config import Settings
from hopper.errors import HopperError, NewerSchema, Unavailable
from hopper.instance.alerting.alerts import Alerts
from hopper.instance.departures import Departures
from hopper.instance.detection.detector import FailureDetector
from hopper.instance.detection.pulse import Pulse, local_ms
from hopper.instance.duties.adoption import Adoption
from hopper.instance.duties.checking import Checking
from hopper.instance.duties.duty import Duty, Post
from hopper.instance.duties.flapping import Flapping
from hopper.instance.duties.levels import Levels, Report
from hopper.instance.duties.maintenance import MaintenanceEnds
from hopper.instance.duties.reaping import Reaping
from hopper.instance.duties.resuming import Resuming
from hopper.instance.duties.sampling import Sampling
from hopper.instance.duties.strays import Strays
from hopper.instance.relationships import Relationships
from hopper.instance.restart.delivery import Delivery, Send
from hopper.instance.restart.escalation import Escalation
from hopper.instance.restart.restarting import Restarting
from hopper.instance.restart.restarts import Restarts
from hopper.instance.view import RegistryView
from hopper.instance.webhook import Webhook
from hopper.model.event import Event, Reason
from hopper.model.record import Record
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.sampling import SampleStore
from hopper.store.surveillance import SurveillanceStore

__all__ = ["Monitor"]

_PAUSE_S = 1.0
_REFUSED_PAUSE_S = 30.0
_PATIENCE_S = 60.0
"""Seconds after which a duty that fails again and again is tried once more, at the most."""


def _nothing() -> None:
    """What a part does to begin that looks at everything anew by itself."""


class Monitor:
    """One monitor of a namespace. `run` ends by cancellation and gives the leadership back."""

    def __init__(
        self,
        settings: Settings,
        *,
        send: Send | None = None,
        report: Report | None = None,
        is_guarded: Callable[[Record], bool] | None = None,
    ) -> None:
        """Others may be given for what posts webhooks, takes the level of a Project, and says who is under guard."""
        self.id = f"monitor-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._store = InstanceStore(settings)
        self._surveillance = SurveillanceStore(settings)
        self._log = ChangeLog(settings)
        self.view = RegistryView(settings, self._store, self._log)
        self.detector = FailureDetector(
            settings,
            self._surveillance,
            descendants=lambda top: (record.id for record in self.view.replica.descendants(top)),
        )
        self.pulse = Pulse(
            settings,
            self._store,
            self._surveillance,
            monitor_id=self.id,
            on_lead=self._lead,
            on_follow=self.detector.end,
        )
        self.detector.pulse = self.pulse
        post = Post(settings, self.view, self.id, leads=lambda: self.pulse.leads)
        samples = SampleStore(settings, client=self._store.client)
        restarts, departures = Restarts(self._store), Departures(self._store)
        is_guarded = is_guarded or self.detector.guards.spares
        self.levels = Levels(post, samples)
        self._webhook = Webhook(settings)
        self._duties: tuple[Duty, ...] = (
            self.levels,  # before the sources that report to it
            Sampling(post, samples, self.levels),
            Strays(post, samples),
            Adoption(post, Relationships(self._store, self.view)),
            Resuming(post, departures),
            MaintenanceEnds(post, self._store, redis_ms=self._redis_ms),
            Reaping(post, departures, self.pulse, is_guarded=is_guarded),
            Flapping(post, self._surveillance),
            Checking(post, self._store, disavowed=self.detector.disavow, report=self.levels.reporter(Reason.CHECK)),
            Restarting(post, restarts, is_held=lambda: self.pulse.holds.open, is_guarded=is_guarded),
            Escalation(post, restarts, report=report or self.levels.reporter(Reason.CHILDREN)),
            Delivery(post, restarts, send=send or self._webhook.send),
            Alerts(post, self._store),
        )
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, monitor=self.id)

    async def run(self) -> None:
        """Stand by, lead when the lease is free, and detect failures while leading; for ever.

        Raises `NewerSchema` where a newer version has written the keys, and nothing else.
        """
        self.view.listen(self._take)
        for duty in self._duties:
            self.view.listen(duty.take)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep("view", self.view.run))
                await self._open()
                await self.view.loaded.wait()
                tasks.create_task(self._keep("pulse", self.pulse.run, self._lead))
                for part, run in self.detector.parts():
                    tasks.create_task(self._keep(part, run, self._begin_detector))
                tasks.create_task(self._keep("notifications", self._notifications))
                for duty in self._duties:
                    begin = partial(self._begin_anew, duty)
                    tasks.create_task(self._keep(duty.name, duty.run, begin, patience_s=_PATIENCE_S))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await self._webhook.aclose()
            await self._surveillance.aclose()
            await self._log.aclose()
            await self._store.aclose()

    async def _open(self) -> None:
        """Wait until the namespace could be opened; raises `NewerSchema`, on which the view would wait for ever."""
        while True:
            try:
                await self._store.open()
            except NewerSchema:
                raise
            except HopperError as error:
                self._logger.warning("monitor.not_opened", detail=str(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def _keep(
        self,
        part: str,
        run: Callable[[], Awaitable[None]],
        begin: Callable[[], None] = _nothing,
        *,
        patience_s: float = 0,
    ) -> None:
        """Run a part for ever. One that fails begins again, and only what depends on it: no fault of one record, or of
        Hopper, may end the watch over all the others, nor make them forget what they know.

        With `patience_s` the pause before it does so doubles up to that, until it has run for longer.
        """
        pause_s = _PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await run()
            except NewerSchema:
                raise
            except Exception:
                self._logger.exception("monitor.part_failed", part=part)
            if time.monotonic() - began > patience_s:
                pause_s = _PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = max(_PAUSE_S, min(2 * pause_s, patience_s))
            if self.pulse.leads:
                begin()

    def _begin_anew(self, duty: Duty) -> None:
        """Begin a duty that has failed. The levels forget what their sources said, so these begin too; a source that
        begins alone forgets it itself, so that the levels believe it no longer than it takes to say it again."""
        if duty.source is not None:
            self.levels.doubt(duty.source)
        duty.begin()
        if duty is self.levels:
            for source in self._duties:
                if source.source is not None:
                    source.begin()

    def _begin_detector(self) -> None:
        self.detector.begin(list(self.view.replica.records.values()))

    def _lead(self) -> None:
        self._begin_detector()
        for duty in self._duties:
            duty.begin()

    def _redis_ms(self) -> float:
        return self.pulse.clock.redis_ms(local_ms())

    def _take(self, events: list[Event]) -> None:
        if self.pulse.leads:
            for event in events:
                self.detector.take(event)

    async def _notifications(self) -> None:
        """Expired keys as Redis tells of them: a second trigger, never the only one. A trouble is said once."""
        away, refused = False, ""
        while True:
            pause_s = _PAUSE_S
            try:
                flags = await self._surveillance.enable_notifications()
                self._logger.info("monitor.notifications_back" if away else "monitor.notifications", flags=flags)
                away = False
                async with contextlib.aclosing(self._surveillance.notifications()) as told:
                    async for id, what in told:
                        if what == "evicted":
                            self.detector.excuse(id)
                        else:
                            self.detector.look_at(id)
            except Unavailable as error:
                if not away:
                    self._logger.warning("monitor.notifications_lost", detail=str(error))
                away = True
            except HopperError as error:
                pause_s = _REFUSED_PAUSE_S
                if str(error) != refused:
                    self._logger.warning("monitor.notifications_lost", detail=str(error))
                refused = str(error)
            await asyncio.sleep(pause_s)
