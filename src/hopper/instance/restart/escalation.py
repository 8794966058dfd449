"""Escalation: a Project is unhealthy, and restarted by its policy, when too many of its children were given up."""

import asyncio
from collections.abc import Sequence

from hopper.errors import HopperError, Unavailable
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.instance.duties.levels import Report
from hopper.instance.restart.agenda import Agenda
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType, Reason
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["Escalation"]

ACTOR = "monitor"
_READ_AT_ONCE = 500
_TOLD = 5
"""Children named in the sentence of an event."""
_NAMED = 100
"""Children named in its evidence, and in the log of the monitor."""
_AGAIN_S = 1.0
_LATER_S = 60.0


class Escalation(Duty):
    """Counts, for each Project, the children that were given up since it started, as a supervisor of processes would.

    More than its policy's `max_failed_children` (else the setting): it is reported `unhealthy`, reason `children`, and
    its own restart is claimed, once for each incarnation; while it lives and its policy allows none it is only
    reported. Who was given up is in the ledgers, so that the next leader knows it too.
    """

    name = "escalation"
    source = Reason.CHILDREN

    def __init__(self, post: Post, restarts: Restarts, *, report: Report) -> None:
        super().__init__(post)
        self._restarts = restarts
        self._report = report
        self._given_up: dict[str, int] = {}
        """Child to the revision at which it was given up: the clock may be set back between that and a start."""
        self._unhealthy: dict[str, list[str]] = {}
        self._agenda: Agenda[str] = Agenda()
        self._anew = asyncio.Event()

    def begin(self) -> None:
        """Look anew for whoever was given up."""
        self._given_up.clear()
        self._unhealthy.clear()
        self._agenda.clear()
        self._anew.set()

    def take(self, events: list[Event]) -> None:
        """Take in changes: a child was given up, moved or started again, or a Project was."""
        if not self._leads():
            return
        for event, record in of_instances(events):
            if event.resync:
                self._anew.set()
            if record.scope is Scope.PROJECT:
                if event.type is EventType.DEREGISTERED:
                    self._unhealthy.pop(record.id, None)
                elif not event.previous.keys().isdisjoint(("incarnation", "started_at_ms")):
                    self._agenda.put(record.id)
                continue
            if event.type is EventType.RESTART_EXHAUSTED:
                self._given_up[record.id] = event.revision
            elif record.id not in self._given_up:
                continue
            elif event.type is EventType.DEREGISTERED or record.state is not State.FAILED:
                del self._given_up[record.id]
            self._agenda.put_all(id for id in {record.parent_id, event.previous.get("parent_id")} if id is not None)

    async def run(self) -> None:
        """Look at each Project whose children have changed; ends by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_anew())
            while True:
                (id,) = await self._agenda.next(1)
                project = self._view.replica.records.get(id)
                if not self._leads() or project is None or project.scope is not Scope.PROJECT:
                    continue
                try:
                    await self._look_at(project, await self._given_up_under(project))
                except Unavailable as error:
                    self._logger.warning("escalation.not_looked", id=id, detail=str(error))
                    self._agenda.put(id, after_s=_AGAIN_S)
                except HopperError as error:
                    self._logger.error("escalation.not_looked", id=id, detail=str(error))
                    self._agenda.put(id, after_s=_LATER_S)

    async def _look_anew(self) -> None:
        while True:
            await self._anew.wait()
            self._anew.clear()
            failed = self._view.replica.select(Selector(state=frozenset({State.FAILED})))
            ids = [record.id for record in failed if record.parent_id and record.scope is Scope.ORCHESTRATION]
            try:
                for start in range(0, len(ids), _READ_AT_ONCE):
                    await self._read(ids[start : start + _READ_AT_ONCE])
            except HopperError as error:
                self._logger.warning("escalation.not_looked", detail=str(error))
                self._anew.set()
                await asyncio.sleep(_AGAIN_S)

    async def _read(self, ids: Sequence[str]) -> None:
        for standing in await self._restarts.store.standings(ids):
            if isinstance(standing, HopperError) or standing.record is None:
                continue
            record, ledger = standing.record, standing.ledger
            if ledger.is_exhausted(record.incarnation) and record.parent_id is not None:
                revision = ledger.revision or record.revision
                self._given_up[record.id] = max(revision, self._given_up.get(record.id, 0))
                self._agenda.put(record.parent_id)

    async def _look_at(self, project: Record, children: list[str]) -> None:
        policy = project.restart
        limit = policy.max_failed_children if policy is not None else None
        if not project.monitored or len(children) <= (self._settings.max_failed_children if limit is None else limit):
            if self._unhealthy.pop(project.id, None) is not None and project.monitored:
                self._tell(project, Health.HEALTHY, children)
            return
        if self._unhealthy.get(project.id) != children:
            self._unhealthy[project.id] = children
            self._tell(project, Health.UNHEALTHY, children)
        try:
            claimed = await self._restarts.claim(
                project.id,
                incarnation=project.incarnation,
                reason=Reason.CHILDREN,
                alive=True,
                monitor_id=self._monitor_id,
                actor=ACTOR,
            )
        except Unavailable as error:
            self._logger.warning("escalation.not_claimed", id=project.id, detail=str(error))
            self._agenda.put(project.id, after_s=_AGAIN_S)
        except HopperError as error:
            self._logger.info("escalation.not_claimed", id=project.id, detail=str(error))
            self._agenda.put(project.id, after_s=_LATER_S)  # it may be in maintenance, or its restarts used up so far
        else:
            if claimed is not None and claimed.outcome != "repeat":
                self._logger.warning("escalation." + claimed.outcome, id=project.id, children=len(children))

    def _tell(self, project: Record, level: Health, children: list[str]) -> None:
        named = children[:_NAMED]
        self._logger.warning(
            "escalation.level", id=project.id, level=level.value, children=named, given_up=len(children)
        )
        some = ", ".join(children[:_TOLD]) + (", ..." if len(children) > _TOLD else "")
        reasons = [f"{len(children)} of its children were given up: {some}"] if children else []
        self._report(project.id, level, {"children": named, "given_up": len(children), "reasons": reasons})

    async def _given_up_under(self, project: Record) -> list[str]:
        """The children of a Project that were given up since it started: was registered, or started by hand."""
        children = [child.id for child in self._view.replica.children(project.id) if child.id in self._given_up]
        if not children:
            return []
        since = max(project.incarnation, (await self._restarts.store.ledger(project.id)).started_revision)
        return [id for id in children if self._given_up.get(id, 0) > since]
