"""An executor: carries out claimed restarts, each at its time, alone, and again where somebody died over it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import structlog

from hopper.errors import HopperError
from hopper.instance.restart.agenda import Agenda
from hopper.instance.view import RegistryView
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.restart import Outcome, RestartLedger
from hopper.store.restarting import RestartStore, Taking

__all__ = ["Executor"]

_AT_ONCE = 64
_READ_AT_ONCE = 500
_AGAIN_S = 1.0

CarryOut = Callable[[Record, RestartLedger], Awaitable[None]]


class Executor:
    """Carries out the restarts of the instances that `wants` names, by calling `carry_out(record, ledger)`.

    Of all executors one has a restart at a time, for `executor_lease_s` and longer while it is busy with it. One that
    raises is settled as failed, and is tried again once the lease has ended, by whoever is next.
    """

    def __init__(
        self,
        view: RegistryView,
        store: RestartStore,
        carry_out: CarryOut,
        *,
        wants: Callable[[Record], bool],
        candidates: Callable[[], Iterable[Record]],
        acts: Callable[[], bool] = lambda: True,
    ) -> None:
        """`candidates` are the records that may have had a claim before this executor began."""
        self.id = f"executor-{secrets.token_hex(4)}"
        self._view = view
        self._store = store
        self._carry_out = carry_out
        self._wants = wants
        self._candidates = candidates
        self._acts = acts
        self._agenda: Agenda[tuple[str, int]] = Agenda()
        self._anew = asyncio.Event()
        self._lease_s = store.settings.executor_lease_s
        self._logger = structlog.get_logger().bind(namespace=store.settings.namespace, executor=self.id)

    def begin(self) -> None:
        """Look for every unfinished claim anew."""
        self._anew.set()

    def take(self, events: list[Event]) -> None:
        """Take in changes: a claim to be carried out. A gap in the log may have hidden one."""
        if not self._acts():
            return
        for event in events:
            if event.resync:
                self._anew.set()
            elif event.type is EventType.RESTART_CLAIMED and event.record is not None and self._wants(event.record):
                self._agenda.put(
                    (event.record.id, event.record.incarnation), after_s=event.evidence.get("delay_ms", 0) / 1000
                )

    async def run(self) -> None:
        """Carry out what is due; ends by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_anew())
            slots = asyncio.Semaphore(_AT_ONCE)
            while True:
                await slots.acquire()
                ((id, incarnation),) = await self._agenda.next(1)
                attempt = tasks.create_task(self._try(id, incarnation))
                attempt.add_done_callback(lambda _: slots.release())

    async def _look_anew(self) -> None:
        while True:
            await self._anew.wait()
            self._anew.clear()
            if not self._acts():
                continue
            ids = [record.id for record in self._candidates() if self._wants(record)]
            try:
                for start in range(0, len(ids), _READ_AT_ONCE):
                    for standing in await self._store.standings(ids[start : start + _READ_AT_ONCE]):
                        if isinstance(standing, HopperError) or standing.record is None:
                            continue
                        record, ledger = standing.record, standing.ledger
                        if ledger.is_open(record.incarnation):
                            left_s = ledger.left_ms(standing.now_ms) / 1000
                            self._agenda.put((record.id, record.incarnation), after_s=left_s)
            except HopperError as error:
                self._logger.warning("executor.not_looked", detail=str(error))
                self._anew.set()
                await asyncio.sleep(_AGAIN_S)

    async def _try(self, id: str, incarnation: int) -> None:
        if not self._acts():
            return
        try:
            await self._attempt(id, incarnation)
        except Exception:
            self._logger.exception("executor.broken", id=id, incarnation=incarnation)
            self._agenda.put((id, incarnation), after_s=self._lease_s)

    async def _attempt(self, id: str, incarnation: int) -> None:
        key = (id, incarnation)
        try:
            taken = await self._store.take(id, incarnation, executor=self.id)
            if taken.outcome in ("early", "held"):
                self._agenda.put(key, after_s=taken.left_ms / 1000)
            if taken.outcome != "taken":
                return
            standing = await self._store.standing(id)
            if standing.record is None or not self._wants(standing.record):
                return
            outcome, detail = await self._carried_out(standing.record, standing.ledger)
            await self._store.settle(id, incarnation, outcome, executor=self.id, detail=detail)
            if outcome is Outcome.FAILED:
                self._agenda.put(key, after_s=self._lease_s)
        except HopperError as error:
            self._logger.warning("executor.interrupted", id=id, incarnation=incarnation, detail=str(error))
            self._agenda.put(key, after_s=_AGAIN_S)

    async def _carried_out(self, record: Record, ledger: RestartLedger) -> tuple[Outcome, str]:
        """What became of a restart, and why it failed."""
        try:
            async with self._renewing(record):
                await self._carry_out(record, ledger)
        except HopperError as error:
            self._logger.warning("executor.failed", id=record.id, incarnation=record.incarnation, detail=str(error))
            return Outcome.FAILED, str(error)
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # it is this task that is to end, not something the callback waited for
            self._logger.exception("executor.failed", id=record.id, incarnation=record.incarnation)
            return Outcome.FAILED, f"{type(error).__name__}: {error}"
        self._logger.info("executor.done", id=record.id, incarnation=record.incarnation, count=ledger.count)
        return Outcome.SENT, ""

    @contextlib.asynccontextmanager
    async def _renewing(self, record: Record) -> AsyncIterator[None]:
        """Keep the lease while the restart is carried out."""
        renewal = asyncio.create_task(self._renew(record))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self, record: Record) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            taken: Taking | None = None
            with contextlib.suppress(HopperError):  # the next one may come in time
                taken = await self._store.take(record.id, record.incarnation, executor=self.id)
            if taken is not None and taken.outcome != "taken":
                self._logger.warning("executor.lost", id=record.id, incarnation=record.incarnation)
                return
