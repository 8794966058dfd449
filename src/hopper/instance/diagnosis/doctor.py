"""The doctor: everything that may be wrong with a registry, as findings. It changes nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing

from hopper.config import Settings
from hopper.errors import StoreFault, Unavailable
from hopper.instance.diagnosis.checkup import ServerCheckup
from hopper.instance.diagnosis.consistency import Census, take_census
from hopper.instance.diagnosis.failed_checkup import look_at_failed
from hopper.instance.diagnosis.restart_checkup import look_at_restarts
from hopper.instance.parents import matched
from hopper.instance.replica import Replica
from hopper.model.finding import Finding, Level
from hopper.model.health import Health
from hopper.model.policy import Wish
from hopper.model.story import moment
from hopper.model.webhook import RULE, target_of
from hopper.store.alerting import AlertStore
from hopper.store.diagnosis import Diagnosis
from hopper.store.keys import SCHEMA
from hopper.store.restarting import RestartStore

__all__ = ["away", "examine"]

_SHOWN = 5
_LONG_HOLD_MS = 60_000
_UNSENT_MS = 30_000
"""Milliseconds, beside `guard_settle_s`, after which what the log has is told, or found not to be worth it.

A leader that alerts notes how far it has come about once a second, also where there is nothing to tell.
"""

_QUIET = 5
"""Times `departure_quiet_ms` after which a removal without progress is one that nobody finishes."""

Check = Callable[[], Awaitable[list[Finding]]]


async def examine(settings: Settings) -> list[Finding]:
    """Look at the server and at a namespace. Raises nothing of Hopper's: what cannot be looked at is a finding."""
    async with aclosing(Diagnosis(settings)) as diagnosis:
        try:
            await diagnosis.ping_ms()
        except Unavailable as error:
            return [away(error)]
        except StoreFault as fault:
            return [Finding("redis", Level.UNKNOWN, f"Redis answers, and refuses to be asked: {fault}", _PERMIT)]
        findings = await _each(ServerCheckup(settings, diagnosis).checks)
        return findings + await _NamespaceCheckup(settings, diagnosis).findings()


_UNSENT = (
    "see whether the receiver is up (the leading monitor logs alerts.not_sent), and give every monitor the same "
    "HOPPER_ALERT_WEBHOOK: one without it leads and tells nobody"
)
_PERMIT = "let a user look who may read the namespace, INFO, TIME and CONFIG GET"


def away(error: Unavailable) -> Finding:
    """The finding that there is no Redis."""
    advice = "start it, or correct HOPPER_REDIS_URL and its credentials"
    return Finding("redis", Level.PROBLEM, str(error), advice)


async def _each(checks: Iterable[tuple[str, Check]]) -> list[Finding]:
    """What the checks find; one that is refused, or for which Redis is suddenly away, could not look."""
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += await check()
        except StoreFault as fault:
            findings.append(Finding(name, Level.UNKNOWN, f"this could not be looked at: {fault}", _PERMIT))
        except Unavailable as error:
            findings.append(Finding(name, Level.PROBLEM, f"Redis went away: {error}", "look again"))
    return findings


