"""Checking: the leading monitor checks instances that ask for it, and heartbeats for those that are alive."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from hopper.errors import HopperError, Invalid
from hopper.instance.duties.checker import Checker, CheckResult
from hopper.instance.duties.duty import Duty, Post
from hopper.model.check import Target, target_of
from hopper.model.event import Event, Reason
from hopper.model.health import Health
from hopper.model.policy import Check
from hopper.model.record import Record
from hopper.store.instances import InstanceStore

__all__ = ["Checking", "Report"]

Report = Callable[[str, Health, dict[str, Any]], None]
"""Hears the level that a check has found: `(id, healthy or unhealthy, evidence)`, also where it is the same again."""

_LOOK_S = 1.0
_SHORT_MS = 1_000
_SOONEST_S = 0.2


@dataclass(frozen=True, slots=True)
class _Subject:
    """What of a record a check depends on: where it is the same, the check goes on."""

    id: str
    incarnation: int
    ttl_ms: int
    check: Check
    target: Target

    @property
    def slack_s(self) -> float:
        """What the TTL leaves once an interval and a timeout are over."""
        return max(0.0, self.ttl_ms / 1000 - self.check.interval_s - self.check.timeout_s)

    @property
    def short_ms(self) -> int:
        """What remains at most of its own heartbeat where that would lapse before another check could prevent it."""
        return min(int(self.check.timeout_s * 1000) + _SHORT_MS, self.ttl_ms // 2)


@dataclass(slots=True)
class _Streak:
    """Failures in a row, and how many of the last ones nothing answered."""

    failures: int = 0
    silent: int = 0

    def take(self, result: CheckResult) -> None:
        self.failures = 0 if result.passed else self.failures + 1
        self.silent = 0 if result.answered else self.silent + 1


class Checking(Duty):
    """Checks while its monitor leads, each instance by a task of its own, `checks_at_once` of them at a time.

    A check that passes heartbeats for the instance; so does one that fails, up to the `threshold`, but that begins no
    heartbeat anew. Nothing answered `threshold` times in a row: the heartbeat is taken back, and the detector judges as
    it does any other. What answers, but badly, is alive and `unhealthy`.
    """

    name = "checking"
    source = Reason.CHECK

    def __init__(
        self,
        post: Post,
        store: InstanceStore,
        *,
        disavowed: Callable[[str, dict[str, Any]], None],
        report: Report | None = None,
    ) -> None:
        """`disavowed` tells the detector of a heartbeat taken back, and why; `report` what level the checks found."""
        super().__init__(post)
        self._store = store
        self._disavowed = disavowed
        self._report = report or _unheard
        self._slots = asyncio.Semaphore(self._settings.checks_at_once)
        self._running: dict[str, tuple[_Subject, asyncio.Task[None]]] = {}
        self._changed: dict[str, None] = {}
        self._anew = False
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """Check everybody, spread over half of what each one's TTL leaves; who changes meanwhile at once."""
        self._anew = True
        self._wake.set()

    def take(self, events: list[Event]) -> None:
        """Take in changes: a check may have come, changed or gone. A standby needs none: `begin` looks at everybody."""
        if not self._leads():
            return
        for event in events:
            record = event.record
            if record is not None and (record.check is not None or record.id in self._running):
                self._changed[record.id] = None
                self._wake.set()

    async def run(self) -> None:
        """Keep one task for each instance that is to be checked; ends by cancellation, and they with it."""
        self._running.clear()
        self._anew = True
        async with Checker() as checker, asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                if not self._leads():
                    self._stop_all()
                elif self._view.loaded.is_set():
                    self._settle(checker, tasks)
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    # -- who is checked ------------------------------------------------------------------------------------------------

    def _settle(self, checker: Checker, tasks: asyncio.TaskGroup) -> None:
        """Begin, change and end checks as the records say now."""
        anew, self._anew = self._anew, False
        changed, self._changed = self._changed, {}
        records, spread = self._view.replica.records, frozenset[str]()
        if anew:
            self._stop_all()
            everybody = dict.fromkeys(record.id for record in records.values() if record.check is not None)
            spread = frozenset(everybody.keys() - changed.keys())
            changed |= everybody
        for id in changed:
            record = records.get(id)
            subject = self._subject(record)
            present = self._running.get(id)
            if present is not None and present[0] == subject:
                continue
            if present is not None:
                self._stop(id)
                if subject is None and record is not None and record.monitored:
                    self._report(id, Health.HEALTHY, {"check": None})
            if subject is not None:
                delay_s = random.uniform(0, subject.slack_s / 2) if id in spread else 0.0
                task = tasks.create_task(self._keep_checking(checker, subject, delay_s), name=f"check {id}")
                self._running[id] = subject, task

    def _subject(self, record: Record | None) -> _Subject | None:
        if record is None or record.check is None or not record.monitored:
            return None
        try:
            target = target_of(record.check, record.address)
        except Invalid as error:
            self._logger.error("checking.impossible", id=record.id, detail=str(error))
            return None
        return _Subject(record.id, record.incarnation, record.ttl_ms, record.check, target)

    def _stop(self, id: str) -> None:
        _, task = self._running.pop(id)
        task.cancel()

    def _stop_all(self) -> None:
        for id in list(self._running):
            self._stop(id)

    # -- one of them ---------------------------------------------------------------------------------------------------

    async def _keep_checking(self, checker: Checker, subject: _Subject, delay_s: float) -> None:
        """Check one instance for ever. From one beginning to the next there is an interval, or up to a tenth less."""
        streak = _Streak()
        await asyncio.sleep(delay_s)
        while True:
            began = time.monotonic()
            pause_s = subject.check.interval_s * random.uniform(0.9, 1.0)
            try:
                own_left_ms = await self._check(checker, subject, streak)
            except HopperError as error:
                self._logger.warning("checking.not_told", id=subject.id, detail=str(error))
            except Exception:  # a fault of one check may not end all the others
                self._logger.exception("checking.failed", id=subject.id)
            else:
                if own_left_ms is not None:
                    pause_s = min(pause_s, (own_left_ms - subject.short_ms) / 1000)
            await asyncio.sleep(max(_SOONEST_S, began + pause_s - time.monotonic()))

    async def _check(self, checker: Checker, subject: _Subject, streak: _Streak) -> int | None:
        """One check and what follows; answers what remains of a heartbeat that is the instance's own."""
        await self._await_turn(subject, streak)
        try:
            result = await checker.check(subject.target, timeout_s=subject.check.timeout_s)
        finally:
            self._slots.release()
        if not self._leads():
            return None
        streak.take(result)
        told: dict[str, Any] = {"check": subject.check.kind}
        if result.passed:
            told["response_time_ms"] = result.elapsed_ms
        else:
            told |= {"failures": streak.failures, "problem": f"check: {result.detail}"}
        if streak.silent >= subject.check.threshold:
            await self._disavow(subject, result, told | {"reasons": [_reason(streak, result)]})
            return None
        left_ms = await self._vouch(subject, told, renew=not result.answered)
        if result.passed:
            self._report(subject.id, Health.HEALTHY, told)
        elif streak.failures >= subject.check.threshold:
            self._report(subject.id, Health.UNHEALTHY, told | {"reasons": [_reason(streak, result)]})
        return left_ms

    async def _await_turn(self, subject: _Subject, streak: _Streak) -> None:
        """Wait for a slot. That the monitor is busy is no failure of the instance's, whose heartbeat is prolonged."""
        while True:
            try:
                async with asyncio.timeout(max(_SOONEST_S, subject.slack_s / 2)):
                    await self._slots.acquire()
                return
            except TimeoutError:
                self._logger.warning("checking.behind", id=subject.id)
            if streak.silent < subject.check.threshold:
                told = {"check": subject.check.kind, "failures": streak.failures, "problem": "check: not in time"}
                await self._vouch(subject, told, renew=True)

    async def _vouch(self, subject: _Subject, told: dict[str, Any], *, renew: bool) -> int | None:
        outcome, left_ms = await self._store.vouch(
            subject.id,
            incarnation=subject.incarnation,
            value=orjson.dumps(told),
            short_ms=subject.short_ms,
            renew=renew,
            monitor_id=self._monitor_id,
        )
        return left_ms if outcome == "own" else None

    async def _disavow(self, subject: _Subject, result: CheckResult, told: dict[str, Any]) -> None:
        outcome = await self._store.disavow(subject.id, incarnation=subject.incarnation, monitor_id=self._monitor_id)
        if outcome == "disavowed":
            self._logger.info("checking.silent", id=subject.id, detail=result.detail)
            self._disavowed(subject.id, told)


def _reason(streak: _Streak, result: CheckResult) -> str:
    times = "once" if streak.failures == 1 else f"{streak.failures} times in a row"
    return f"its check failed {times}: {result.detail}"


def _unheard(_id: str, _level: Health, _evidence: dict[str, Any]) -> None:
    """Nobody hears of levels."""
