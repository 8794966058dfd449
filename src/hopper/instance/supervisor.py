"""The supervisor: one command as an instance of the registry, from its start to its end."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
import tenacity

from hopper.config import Settings
from hopper.errors import HopperError, NotFound, StaleIncarnation, Unavailable
from hopper.instance.session import InstanceSession
from hopper.instance.supervision.process_group import ProcessGroup, exit_code
from hopper.instance.supervision.reaper import Reaper
from hopper.instance.supervision.turns import Turns
from hopper.model.event import Reason
from hopper.model.heartbeat import seconds_of
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.model.takeover import Takeover
from hopper.store.keys import Keys

__all__ = ["Supervisor"]

NOT_ENDED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""What a shell answers for a command that it cannot run, or cannot find; and `timeout` where it has itself failed."""

_CAUSES = {NOT_EXECUTABLE: "it is not executable", NOT_FOUND: "there is no such command"}

T = TypeVar("T")

_FAIL_PATIENCE_S = 5.0
"""Seconds in which a failure is reported again while Redis is away; after that the lapse tells of it."""


class Supervisor:
    """Runs a command as an instance: `starting` until its process runs, then `running`, and left when it has ended.

    The command has a process group of its own, this process' output, and its input unless that is a terminal. In its
    environment are `HOPPER_ID`, `HOPPER_NAMESPACE`, `HOPPER_INCARNATION`, `HOPPER_REDIS_URL`, `HOPPER_HEARTBEAT_KEY`
    and `HOPPER_TTL_S`, so that `SETEX $HOPPER_HEARTBEAT_KEY $HOPPER_TTL_S ''` is a heartbeat for one that heartbeats
    itself (`heartbeats=False`). It is killed when this process dies (Linux).

    A command that fails, or that somebody else claims a restart for (it hangs, or an operator asks), is started again
    as the restart policy of its record says: as a new incarnation, in a new group, after the old one has ended.
    """

    def __init__(
        self,
        spec: InstanceSpec,
        command: Sequence[str],
        *,
        settings: Settings,
        heartbeats: bool = True,
        takeover: Takeover = Takeover.ALWAYS,
        stop_timeout_s: float = 10.0,
        notify: Callable[[str], None] | None = None,
        reaper: Reaper | None = None,
    ) -> None:
        """`notify` hears lines for a service manager: `READY=1` and `STOPPING=1`, each with a `STATUS=`.

        `takeover` says when the id is taken from another, as that of a session. A `reaper` of this process is told of
        the command, to leave it alone.
        """
        self._command = list(command)
        self._settings = settings
        self._stop_timeout_s = stop_timeout_s
        self._session = InstanceSession(
            replace(spec, state=State.STARTING),
            settings=settings,
            takeover=takeover,
            heartbeats=heartbeats,
            returns=False,
        )
        self._notify = notify or (lambda _: None)
        self._reaper = reaper
        self._group: ProcessGroup | None = None
        self._entering: asyncio.Timeout | None = None
        """The time in which the session is entered: `stop` ends it."""
        self._asked = asyncio.Event()
        self._signal = signal.SIGTERM
        self._logger = structlog.get_logger().bind(namespace=settings.namespace, id=self._session.id)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the command to end: its group gets the signal now, and SIGKILL after `stop_timeout_s`. Repeatable."""
        self._logger.info("run.signalled", signal=number.name)
        self._signal = number
        self._asked.set()
        if self._entering is not None:
            self._entering.reschedule(0)  # do not wait for a Redis that is away
            self._entering = None
        self._notify("STOPPING=1\nSTATUS=stopping")
        if self._group is not None:
            self._group.send(number)

    def forward(self, number: signal.Signals) -> None:
        """Send the command's group a signal that does not ask it to end."""
        if self._group is not None:
            self._logger.debug("run.forwarded", signal=number.name)
            self._group.send(number)

    async def run(self) -> int:
        """Run the command to its end; answers its exit code, 128 and the number for one that a signal ended.

        A command that does not exist, or is not executable, is not registered: 127 and 126, as a shell answers.
        An exit with 0, or after `stop`, leaves the instance `stopped` (an ephemeral one deregistered); any other leaves
        it `failed`, reason `exit`, unless its policy starts it again. Nothing of the command's group outlives this
        call, however it ends, but a program of another user, which this process may not signal: that leaves the
        instance `failed`, with `left_behind` in the evidence, and not started again: 125.

        Raises `Superseded` when another registration has taken the id, and every refusal of the registration.
        """
        missing = _unusable(self._command[0])
        if missing is not None:
            detail = _CAUSES[missing]
            self._logger.error("run.not_started", command=self._command[0], code=missing, detail=detail)
            return missing
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None) as self._entering:
                    session = await stack.enter_async_context(self._session)
            except TimeoutError:
                return 128 + self._signal
            finally:
                self._entering = None
            return await self._run_until_done(session)

    async def _run_until_done(self, session: InstanceSession) -> int:
        turns = Turns(session)
        code: int | None = None
        while not self._asked.is_set():
            code, goes_on = await self._run_once(session, turns)
            if not goes_on or not await self._start_anew(session, turns):
                break
        if self._asked.is_set():
            await turns.cancel()
        return 128 + self._signal if code is None else code

    async def _run_once(self, session: InstanceSession, turns: Turns) -> tuple[int, bool]:
        """Run the command once; answers its exit code, and whether it is to be started again."""
        try:
            self._group = group = await self._start(session)
        except OSError as error:
            self._logger.error("run.not_started", command=self._command[0], detail=error.strerror)
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return code, await self._after_exit(session, turns, code)
        try:
            goes_on = await self._attend(session, group, turns)
            returncode = await group.wait()
            if goes_on is None and returncode is not None:
                goes_on = await self._after_exit(session, turns, returncode)
            if goes_on:
                await self._end_for_restart(group, turns)
        finally:
            await group.end(self._signal, self._stop_timeout_s)
            self._group = None
            if group.left:
                await self._report_left(session, group, turns)
        if group.left or returncode is None:
            return NOT_ENDED, False
        return exit_code(returncode), goes_on or False

    async def _after_exit(self, session: InstanceSession, turns: Turns, returncode: int) -> bool:
        """Report how the command has ended by itself; whether it is to be started again."""
        mode = None if self._asked.is_set() else await self._unless_asked(turns.mode())
        if mode is None or (returncode == 0 and mode != "always"):
            return False
        code = exit_code(returncode)
        if returncode != 0:
            self._logger.warning("run.failed", code=code)
        evidence: dict[str, int] = {"exit_code": code} | ({"signal": -returncode} if returncode < 0 else {})
        if mode == "never":
            await self._report_failure(session, evidence)
            return False
        return await self._unless_asked(turns.after_exit(evidence)) or False

    async def _start_anew(self, session: InstanceSession, turns: Turns) -> bool:
        """Wait for the time of the restart, and register for it; False where there will be none."""
        await session.stop_beating()
        self._notify("STATUS=waiting to be restarted")
        taken = await self._unless_asked(turns.taken())
        if taken:
            await self._unless_asked(session.restart())
        return taken or False

    async def _unless_asked(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` answers; None where `stop` was called before it did."""
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for one in (task, asked):
                one.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    async def _start(self, session: InstanceSession) -> ProcessGroup:
        with contextlib.ExitStack() as stack:
            spare = stack.enter_context(self._reaper.starting()) if self._reaper is not None else None
            group = await ProcessGroup.start(self._command, environment=os.environ | self._environment(session))
            if spare is not None:
                spare(group.process.pid)
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

    async def _attend(self, session: InstanceSession, group: ProcessGroup, turns: Turns) -> bool | None:
        """Wait for the command's end, or bring it about once `stop` was called, or others have claimed its restart.

        Answers whether it is to be started again where others have said so, else None.
        """
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell(session))
            ending = tasks.create_task(self._end_when_asked(group))
            claimed = tasks.create_task(turns.claimed())
            replacing = tasks.create_task(self._end_when_claimed(group, turns, claimed))
            returncode = await group.wait()
            telling.cancel()
            if not claimed.done():
                replacing.cancel()
                claimed.cancel()
            if not self._asked.is_set():
                ending.cancel()  # else the rest of the group has the rest of its time
        if returncode is not None:
            self._logger.info("run.ended", code=exit_code(returncode))
        return None if claimed.cancelled() or self._asked.is_set() else claimed.result()

    async def _tell(self, session: InstanceSession) -> None:
        self._notify(f"READY=1\nSTATUS=running as incarnation {session.incarnation}")
        await self._report(session, Verb.RUN)
        await self._asked.wait()
        await self._report(session, Verb.STOP)

    async def _end_when_asked(self, group: ProcessGroup) -> None:
        await self._asked.wait()
        await group.end(self._signal, self._stop_timeout_s)

    async def _end_when_claimed(self, group: ProcessGroup, turns: Turns, claimed: "asyncio.Task[bool]") -> None:
        goes_on = await asyncio.shield(claimed)
        self._logger.warning("run.replaced" if goes_on else "run.given_up")
        await self._end_for_restart(group, turns)

    async def _end_for_restart(self, group: ProcessGroup, turns: Turns) -> None:
        """End what is left of the command, and keep its restart from other executors meanwhile."""
        keeping = asyncio.ensure_future(turns.keep())
        try:
            await group.end(signal.SIGTERM, self._stop_timeout_s)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _report(self, session: InstanceSession, verb: Verb) -> None:
        """Tell the registry, however long Redis is away, and until the session has registered again where it must.

        A refusal is no reason to end the command.
        """
        retrying = tenacity.AsyncRetrying(
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type((Unavailable, NotFound, StaleIncarnation)),
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.transition(verb, reason=Reason.EXIT if verb is Verb.STOP else "")
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=verb.value, detail=str(error))

    async def _report_left(self, session: InstanceSession, group: ProcessGroup, turns: Turns) -> None:
        """Tell of what lives on, and see to it that nobody starts the command beside it."""
        detail = "they belong to another user, and this process may not signal them"
        self._logger.error("run.left_behind", pids=group.left, detail=detail)
        evidence = {"left_behind": group.left}
        await self._report_failure(session, evidence)
        if await turns.mode() != "never":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAIL_PATIENCE_S):
                    await turns.after_exit(evidence)
        await turns.cancel()

    async def _report_failure(self, session: InstanceSession, evidence: Mapping[str, Any]) -> None:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_delay(_FAIL_PATIENCE_S),
            wait=tenacity.wait_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(Unavailable),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await session.fail(reason=Reason.EXIT, evidence=evidence)
        except HopperError as error:
            self._logger.warning("run.not_reported", verb=Verb.FAIL.value, detail=str(error))


def _unusable(command: str) -> int | None:
    """The exit code for a command that is not there or cannot be run, so that none is registered; None for others."""
    if shutil.which(command) is not None:
        return None
    return NOT_EXECUTABLE if os.sep in command and Path(command).exists() else NOT_FOUND