class _NamespaceCheckup:
    """What is in a namespace, and whether somebody looks after it."""

    def __init__(self, settings: Settings, diagnosis: Diagnosis) -> None:
        self._settings = settings
        self._diagnosis = diagnosis
        self._census: Census | None = None
        self._monitored = 0

    async def findings(self) -> list[Finding]:
        found = await _each([("schema", self._schema)])
        if any(finding.level is Level.PROBLEM for finding in found):
            return found
        found += await _each([("log", self._log), ("records", self._records)])
        checks: list[tuple[str, Check]] = [("monitor", self._monitor), ("holds", self._holds)]
        if self._census is not None:
            checks += [("orphans", self._orphans), ("down", self._down), ("failed", self._failed)]
            checks += [("restarts", self._restarts), ("leaving", self._leaving)]
        checks.append(("strays", self._strays))
        if self._settings.alert_webhook is not None:
            checks.append(("alerts", self._alerts))
        return found + await _each(checks)

    async def _schema(self) -> list[Finding]:
        space, marks = self._settings.namespace, await self._diagnosis.marks()
        if marks.schema is not None and marks.schema > SCHEMA:
            text = f"the keys of '{space}' have version {marks.schema}, and this hopper knows {SCHEMA}"
            return [Finding("schema", Level.PROBLEM, text, "upgrade hopper")]
        if marks.epoch is None:
            return [Finding("schema", Level.OK, f"namespace '{space}' has not been opened yet: it is empty")]
        text = f"namespace '{space}' has keys of version {marks.schema}, epoch {marks.epoch}, revision {marks.revision}"
        if marks.schema is None:
            return [Finding("schema", Level.WARNING, f"{text}: P:schema is gone", f"SET its key to {SCHEMA}")]
        return [Finding("schema", Level.OK, text)]

    async def _log(self) -> list[Finding]:
        ends = await self._diagnosis.log_ends()
        if (ends.newest or 0) != ends.revision:
            text = f"the log ends at revision {ends.newest}, and the revision is {ends.revision}: no view can follow"
            advice = "somebody wrote P:revision or P:events by hand, or lost one of them: restore both from one backup"
            return [Finding("log", Level.PROBLEM, text, advice)]
        reach = f"revisions {ends.oldest} to {ends.newest}" if ends.length else "nothing yet"
        return [Finding("log", Level.OK, f"the log holds {reach}")]

    # -- records ---------------------------------------------------------------------------------------------------

    async def _records(self) -> list[Finding]:
        try:
            census = self._census = await take_census(self._diagnosis)
        except StoreFault as fault:
            if "WRONGTYPE" in str(fault) or "cannot read" in str(fault):
                advice = (
                    "somebody wrote a key of the namespace by hand: restore it, or delete what is no key of Hopper's"
                )
                return [Finding("records", Level.PROBLEM, f"an index cannot be read: {fault}", advice)]
            raise
        self._monitored = sum(record.monitored for record in census.replica.records.values())
        meanwhile = f"; {census.changes} changes came meanwhile" if census.changes else ""
        if census.doubts:
            meanwhile += f"; {census.doubts} things were looked at again"
        findings = [
            Finding("records", Level.PROBLEM, reason, f"register '{id}' again, or delete its key")
            for id, reason in list(census.unreadable.items())[:_SHOWN]
        ]
        if len(census.unreadable) > _SHOWN:
            text = f"{len(census.unreadable) - _SHOWN} more records cannot be read"
            findings.append(Finding("records", Level.PROBLEM, text))
        findings += [
            Finding("consistency", Level.PROBLEM, one.text, one.remedy) for one in census.disagreements[: 4 * _SHOWN]
        ]
        if len(census.disagreements) > 4 * _SHOWN:
            text = f"{len(census.disagreements) - 4 * _SHOWN} more things disagree"
            findings.append(Finding("consistency", Level.PROBLEM, text, "mend these, then look again"))
        if census.unchecked:
            text = f"{census.unchecked} more things seemed not to agree, and were not looked at again"
            findings.append(Finding("consistency", Level.WARNING, text, "look again"))
        if not findings:
            text = f"{len(census.replica)} records and their indexes agree{meanwhile}"
            findings.append(Finding("consistency", Level.OK, text))
        return findings

    async def _orphans(self) -> list[Finding]:
        replica = self._replica
        orphans = replica.orphans()
        wishing = [record for record in orphans if record.wish is not None]
        adoptable = {orphan.id for orphan, _ in matched(replica, wishing)}
        futile = [record for record in wishing if record.id not in adoptable]
        found: list[Finding] = []
        if adoptable:
            count = _counted(len(adoptable), "orphan")
            text = f"{count} could be adopted and {_is(len(adoptable))} not: {_some(adoptable)}"
            found.append(Finding("orphans", Level.WARNING, text, "a leading monitor does that: see whether one leads"))
        if futile:
            wishes = _some((f"{record.id} wants {_wish(record.wish)}" for record in futile), "; ")
            text = f"of {_counted(len(futile), 'orphan')} the parent is not there, or is full: {wishes}"
            found.append(Finding("orphans", Level.WARNING, text, "register the parent, make room, or hopper link them"))
        return found or [Finding("orphans", Level.OK, f"{_counted(len(orphans), 'orphan')}, none of them waits")]

    async def _down(self) -> list[Finding]:
        records = self._replica.records.values()
        down = [record for record in records if record.health is Health.DOWN]
        silent = [record.id for record in down if record.maintenance is not None]
        loud = [record.id for record in down if record.maintenance is None]
        more = f", and {len(silent)} in maintenance" if silent else ""
        if loud:
            text = f"{_counted(len(loud), 'instance')} {_is(len(loud))} down{more}: {_some(loud)}"
            return [Finding("down", Level.WARNING, text, "hopper explain ID tells why; hopper rm ID removes it")]
        return [Finding("down", Level.OK, f"no instance is down{more}")]

    async def _failed(self) -> list[Finding]:
        return await look_at_failed(self._replica, self._ledgers)

    async def _restarts(self) -> list[Finding]:
        return await look_at_restarts(self._replica, self._ledgers)

    @property
    def _ledgers(self) -> RestartStore:
        return RestartStore(self._settings, client=self._diagnosis.client)

    async def _leaving(self) -> list[Finding]:
        now_ms = time.time() * 1000 + await self._diagnosis.clock_offset_ms()
        limit_ms = _QUIET * self._settings.departure_quiet_ms
        leaving = self._replica.leaving()
        stuck = [record.id for record in leaving if now_ms - record.updated_at_ms > limit_ms]
        if stuck:
            text = f"the removal of {_counted(len(stuck), 'instance')} was begun and is not finished: {_some(stuck)}"
            return [Finding("leaving", Level.WARNING, text, "a leading monitor finishes it: see whether one leads")]
        return [Finding("leaving", Level.OK, f"{_counted(len(leaving), 'removal')} under way")]

    @property
    def _replica(self) -> Replica:
        assert self._census is not None, "the checks of records come after the census"  # noqa: S101
        return self._census.replica

    # -- who looks after it ----------------------------------------------------------------------------------------

    async def _monitor(self) -> list[Finding]:
        leader, left_ms = await self._diagnosis.lease()
        if leader is None:  # perhaps it has just given its lease back, and a standby is about to take it
            await asyncio.sleep(2 * self._settings.pulse_ms / 1000)
            leader, left_ms = await self._diagnosis.lease()
        advice = "start one: hopper monitor, or hopper serve"
        if leader is None:
            if self._monitored:
                text = f"no monitor leads: nobody notices when one of {self._monitored} instances stops heartbeating"
                return [Finding("monitor", Level.PROBLEM, text, advice)]
            return [Finding("monitor", Level.WARNING, "no monitor leads; no instance needs one just now", advice)]
        if left_ms < 0:
            text = f"'{leader}' leads by a lease that never ends: somebody wrote P:monitor by hand"
            return [Finding("monitor", Level.PROBLEM, text, f"DEL '{self._diagnosis.keys.monitor}'")]
        return [Finding("monitor", Level.OK, f"'{leader}' leads, with {left_ms} ms left of its lease")]

    async def _holds(self) -> list[Finding]:
        _, holds = await self._diagnosis.surveillance()
        now_ms = time.time() * 1000 + await self._diagnosis.clock_offset_ms()
        found: list[Finding] = []
        for name, facts in sorted(holds.items()):
            since_ms = facts.get("since_ms")
            for_ms = now_ms - since_ms if isinstance(since_ms, (int, float)) else 0
            since = f" for {for_ms / 1000:.0f} s" if since_ms is not None else ""
            if name == "hold":
                text = f"a hold is in force{since}, so nobody is judged: {facts.get('reason', 'no reason given')}"
                level = Level.PROBLEM if for_ms > _LONG_HOLD_MS else Level.WARNING
                found.append(Finding("holds", level, text, "it ends when Redis works: see the other findings"))
            else:
                group = facts.get("group", name)
                counts = f": {facts['lapsed']} of {facts.get('group_size')} lapsed" if "lapsed" in facts else ""
                text = f"a guard stands over '{group}'{since}{counts}; nobody of it is judged down, restarted or reaped"
                found.append(Finding("holds", Level.WARNING, text, "look for what these have in common"))
        return found or [Finding("holds", Level.OK, "neither a hold nor a guard is in force")]

    async def _strays(self) -> list[Finding]:
        strays = await self._diagnosis.strays()
        if not strays:
            return [Finding("strays", Level.OK, "no heartbeat of nobody was found")]
        told = [f"{id} ({stray.get('kind', 'unknown')})" for id, stray in sorted(strays.items())]
        text = f"{_counted(len(strays), 'heartbeat')} of nobody, or of an older incarnation: {_some(told)}"
        advice = "end the program that still heartbeats, or register its instance again"
        return [Finding("strays", Level.WARNING, text, advice)]

    async def _alerts(self) -> list[Finding]:
        if target_of(self._settings.alert_webhook or "") is None:
            text = f"alert_webhook cannot be called: it is not {RULE}"
            return [Finding("alerts", Level.PROBLEM, text, "correct HOPPER_ALERT_WEBHOOK")]
        position, marks = await AlertStore(self._diagnosis).read(), await self._diagnosis.marks()
        if position is None or position.epoch != marks.epoch:
            text = "nobody sends alerts: no monitor leads, or the one that does has no alert_webhook"
            return [Finding("alerts", Level.WARNING, text, "set HOPPER_ALERT_WEBHOOK for every monitor")]
        text = f"alerts are sent up to revision {position.revision} of {marks.revision}"
        logged_ms = await self._diagnosis.logged_after(position.revision)
        now_ms = time.time() * 1000 + await self._diagnosis.clock_offset_ms()
        limit_ms = _UNSENT_MS + self._settings.guard_settle_s * 1000
        if logged_ms is not None and now_ms - logged_ms > limit_ms:
            text += f"; what follows waits since {moment(logged_ms)} UTC, {(now_ms - logged_ms) / 1000:.0f} s"
            return [Finding("alerts", Level.WARNING, text, _UNSENT)]
        return [Finding("alerts", Level.OK, f"{text}; {len(position.told)} told and not over")]


def _wish(wish: Wish | None) -> str:
    if wish is None or wish == Wish():
        return "the global"
    named = [f"{name} {value}" for name, value in (("id", wish.id), ("name", wish.name)) if value is not None]
    return ", ".join([*named, *(f"tag {tag}" for tag in wish.tags)])


def _some(words: Iterable[str], between: str = ", ") -> str:
    listed: Sequence[str] = sorted(words)
    more = f"{between}and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return between.join(listed[:_SHOWN]) + more


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
