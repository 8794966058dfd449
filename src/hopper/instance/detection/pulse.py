"""The pulse: whether Redis works, who leads, what its clock shows, and the hold while it does not work."""

import asyncio
import time
from collections.abc import Callable

import structlog

from hopper.config import Settings
from hopper.errors import HopperError, NewerSchema, NotLeader
from hopper.model.clock import RedisClock
from hopper.model.hold import LEADERSHIP, HoldLedger
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import PulseAnswer, SurveillanceStore

__all__ = ["Pulse", "local_ms"]


def local_ms() -> float:
    """The local monotonic clock in milliseconds."""
    return time.monotonic() * 1000


class Pulse:
    """Sends pulses for ever, leads or stands by, and starts and ends holds. Run it as a task.

    `on_lead` is called when this monitor begins to lead, and again while it leads a Redis that may have lost data;
    `on_follow` when it no longer leads.
    """

    def __init__(
        self,
        settings: Settings,
        store: InstanceStore,
        surveillance: SurveillanceStore,
        *,
        monitor_id: str,
        on_lead: Callable[[], None],
        on_follow: Callable[[], None],
    ) -> None:
        self.monitor_id = monitor_id
        self.clock = RedisClock(jump_ms=settings.pulse_slow_ms)
        self.holds = HoldLedger()
        self.leads = False
        self._settings = settings
        self._store = store
        self._surveillance = surveillance
        self._on_lead = on_lead
        self._on_follow = on_follow
        self._turn = asyncio.Lock()
        self._connects = 0
        self._epoch: str | None = None
        self._good_ms = self._doubted_ms = local_ms()
        self._unlogged: tuple[str, float] | None = None
        self._untold_until_ms = 0.0
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, monitor=monitor_id)

    async def run(self) -> None:
        """Pulse every `pulse_ms`; ends by cancellation, and then gives the lease back."""
        pause_s = self._settings.pulse_ms / 1000
        try:
            while True:
                started = time.monotonic()
                await self.confirm()
                await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - started)))
        finally:
            await self._resign()

    async def _resign(self) -> None:
        """Give the lease back, also one that a pulse has taken whose answer never came."""
        try:
            async with asyncio.timeout(0.5):
                await self._surveillance.resign(self.monitor_id)
        except (HopperError, TimeoutError) as error:
            self._logger.info("pulse.not_resigned", detail=str(error))

    async def confirm(self) -> bool:
        """One pulse, sent now: whether it was answered in time by a Redis that works, and this monitor leads.

        Raises `NewerSchema`, and nothing else.
        """
        async with self._turn:
            sent_ms = local_ms()
            try:
                answer = await self._surveillance.pulse(self.monitor_id)
                await self._look_for_new_run()
            except NewerSchema:
                raise
            except HopperError as error:
                await self._surveillance.drop_pulse_connection()
                self.hold(str(error))
                return False
            in_time = self._observe(answer, sent_ms)
            if not self._lead(answer):
                if in_time:
                    self._stand_by(sent_ms)
                return False
            return await self._settle(sent_ms, in_time=in_time)

    def hold(self, reason: str) -> None:
        """Judge nobody until a pulse sent from now on is good: Redis may not have worked since the last good one."""
        self._doubted_ms = local_ms()
        self._begin_hold(reason)

    def _begin_hold(self, reason: str) -> None:
        if not self.holds.open:
            self.holds.start(self._good_ms)
            if self._unlogged is None or reason != LEADERSHIP:
                self._unlogged = (reason, self._good_ms)
            if self.leads:
                told = self._logger.info if reason == LEADERSHIP else self._logger.warning
                told("pulse.hold", reason=reason)

    def _stand_by(self, sent_ms: float) -> None:
        """A good pulse ends a standby's hold. For one lease it remains to be logged: the leader may have died in it."""
        self._good_ms = sent_ms
        if self.holds.open:
            self.holds.end(sent_ms)
            self._untold_until_ms = sent_ms + self._settings.lease_ms + self._settings.pulse_slow_ms
        elif sent_ms > self._untold_until_ms:
            self._unlogged = None

    def step_down(self) -> None:
        """Another monitor leads, as a script has told: judge no more until the lease is ours again."""
        if self.leads:
            self.leads = False
            self._logger.info("pulse.follows")
            self._on_follow()

    async def _look_for_new_run(self) -> None:
        """After a reconnect: the server may be another one, or have lost what it knew."""
        connects = self._surveillance.connects.count
        if connects == self._connects:
            return
        await self._surveillance.drop_idle_connections()
        position = await self._store.open()
        first, same = not self._connects, position.epoch == self._epoch
        self._connects, self._epoch = connects, position.epoch
        if not first:
            self._begin_hold("reconnect" if same else "a new run of Redis")
        if self.leads and not same:
            self._on_lead()

    def _observe(self, answer: PulseAnswer, sent_ms: float) -> bool:
        beat = self.clock.observe(sent_ms=sent_ms, received_ms=local_ms(), redis_ms=answer.now_ms)
        if beat.moved_ms:
            self._begin_hold(f"Redis' clock moved by {beat.moved_ms:+.0f} ms")
            return False
        if beat.delay_ms > self._settings.pulse_slow_ms:
            self._begin_hold(f"Redis stood still for {beat.delay_ms:.0f} ms")
            return False
        return True

    def _lead(self, answer: PulseAnswer) -> bool:
        if answer.leader != self.monitor_id:
            self.step_down()
        elif answer.taken or not self.leads:
            self.leads = True
            self._begin_hold(LEADERSHIP)
            self._logger.info("pulse.leads")
            self._on_lead()
        return self.leads

    async def _settle(self, sent_ms: float, *, in_time: bool) -> bool:
        """As the leader: write down a hold that has begun, and end it where this pulse was good."""
        try:
            if self._unlogged is not None:
                reason, since_ms = self._unlogged
                since = int(self.clock.redis_ms(since_ms))
                await self._surveillance.start_hold(monitor_id=self.monitor_id, reason=reason, since_ms=since)
                self._unlogged = None
            if not in_time:
                return False
            if self.holds.open:
                if self._doubted_ms > sent_ms:
                    return False
                await self._surveillance.end_hold(monitor_id=self.monitor_id, reason="Redis works")
                self.holds.end(local_ms())
                self._logger.info("pulse.hold_ended")
        except NotLeader:
            self.step_down()
            return False
        except HopperError as error:
            self.hold(str(error))
            return False
        self._good_ms = sent_ms
        if self._doubted_ms > sent_ms:
            self._begin_hold("doubt while the last hold ended")
            return False
        return True
