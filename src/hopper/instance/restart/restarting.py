"""Restarting: the leading monitor claims the restart of whoever failed, or is down, by its policy."""

import asyncio
from collections.abc import Callable, Sequence

from hopper.errors import HopperError, IllegalTransition, Leaving, NotFound, NotLeader, StaleIncarnation
from hopper.instance.duties.duty import Duty, Post
from hopper.instance.restart.agenda import Agenda
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.restart import is_restartable
from hopper.model.selector import Selector
from hopper.model.state import State
from hopper.store.restarting import Standing

__all__ = ["Restarting"]

ACTOR = "monitor"
_AT_ONCE = 64
_SUPERVISED_S = 0.2
"""Seconds in which a supervisor that has reported a failure claims its restart itself."""
_AGAIN_S = 1.0
_LATER_S = 60.0
"""Seconds between two looks at one in maintenance, whose end by an operator is seen at once, or that cannot be read."""


class Restarting(Duty):
    """Claims for who has failed, once its supervisor could have done so, and for who is down `guard_settle_s` later.

    Not while it is guarded or in maintenance, and for a down one not in a hold. Whoever claims first is the one: a
    supervisor that saw the exit of its command does so too. A restart that was sent, and after which the instance has
    not registered within `restart_wait_s`, was in vain: another is claimed. Works off what is due; a new leader finds
    it all again.
    """

    name = "restarting"

    def __init__(
        self,
        post: Post,
        restarts: Restarts,
        *,
        is_held: Callable[[], bool],
        is_guarded: Callable[[Record], bool],
    ) -> None:
        super().__init__(post)
        self._restarts = restarts
        self._is_held = is_held
        self._is_guarded = is_guarded
        self._agenda: Agenda[str] = Agenda()

    def begin(self) -> None:
        """Look at whoever has failed or is down anew."""
        self._agenda.clear()
        replica = self._view.replica
        for selector in (Selector(state=frozenset({State.FAILED})), Selector(health=frozenset({Health.DOWN}))):
            for record in replica.select(selector):
                self._consider(record)

    def take(self, events: list[Event]) -> None:
        """Take in changes: who has failed, and who is well again."""
        if self._leads():
            for event in events:
                if event.type in (EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED, EventType.DEREGISTERED):
                    self._agenda.drop(str(event.id))
                    if event.type is EventType.RESTART_CLAIMED:
                        delay_s = event.evidence.get("delay_ms", 0) / 1000
                        self._agenda.put(str(event.id), after_s=delay_s + self._settings.restart_wait_s)
                elif event.record is not None:
                    self._consider(event.record)

    def _consider(self, record: Record) -> None:
        if not is_restartable(record):
            self._agenda.drop(record.id)
        else:
            self._agenda.put(
                record.id, after_s=_SUPERVISED_S if record.state is State.FAILED else self._settings.guard_settle_s
            )

    async def run(self) -> None:
        """Claim what is due; ends by cancellation."""
        while True:
            due = await self._agenda.next(_AT_ONCE)
            if not self._leads():
                continue  # `begin` finds them all again
            try:
                await self._look_at(due)
            except HopperError as error:
                self._logger.warning("restarting.failed", detail=str(error))
                self._agenda.put_all(due, after_s=_AGAIN_S)

    async def _look_at(self, ids: Sequence[str]) -> None:
        records = self._view.replica.records
        ripe = []
        for id in ids:
            record = records.get(id)
            if record is None or not is_restartable(record):
                continue
            if self._is_guarded(record) or (record.monitored and self._is_held()):
                self._agenda.put(id, after_s=_AGAIN_S)
            else:
                ripe.append(record)
        standings = await self._restarts.store.standings([record.id for record in ripe])
        due: list[tuple[Record, Standing]] = []
        for record, standing in zip(ripe, standings, strict=True):
            if isinstance(standing, HopperError):
                self._logger.error("restarting.unreadable", id=record.id, detail=str(standing))
                self._agenda.put(record.id, after_s=_LATER_S)
            elif self._is_due(record, standing):
                due.append((record, standing))
        await asyncio.gather(*(self._claim(record, standing) for record, standing in due))

    def _is_due(self, record: Record, standing: Standing) -> bool:
        now, ledger = standing.record, standing.ledger
        if now is None or now.incarnation != record.incarnation:
            return False
        if ledger.covers(now, standing.now_ms):
            if not ledger.is_exhausted(now.incarnation):  # its executor may settle it yet
                wait_ms = self._settings.restart_wait_s * 1000
                left_ms = ledger.register_by_ms - standing.now_ms if ledger.waits_for(now) else wait_ms
                self._agenda.put(record.id, after_s=min(left_ms, wait_ms) / 1000)
            return False
        mark = now.maintenance
        if mark is not None and (mark.until_ms is None or mark.until_ms > standing.now_ms):
            left_s = _LATER_S if mark.until_ms is None else (mark.until_ms - standing.now_ms) / 1000
            self._agenda.put(record.id, after_s=min(left_s, _LATER_S))
            return False
        return True

    async def _claim(self, record: Record, standing: Standing) -> None:
        if standing.ledger.stands(record.incarnation) and not standing.ledger.alive:
            reason = Reason.NOT_REGISTERED
        else:
            reason = Reason.FAILED if record.state is State.FAILED else Reason.LAPSED
        try:
            claimed = await self._restarts.claim(
                record.id,
                incarnation=record.incarnation,
                reason=reason,
                monitor_id=self._monitor_id,
                actor=ACTOR,
            )
        except (NotFound, StaleIncarnation, Leaving, NotLeader) as error:
            self._logger.info("restarting.not_claimed", id=record.id, detail=str(error))
        except IllegalTransition as error:
            self._logger.info("restarting.not_claimed", id=record.id, detail=str(error))
            self._agenda.put(record.id, after_s=_AGAIN_S)  # a down one that heartbeats just now may lapse again
        except HopperError as error:
            self._logger.warning("restarting.not_claimed", id=record.id, detail=str(error))
            self._agenda.put(record.id, after_s=_AGAIN_S)
        except Exception:  # what is wrong with one may not end the restarts of all others
            self._logger.exception("restarting.broken", id=record.id)
            self._agenda.put(record.id, after_s=_LATER_S)
        else:
            if claimed is not None and claimed.outcome != "repeat":
                self._logger.info("restarting." + claimed.outcome, id=record.id, count=claimed.count, reason=reason)
