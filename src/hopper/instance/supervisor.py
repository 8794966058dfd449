"""The supervisor: one command as an instance of the registry, from its start to its end."""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import tenacity

from hopper.config import Settings
from hopper.errors import HopperError, Unavailable
from hopper.instance.process_group import ProcessGroup, exit_code
from hopper.instance.session import InstanceSession
from hopper.model.event import Reason
from hopper.model.heartbeat import seconds_of
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.keys import Keys

__all__ = ["Supervisor"]

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""What a shell answers for a command that it cannot run, or cannot find."""

_FAIL_PATIENCE_S = 5.0
"""Seconds in which a failure is reported again while Redis is away; after that the lapse tells of it."""


class Supervisor:
    """Runs a command as an instance: `starting` until its process runs, then `running`, and left when it has ended.

    The command has a process group of its own, this process' output, and its input unless that is a terminal. In its
    environment are `HOPPER_ID`, `HOPPER_NAMESPACE`, `HOPPER_INCARNATION`, `HOPPER_REDIS_URL`, and, for one that
    heartbeats itself (`heartbeats=False`), `HOPPER_HEARTBEAT_KEY` and `HOPPER_TTL_S`, so that
    `SETEX $HOPPER_HEARTBEAT_KEY $HOPPER_TTL_S ''` is a heartbeat. It is killed when this process dies (Linux).
    """

    def __init__(
        self,
        spec: InstanceSpec,
        command: Sequence[str],
        *,
        settings: Settings,
        heartbeats: bool = True,
        stop_timeout_s: float = 10.0,
    ) -> None:
        self._command = list(command)
        self._settings = settings
        self._stop_timeout_s = stop_timeout_s
        self._session = InstanceSession(replace(spec, state=State.STARTING), settings=settings, heartbeats=heartbeats)
        self._group: ProcessGroup | None = None
        self._asked = asyncio.Event()
        self._signal = signal.SIGTERM
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, id=self._session.id)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the command to end: its group gets the signal now, and SIGKILL after `stop_timeout_s`. Repeatable."""
        self._signal = number
        self._asked.set()
        if self._group is not None:
            self._group.send(number)

    async def run(self) -> int:
        """Run the command to its end; answers its exit code, 128 and the number for one that a signal ended.

        A command that does not exist, or is not executable, is not registered: 127 and 126, as a shell answers.
        An exit with 0, or after `stop`, leaves the instance `stopped` (an ephemeral one deregistered); any other leaves
        it `failed`, reason `exit`. Nothing of the command's group outlives this call, however it ends. Raises
        `Superseded` when another registration has taken the id, and every refusal of the registration.
        """
        missing = _unusable(self._command[0])
        if missing is not None:
            self._logger.error("run.not_started", command=self._command[0], code=missing)
            return missing
        async with self._session as session:
            if self._asked.is_set():
                return 128 + self._signal
            try:
                self._group = await self._start(session)
            except OSError as error:
                self._logger.error("run.not_started", command=self._command[0], detail=error.strerror)
                await self._report_failure(session)
                return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            try:
                code = await self._attend(session, self._group)
                if code != 0 and not self._asked.is_set():
                    self._logger.warning("run.failed", code=code)
                    await self._report_failure(session)
                return code
            finally:
                await self._group.end(self._signal, self._stop_timeout_s)

    async def _start(self, session: InstanceSession) -> ProcessGroup:
        group = await ProcessGroup.start(self._command, environment=os.environ | self._environment(session))
        self._logger.info("run.started", pid=group.process.pid, command=self._command[0])
        return group

    def _environment(self, session: InstanceSession) -> dict[str, str]:
        return {
            "HOPPER_ID": session.id,
            "HOPPER_NAMESPACE": self._settings.namespace,
            "HOPPER_INCARNATION": str(session.incarnation),
            "HOPPER_HEARTBEAT_KEY": Keys(self._settings.namespace).heartbeat(session.id),
            "HOPPER_TTL_S": str(seconds_of(session.spec.ttl_ms or self._settings.ttl_ms)),
            "HOPPER_REDIS_URL": self._settings.redis_url or "",
        }

    async def _attend(self, session: InstanceSession, group: ProcessGroup) -> int:
        """Wait for the command's own end, or bring it about once `stop` was called."""
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell(session))
            ending = tasks.create_task(self._end_when_asked(group))
            code = exit_code(await group.process.wait())
            telling.cancel()
            if not self._asked.is_set():
                ending.cancel()  # else the rest of the group has the rest of its time
        self._logger.info("run.ended", code=code)
        return code

    async def _tell(self, session: InstanceSession) -> None:
        await self._report(session, Verb.RUN)
        await self._asked.wait()
        await self._report(session, Verb.STOP)

    async def _end_when_asked(self, group: ProcessGroup) -> None:
        await self._asked.wait()
        await group.end(self._signal, self._stop_timeout_s)

    async def _report(self, session: InstanceSession, verb: Verb) -> None:
        """Tell the registry, however long Redis is away. A refusal is no reason to end the command."""
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(Unavailable),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.transition(verb, reason=Reason.EXIT if verb is Verb.STOP else "")
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=verb.value, detail=str(error))

    async def _report_failure(self, session: InstanceSession) -> None:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_delay(_FAIL_PATIENCE_S),
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.fail(reason=Reason.EXIT)
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=Verb.FAIL.value, detail=str(error))


def _unusable(command: str) -> int | None:
    """The exit code for a command that is not there or cannot be run, so that none is registered; None for others."""
    if shutil.which(command) is not None:
        return None
    return NOT_EXECUTABLE if os.sep in command and Path(command).exists() else NOT_FOUND
