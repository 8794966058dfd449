"""Alerts: the leading monitor tells an operator's webhook of deaths, guards and holds, from the log.

What the log does not tell, the view does: when this monitor begins to lead, and where events may be missing, what is so
is compared with what is told, once the log has been read as far as it goes.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable

from hopper.errors import HopperError, NotLeader, StoreFault
from hopper.instance.alerting.alarms import Alarms
from hopper.instance.alerting.outbox import Outbox
from hopper.instance.duties.duty import Duty, Post
from hopper.model.alert import Alert, AlertKind, AlertPosition, AlertStatus
from hopper.model.event import Event
from hopper.store.alerting import AlertStore
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["Alerts"]

_LOOK_S = 0.5
"""Seconds between two looks at what is due, where nothing happens."""

_GATHER_S = 0.01
_SAVE_S = 1.0
"""Seconds between two notes of a position that has moved without an alert."""

_SAVE_EACH_S = 1e-4
"""Seconds more for each thing that is noted in it, after an alert too: of very many the note is long."""

_PAUSE_S = 1.0

_BATCH = 100
"""Events read and decoded at a stretch, since the pulses of the monitor wait meanwhile."""


class Alerts(Duty):
    """Follows the log from where the leader before it has come to, and sends what is to be told to `alert_webhook`.

    Without that it does nothing. Each alert is sent at least once, a repeat under the same `Hopper-Delivery`.
    """

    name = "alerts"

    def __init__(self, post: Post, store: InstanceStore) -> None:
        super().__init__(post)
        settings = self._settings
        self._store = store
        self._positions = AlertStore(store)
        self._log = ChangeLog(settings, client=store.client)
        self._outbox: Outbox | None = None
        if settings.alert_webhook is not None:
            self._outbox = Outbox(settings, settings.alert_webhook, on_done=self._done)
        self._alarms = Alarms(settle_s=settings.guard_settle_s)
        self._anew = True
        self._led = False
        """Whether all that is known here is of a leadership that has not ended."""
        self._unsure = False
        """Whether what is so is to be compared with what is told."""
        self._first = False
        """Whether nothing was ever told, nor was to be: alerts begin."""
        self._epoch = ""
        self._revision = 0
        self._floor = 0
        """Up to this revision the log is not to be read again: it cannot tell, or was not to be told."""
        self._read: tuple[int, int] | None = None
        """The last event that was read, its revision and its time; None where it could not be."""
        self._sent: dict[str, int] = {}
        """What has reached the receiver and is not over: what a new leader takes for told."""
        self._noted: AlertPosition | None = None
        self._noted_s = 0.0
        self._news = False
        """Whether something was sent or found that is to be noted at once."""
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """Go on from what Redis says has been dealt with; in a leadership that goes on, from what is known here."""
        self._anew = True
        self._wake.set()

    def take(self, events: list[Event]) -> None:  # noqa: ARG002 - they are read from the log, which forgets none
        """There is something to read."""
        self._wake.set()

    async def run(self) -> None:
        """Alert while this monitor leads; ends by cancellation."""
        if self._outbox is None:
            await asyncio.Event().wait()
            return
        self._led = False
        self._outbox.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run())
            tasks.create_task(self._follow(self._outbox))

    async def _follow(self, outbox: Outbox) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s() if self._leads() else None):
                    await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            if not self._leads():
                self._anew, self._led = True, False
                outbox.clear()
                continue
            if not self._view.complete:
                continue
            try:
                await self._step(outbox)
            except NotLeader:
                self._anew, self._led = True, False
            except HopperError as error:
                self._logger.warning("alerts.failed", detail=str(error))
                await asyncio.sleep(_PAUSE_S)

    def _pause_s(self) -> float:
        due_s = self._alarms.next_due_s
        return _LOOK_S if due_s is None else max(0.0, min(_LOOK_S, due_s - time.monotonic()))

    async def _step(self, outbox: Outbox) -> None:
        """Read what is new, decide what is due, and note how far that is."""
        if self._anew or self._epoch != self._view.epoch or self._revision > self._view.revision:
            await self._begin(outbox)
        for id, death in self._alarms.unseen().items():
            events = await self._log.between(death.revision, death.revision, unreadable={})
            death.recall(id, events[0] if events else None)
        await self._read_on(outbox)
        if not self._view.complete or self._revision != self._view.revision:
            return
        if self._unsure:
            self._compare(outbox)
        self._put(outbox, self._alarms.due(self._view.replica, time.monotonic()))
        await self._note(outbox)

    async def _read_on(self, outbox: Outbox) -> None:
        """Take what the log has up to the view's revision. Entries that cannot be read are left to the view."""
        while self._revision < self._view.revision:
            first, last = self._revision + 1, min(self._view.revision, self._revision + _BATCH)
            unreadable: dict[int, str] = {}
            events = {event.revision: event for event in await self._log.between(first, last, unreadable=unreadable)}
            for revision in range(first, last + 1):
                event = events.get(revision)
                if event is not None:
                    self._put(outbox, self._alarms.take(event, self._view.replica, time.monotonic()))
                    self._read = (revision, event.at_ms)
                elif revision in unreadable:
                    self._logger.error("alerts.unreadable", revision=revision, detail=unreadable[revision])
                    self._unsure = True
                else:
                    await self._skip("the log no longer reaches back to where the alerts were")
                    return
                self._revision = revision
                await asyncio.sleep(0)

    # -- where to begin --------------------------------------------------------------------------------------------

    async def _begin(self, outbox: Outbox) -> None:
        """Go on in the log where this leadership was, or the one before it, in another epoch too if it is the same log.

        Alerts that wait go on to wait, each under the epoch in which it was decided.
        """
        why = "" if self._led else await self._take_over(outbox)
        epoch = self._view.epoch
        if why:
            await self._skip(why)
        elif (self._epoch != epoch or self._revision > self._view.revision) and not await self._knows_log():
            await self._skip(
                "Redis may have lost revisions: the epoch has changed, and the log is not the one that was read"
            )
        else:
            what = "alerts.begun" if self._first else "alerts.continued"
            self._logger.info(what, revision=self._revision, told=len(self._sent))
        self._epoch, self._led = epoch, True
        self._anew, self._unsure = False, True

    async def _take_over(self, outbox: Outbox) -> str:
        """Take what the leader before has noted, and say what is wrong with it; begin at now where there was none."""
        outbox.clear()
        position, why = None, ""
        try:
            position = await self._positions.read()
        except StoreFault as fault:
            why = str(fault)
        await self._view.catch_up()  # a revision that is newer than all that Redis has is of data that were lost
        self._sent = dict(position.told) if position is not None else {}
        self._alarms = Alarms(
            settle_s=self._settings.guard_settle_s,
            told=self._sent,
            deaths=position.deaths if position is not None else {},
            releases=position.releases if position is not None else {},
        )
        self._noted, self._first = None, position is None and not why
        if position is not None:
            self._epoch, self._revision, self._read = position.epoch, position.revision, position.read
        else:
            self._epoch, self._revision = self._view.epoch, self._view.revision
            self._read = await self._mark(self._revision)
        self._floor = self._revision
        return why

    async def _mark(self, revision: int) -> tuple[int, int] | None:
        """The event at a revision as `_read` names it; before the first event there is nothing to be lost."""
        if revision == 0:
            return 0, 0
        events = await self._log.between(revision, revision, unreadable={})
        return (revision, events[0].at_ms) if events else None

    async def _knows_log(self) -> bool:
        """Whether the log still has the event that was read last, so that what comes after it goes on from there."""
        return self._read is not None and await self._mark(self._read[0]) == self._read

    async def _skip(self, why: str) -> None:
        """Begin at now: of what happened since, that alone is told which is so still, and the end of what was."""
        self._logger.error("alerts.skipped", after=self._revision, revision=self._view.revision, detail=why)
        self._revision = self._floor = self._view.revision
        self._unsure = True
        self._read = await self._mark(self._revision)

    def _compare(self, outbox: Outbox) -> None:
        """Tell what the log did not. The view and the alarms are at the same revision."""
        replica, self._unsure, self._news = self._view.replica, False, True
        if self._first:
            self._first = False
            self._alarms.accept(replica)
            self._sent = dict(self._alarms.told)
        else:
            self._put(outbox, self._alarms.reconcile(replica, time.monotonic(), int(time.time() * 1000)))
            self._sent = {key: self._told_at(key, revision) for key, revision in self._sent.items()}

    # -- how far it has come ---------------------------------------------------------------------------------------

    def _put(self, outbox: Outbox, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            outbox.put(alert, epoch=self._epoch)

    def _done(self, alert: Alert) -> None:
        """An alert was sent, or dropped: a new leader need not come to it again."""
        if alert.status is AlertStatus.RESOLVED:
            self._sent.pop(alert.key, None)
        else:
            self._sent[alert.key] = self._told_at(alert.key, alert.revision)
        self._news = True
        self._wake.set()

    def _told_at(self, key: str, revision: int) -> int:
        """At what revision something counts as told: no later than the alarms say, where data were lost."""
        return min(revision, self._alarms.told.get(key, revision))

    async def _note(self, outbox: Outbox) -> None:
        """Write the position where it has moved: at once after an alert, else once a second."""
        now_s, many = time.monotonic(), len(self._sent) + (self._noted.size if self._noted is not None else 0)
        if now_s - self._noted_s < (0.0 if self._news else _SAVE_S) + _SAVE_EACH_S * many:
            return
        for key in [key for key in self._sent if key.startswith(f"{AlertKind.FAILED}:")]:
            if key not in self._alarms.told:
                del self._sent[key]
        origins = [origin for origin in (outbox.oldest_origin, self._alarms.oldest_origin) if origin is not None]
        deaths, releases = self._alarms.deaths, self._alarms.releases
        position = AlertPosition(
            epoch=self._epoch,
            revision=max(self._floor, min([*(origin - 1 for origin in origins), self._revision])),
            told=dict(self._sent),
            read=self._read,
            releases={
                group: releases[group]
                for group in releases
                if releases[group].left or f"{AlertKind.GUARD}:{group}" in self._sent
            },
            deaths={id: deaths[id] for id in deaths if f"{AlertKind.DOWN}:{id}" not in self._sent},
        )
        self._noted_s, self._news = now_s, False
        if position != self._noted:
            await self._positions.write(position, monitor_id=self._monitor_id)
            self._noted = position
