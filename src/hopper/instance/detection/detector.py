"""The failure detector: probes each heartbeat just after its deadline, and judges the ones that are gone.

A verdict needs a pulse that was sent after the lapse was noticed and answered in time, and no TTL owed from a hold.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import orjson
import structlog

from hopper.config import Settings
from hopper.errors import HopperError, NotFound, NotLeader, StaleIncarnation, StoreFault, Unavailable
from hopper.instance.detection.fleet import Fleet, Watch
from hopper.instance.detection.group import Group
from hopper.instance.detection.guards import Guards
from hopper.instance.detection.pulse import Pulse, local_ms
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.state import State
from hopper.store.surveillance import Lapse, SurveillanceStore

__all__ = ["FailureDetector"]

_VERDICT_BATCH = 64
_TOLD = 100
"""Descendants named in the event of a parent's death."""
_RETRY_MS = 50.0
_EARLY_MS = 250.0
"""Milliseconds before its deadline from which a heartbeat is gone before its time: clocks and views differ by less."""


def _nobody(_: str) -> Iterable[str]:
    return ()


class FailureDetector:
    """Watches the fleet while this monitor leads. `run` probes, `judge` gives verdicts; run both as tasks.

    `descendants` answers the ids below an instance, for the evidence of its death.
    """

    def __init__(
        self,
        settings: Settings,
        surveillance: SurveillanceStore,
        *,
        descendants: Callable[[str], Iterable[str]] = _nobody,
    ) -> None:
        self.fleet = Fleet(tick_ms=settings.tick_ms)
        self.guards = Guards(settings, surveillance, self.fleet, on_guard=self._spare, on_release=self._judge_again)
        self._settings = settings
        self._surveillance = surveillance
        self._keys = surveillance.keys
        self._descendants = descendants
        self._lapsed: deque[Watch] = deque()
        self._recovered: deque[Watch] = deque()
        self._wake = asyncio.Event()
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    @property
    def pulse(self) -> Pulse:
        """Set by the monitor, since each needs the other."""
        return self.guards.pulse

    @pulse.setter
    def pulse(self, pulse: Pulse) -> None:
        self.guards.pulse = pulse

    # -- what is watched -------------------------------------------------------------------------------------------

    def begin(self, records: Sequence[Record]) -> None:
        """Watch these instances, each looked at at once: nothing is known of their deadlines."""
        self.end()
        self.guards.begin()
        now_ms = local_ms()
        for record in records:
            if record.monitored:
                self.fleet.wheel.schedule(self._take(record), now_ms)

    def end(self) -> None:
        """Watch nobody: another monitor leads."""
        self.fleet.clear()
        self._lapsed.clear()
        self._recovered.clear()

    def take(self, event: Event) -> None:
        """Take in one change of the registry."""
        record = event.record
        if record is None or event.resync:
            self.guards.take(event)
        if record is None:
            return
        if event.type is EventType.DEREGISTERED or not record.monitored:
            self.fleet.drop(record.id)
            return
        known = self.fleet.get(record.id)
        begun = known is None or known.incarnation != record.incarnation
        if known is not None and (begun or event.resync):
            known.revive()
            known.verdict_revision = -1
        known_ttl_ms = record.ttl_ms if known is None else known.ttl_ms
        watch = self._take(record)
        now_ms = local_ms()
        if begun and not event.resync:
            watch.deadline_ms = min(self.pulse.clock.latest_local_ms(event.at_ms), now_ms) + record.ttl_ms
            watch.timed, watch.problem = True, None
            self._schedule_deadline(watch)
        elif begun or event.resync or (watch.state is State.STOPPING and not watch.alive):
            self.fleet.wheel.schedule(watch, now_ms)
        elif not watch.alive and watch.tick < 0:
            self.fleet.wheel.schedule(watch, now_ms + self._settings.recovery_ms)
        elif watch.ttl_ms != known_ttl_ms:
            self.look_at(watch.id)  # the heartbeat that stands may be one that the new TTL cuts

    def look_at(self, id: str) -> None:
        """Probe an instance at the next tick: a notification says that its heartbeat expired."""
        watch = self.fleet.get(id)
        if watch is not None and watch.lapsed_ms is None and not watch.is_judged:
            self.fleet.wheel.schedule(watch, local_ms())

    def disavow(self, id: str, problem: Mapping[str, Any]) -> None:
        """Probe an instance at the next tick: its check has failed, and its heartbeat was taken back for it."""
        watch = self.fleet.get(id)
        if watch is not None:
            watch.problem = problem
            self.look_at(id)

    def excuse(self, id: str) -> None:
        """Redis evicted a heartbeat: its absence tells nothing, and the instance has one TTL to write it again."""
        watch = self.fleet.get(id)
        if watch is not None:
            watch.evicted_ms = local_ms()
            self._logger.error("detector.evicted", id=id)

    def _take(self, record: Record) -> Watch:
        return self.fleet.take(record, self._keys.heartbeat(record.id))

    def _schedule_deadline(self, watch: Watch) -> None:
        self.fleet.wheel.schedule(watch, watch.deadline_ms + self._settings.probe_margin_ms)

    def parts(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        """What has to run while this monitor may lead, by name: each as a task, for ever."""
        return (("detector", self.run), ("judge", self.judge), ("guards", self.guards.run))

    # -- probing ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Probe whatever is due, at the beginning of each tick; ends by cancellation."""
        tick_ms = self._settings.tick_ms
        by_ttl = attrgetter("ttl_ms")
        while True:
            due = list(self.fleet.wheel.pop_due(local_ms()))
            if due:
                due.sort(key=by_ttl)
                for start in range(0, len(due), self._settings.probe_batch):
                    await self._probe(due[start : start + self._settings.probe_batch])
            await asyncio.sleep((tick_ms - local_ms() % tick_ms) / 1000)

    async def _probe(self, due: Sequence[Watch]) -> None:
        runs: list[int] = []
        for watch in due:
            if runs and runs[-1] == watch.ttl_ms:
                runs[-2] += 1
            else:
                runs += (1, watch.ttl_ms)
        sent_ms = local_ms()
        try:
            redis_ms, *left = await self._surveillance.probe([watch.key for watch in due], runs)
        except HopperError as error:
            self._give_up(due, error)
            return
        answered_ms = min(max(sent_ms, self.pulse.clock.local_ms(redis_ms)), local_ms())
        schedule, margin_ms = self.fleet.wheel.schedule, self._settings.probe_margin_ms
        for watch, left_ms in zip(due, left, strict=True):
            if watch.dropped:
                continue
            if left_ms >= 0:
                watch.deadline_ms = deadline_ms = answered_ms + left_ms
                watch.timed, watch.problem = left_ms <= watch.ttl_ms, None
                if watch.lapsed_ms is not None:
                    watch.revive()
                if watch.alive:
                    schedule(watch, deadline_ms + margin_ms)
                else:
                    self._recovered.append(watch)
                    self._wake.set()
            else:
                self._notice(watch, answered_ms)

    def _notice(self, watch: Watch, now_ms: float) -> None:
        """A heartbeat is gone. What is judged already is looked at again later; the others are to be judged.

        One that is gone before its time was deleted, or cut short, by whoever may: then its TTL tells nothing.
        """
        if watch.deadline_ms - now_ms > _EARLY_MS:
            watch.timed = False
        watch.deadline_ms = min(watch.deadline_ms, now_ms)  # of one whose deadline the former leader knew
        is_settled = watch.is_judged and not self._is_to_be_spared(watch)
        if is_settled or (watch.health is Health.SUSPECT and self._is_spared(watch, now_ms)):
            self._schedule_next(watch)
            return
        if not self._is_put_off(watch, now_ms):
            watch.lapse(now_ms)
            self._lapsed.append(watch)
            self._wake.set()

    def _retry(self, watch: Watch, after_ms: float = _RETRY_MS) -> None:
        if not watch.dropped:
            self.fleet.wheel.schedule(watch, local_ms() + after_ms)

    def _give_up(self, watches: Sequence[Watch], error: HopperError) -> None:
        """Redis did not do what was asked about these: hold where it is away, and ask again."""
        if isinstance(error, Unavailable):
            self.pulse.hold(str(error))
        else:
            self._logger.error("detector.refused", id=watches[0].id, watches=len(watches), detail=str(error))
        for watch in watches:
            self._retry(watch, self._settings.recovery_ms)

    # -- judging ---------------------------------------------------------------------------------------------------

    async def judge(self) -> None:
        """Give verdicts on lapsed heartbeats and record recovered ones; ends by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._recovered:
                await self._recover([self._recovered.popleft() for _ in range(min(64, len(self._recovered)))])
            while self._lapsed:
                await self._judge([self._lapsed.popleft() for _ in range(min(_VERDICT_BATCH, len(self._lapsed)))])

    async def _judge(self, batch: Sequence[Watch]) -> None:
        asked_ms = local_ms()
        batch = [watch for watch in dict.fromkeys(batch) if _is_pending(watch, asked_ms)]
        if not batch:
            return
        confirmed = await self.pulse.confirm()
        batch = [watch for watch in batch if _is_pending(watch, asked_ms)]
        if not confirmed:
            for watch in batch:
                watch.wait(asked_ms)
                self._retry(watch, self._settings.recovery_ms if self.pulse.holds.open else _RETRY_MS)
            return
        now_ms = local_ms()
        ripe = [watch for watch in batch if not self._is_put_off(watch, now_ms)]
        if ripe:
            await self._expire(ripe)

    async def _expire(self, watches: Sequence[Watch]) -> None:
        """Give verdicts on these, once it is known whether their group is guarded."""
        try:
            await self.guards.settle(watches)
            now_ms = local_ms()
            lapses = [self._lapse(watch, now_ms) for watch in watches]
            answers = await self._surveillance.expire(
                lapses,
                monitor_id=self.pulse.monitor_id,
                expected_ms=int(self.pulse.clock.redis_ms(local_ms())),
            )
        except NotLeader:
            self.pulse.step_down()
            return
        except HopperError as error:
            self._give_up(watches, error)
            return
        for watch, lapse, answer in zip(watches, lapses, answers, strict=True):
            self._take_answer(watch, lapse, answer)

    async def _spare(self, group: Group[Watch]) -> None:
        """Those of a group that were judged within the last TTL are suspect again: it is guarded now."""
        judged = self.fleet.judged_since(group, self.guards.reach_ms(group))
        for start in range(0, len(judged), _VERDICT_BATCH):
            await self._expire(judged[start : start + _VERDICT_BATCH])

    def _is_to_be_spared(self, watch: Watch) -> bool:
        """Whether a verdict stands that the guard of the group takes back."""
        return watch.group.spared and watch.is_silent_since(self.guards.reach_ms(watch.group))

    def _judge_again(self, group: Group[Watch]) -> None:
        """A group is guarded no more: look at those of it that were spared."""
        now_ms = local_ms()
        for watch in self.fleet.members(group):
            if watch.health is Health.SUSPECT:
                self.fleet.wheel.schedule(watch, now_ms)

    def _is_put_off(self, watch: Watch, now_ms: float) -> bool:
        """Whether a lapse may not be judged yet, for what the instance is owed; then it is looked at again later."""
        owed_ms = self.pulse.holds.owed_ms(watch.since_ms, watch.ttl_ms, now_ms)
        owed_ms = max(owed_ms, watch.evicted_ms + watch.ttl_ms - now_ms)
        if owed_ms > 0:
            watch.wait(now_ms)
            self._retry(watch, min(owed_ms + self._settings.probe_margin_ms, self._settings.recovery_ms))
        return owed_ms > 0

    def _is_graceful(self, watch: Watch, now_ms: float) -> bool:
        return now_ms < watch.grace_end_ms and watch.state is not State.STOPPING

    def _is_spared(self, watch: Watch, now_ms: float) -> bool:
        return watch.group.spared or self._is_graceful(watch, now_ms)

    def _lapse(self, watch: Watch, now_ms: float) -> Lapse:
        """The verdict that is due on a lapsed heartbeat."""
        graceful = self._is_graceful(watch, now_ms)
        noticed_ms = now_ms if watch.lapsed_ms is None else watch.lapsed_ms
        group = watch.group.standing or watch.group
        found = Reason.LAPSED if watch.problem is None else Reason.CHECK
        reason = Reason.GUARD if watch.group.spared else Reason.GRACE if graceful else found
        return Lapse(
            id=watch.id,
            incarnation=watch.incarnation,
            verdict=(Health.DOWN if reason is found else Health.SUSPECT).value,
            reason=reason.value,
            deadline_ms=int(self.pulse.clock.redis_ms(watch.deadline_ms)),
            lapsed=group.lapsed_with(watch.id, noticed_ms, watch.ttl_ms),
            group_size=group.size,
            tolerance_ms=min(self._settings.verdict_tolerance_ms, watch.ttl_ms // 4),
            details=_members({"group": group.name, "noticed_ms": int(self.pulse.clock.redis_ms(noticed_ms))})
            + _members(watch.problem)
            + self._gone_with(watch),
            timed=watch.timed,
        )

    def _gone_with(self, watch: Watch) -> str:
        """Evidence: the descendants that fell silent since it last lived for certain, and how many of how many."""
        since_ms = self.pulse.clock.redis_ms(watch.since_ms)
        silent, below = [], 0
        for id in self._descendants(watch.id):
            below += 1
            other = self.fleet.get(id)
            if other is not None and other.is_silent_since(since_ms):
                silent.append(id)
        if not below:
            return ""
        return _members({"descendants": silent[:_TOLD], "descendants_gone": len(silent), "descendants_total": below})

    def _take_answer(self, watch: Watch, lapse: Lapse, answer: list[Any] | HopperError) -> None:
        match answer:
            case ["down" | "suspect" as verdict, revision, redis_ms]:
                if watch.incarnation == lapse.incarnation:
                    watch.verdict_revision = int(revision)
                    watch.turn(Health(verdict))
                    watch.down_at_ms = redis_ms if watch.health is Health.DOWN else None
                self._schedule_next(watch)
                self._logger.info(
                    "detector.verdict", id=watch.id, verdict=verdict, late_ms=redis_ms - lapse.deadline_ms
                )
            case ["alive", *_]:
                watch.revive()
                self._retry(watch, 0)
            case ["repeat" | "stopped" | "gone" | "unmonitored", *_] | NotFound() | StaleIncarnation():
                self._schedule_next(watch)  # the log tells the rest
            case NotLeader():
                self.pulse.step_down()
            case HopperError():
                self._give_up([watch], answer)
            case _:
                self._give_up([watch], StoreFault(f"the verdict was answered by {answer!r}"))

    def _schedule_next(self, watch: Watch) -> None:
        """After a verdict: look for a recovery, and be there when the grace ends."""
        after_ms: float = self._settings.recovery_ms
        if watch.health is Health.SUSPECT and not watch.group.spared:
            after_ms = min(after_ms, watch.grace_end_ms + self._settings.probe_margin_ms - local_ms())
        self._retry(watch, after_ms)

    async def _recover(self, batch: Sequence[Watch]) -> None:
        try:
            answers = await self._surveillance.recover([watch.id for watch in batch])
        except HopperError as error:
            self._give_up(batch, error)
            return
        for watch, answer in zip(batch, answers, strict=True):
            match answer:
                case ["recovered" | "repeat", left_ms, _]:
                    watch.turn(Health.HEALTHY)
                    watch.deadline_ms = local_ms() + left_ms
                    if not watch.dropped:
                        self._schedule_deadline(watch)
                case ["lapsed", *_]:
                    self._retry(watch, 0)
                case HopperError():
                    self._give_up([watch], answer)
                case _:
                    self._retry(watch, self._settings.recovery_ms)


def _members(told: Mapping[str, Any] | None) -> str:
    """Members of the evidence as JSON, each after a comma."""
    return f",{orjson.dumps(told).decode()[1:-1]}" if told else ""


def _is_pending(watch: Watch, asked_ms: float) -> bool:
    """Whether a lapse that was noticed before `asked_ms` is still to be judged."""
    return not watch.dropped and watch.lapsed_ms is not None and watch.lapsed_ms <= asked_ms
