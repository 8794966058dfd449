"""Turns: when a supervisor may start its command again, as the ledger of restarts has it."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import structlog

from hopper.errors import (
    HopperError,
    IllegalTransition,
    NotFound,
    Refused,
    StaleIncarnation,
    StoreFault,
    Superseded,
    Unavailable,
)
from hopper.instance.restart.restarts import Restarts
from hopper.instance.session import InstanceSession
from hopper.model.event import Reason
from hopper.model.policy import RestartPolicy
from hopper.model.restart import Outcome
from hopper.model.state import State
from hopper.store.restarting import Standing, Taking

__all__ = ["Turns"]

_LOOK_S = 0.5
"""Seconds between two looks at a claim that stands."""

_CALM_LOOK_S = 1.0
"""Seconds between two looks for a claim while there is none: what others claim is noticed after so long."""


_TO_COME = (Outcome.CLAIMED, Outcome.FAILED, Outcome.SENT)
"""Outcomes of a claim after which the instance comes back, by this supervisor or another executor."""


class Turns:
    """The restarts of one session's instance: claimed after an exit, noticed where others claim them, and taken.

    Whatever needs Redis waits while it is away, since one failure has one restart and the ledger says so. Raises
    `Superseded` where another registration has taken the id.
    """

    def __init__(self, session: InstanceSession) -> None:
        self._policy: RestartPolicy | None = session.spec.restart
        self._session = session
        self._restarts = Restarts(session.store)
        self._has_one = False
        self._executor = f"supervisor-{secrets.token_hex(4)}"
        self._logger = structlog.get_logger().bind(namespace=session.settings.namespace, id=session.id)

    async def mode(self) -> str:
        """The mode of the policy that the record has now; the last one known where it cannot be read."""
        try:
            record = await self._session.record()
        except HopperError as error:
            self._logger.debug("run.not_looked", detail=str(error))
        else:
            if record.incarnation == self._session.incarnation:
                self._policy = record.restart
        return self._policy.mode if self._policy is not None else "never"

    async def after_exit(self, evidence: Mapping[str, Any]) -> bool:
        """Say that the command has failed, and claim its restart; whether there is one.

        There is none where the policy allows no more, or the instance had been asked to stop or is being removed.
        """
        waiting = ""
        while True:
            try:
                return await self._claim(evidence)
            except NotFound:
                return True  # its record has vanished with all that Redis knew: it comes back
            except Superseded:
                raise
            except StaleIncarnation as error:  # since the claim looked at it: the next look tells what it is now
                self._logger.info("run.restart_waits", detail=str(error))
            except (Unavailable, IllegalTransition) as error:
                if str(error) != waiting:
                    waiting = str(error)
                    self._logger.warning("run.restart_waits", detail=waiting)
            except (Refused, StoreFault) as error:
                self._logger.error("run.not_restarted", detail=str(error))
                return False
            await asyncio.sleep(_LOOK_S)

    async def _claim(self, evidence: Mapping[str, Any]) -> bool:
        session = self._session
        await session.stop_beating()
        record = await session.record()
        if record.incarnation > session.incarnation:
            raise self._superseded()
        if record.incarnation < session.incarnation:
            return True  # Redis has lost this one and holds what was before it: it comes back
        self._policy = record.restart
        if record.state in (State.STOPPING, State.STOPPED):
            return False
        if record.monitored:
            await session.fail(reason=Reason.EXIT, evidence=evidence)
        claimed = await self._restarts.claim(
            session.id, incarnation=session.incarnation, reason=Reason.EXIT, actor=f"session:{session.id}"
        )
        await self._take()
        standing = await self._restarts.store.standing(session.id)
        if standing.record is None:
            raise NotFound(f"there is no instance '{session.id}'")
        ledger = standing.ledger
        if ledger.is_exhausted(session.incarnation):
            self._logger.error("run.exhausted", restarts=ledger.count)
        if not ledger.stands(session.incarnation):
            return claimed is not None  # it was started by hand since
        if ledger.is_open(session.incarnation):
            allowed = self._policy.max_restarts if self._policy is not None else None
            delay_s = ledger.left_ms(standing.now_ms) / 1000
            self._logger.info("run.restart_claimed", delay_s=delay_s, count=ledger.count, max_restarts=allowed)
        return ledger.outcome in _TO_COME

    async def claimed(self) -> bool:
        """Wait until somebody else has claimed a restart while the command lives; False where it was given up.

        One that has not failed lives on until the time of its restart.
        """
        session, store = self._session, self._restarts.store
        pause_s = _CALM_LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = _CALM_LOOK_S
            try:
                if await store.stands(session.id, session.incarnation):
                    pause_s = _LOOK_S
                    answer = await self._looked_at(await store.standing(session.id))
                    if answer is not None:
                        return answer
            except HopperError as error:
                self._logger.debug("run.not_looked", detail=str(error))

    async def _looked_at(self, standing: Standing) -> bool | None:
        record, ledger, incarnation = standing.record, standing.ledger, self._session.incarnation
        if record is None or record.incarnation != incarnation:
            return None  # the session sees to that
        self._policy = record.restart
        if ledger.is_exhausted(incarnation) and record.state is State.FAILED:
            return False
        if not ledger.is_open(incarnation):
            return None
        taken = await self._take()
        return None if taken.outcome == "taken" and taken.left_ms and record.monitored else True

    async def keep(self) -> None:
        """Keep the restart from other executors, for as long as this runs."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._take()
            except HopperError as error:
                self._logger.debug("run.not_kept", detail=str(error))

    async def taken(self) -> bool:
        """Wait until the command may be started again, by nobody else; False where it will not be, by anybody."""
        waiting = ""
        while True:
            pause_s = _LOOK_S
            try:
                taken = await self._take()
                if taken.outcome == "taken" and taken.left_ms == 0:
                    return True
                if taken.outcome == "ended" and (answer := await self._ended()) is not None:
                    return answer
                pause_s = min(pause_s, max(taken.left_ms, 1) / 1000)
            except Unavailable as error:
                if str(error) != waiting:
                    waiting = str(error)
                    self._logger.warning("run.restart_waits", detail=waiting)
            await asyncio.sleep(pause_s)

    async def _ended(self) -> bool | None:
        """Why there is nothing to take: whether to start all the same, or None to wait for who was asked to."""
        standing = await self._restarts.store.standing(self._session.id)
        record, ledger, incarnation = standing.record, standing.ledger, self._session.incarnation
        if record is None:
            return True
        if record.incarnation > incarnation:
            raise self._superseded()
        if ledger.stands(incarnation):
            return None if ledger.outcome in _TO_COME else False
        # Where it was stopped, that has ended the claim. What Redis holds of before is none of this incarnation's.
        return record.incarnation < incarnation or record.state not in (State.STOPPING, State.STOPPED)

    async def cancel(self) -> None:
        """Give the restart up that this supervisor has, if any, so that nobody carries out what was to be ended."""
        if not self._has_one:
            return
        try:
            await self._restarts.store.settle(
                self._session.id, self._session.incarnation, Outcome.CANCELLED, executor=self._executor
            )
        except HopperError as error:
            self._logger.warning("run.not_cancelled", detail=str(error))

    async def _take(self) -> Taking:
        taken = await self._restarts.store.take(
            self._session.id, self._session.incarnation, executor=self._executor, early=True
        )
        self._has_one = taken.outcome == "taken"
        return taken

    def _superseded(self) -> Superseded:
        session = self._session
        return Superseded(f"instance '{session.id}' has been registered again; incarnation {session.incarnation} ends")
