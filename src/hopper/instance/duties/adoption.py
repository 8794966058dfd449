"""Adoption: the leading monitor links an orphan as soon as the parent of its wish is there."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hopper.errors import HopperError
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.instance.duties.inbox import Inbox
from hopper.instance.parents import matched
from hopper.instance.relationships import Relationships
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["Adoption", "Waiting"]

ACTOR = "monitor"
_PAUSE_S = 1.0
_TRIES = 3
_AT_ONCE = 500
"""Orphans looked at before the next pulse and the next probe have their turn."""


class Waiting:
    """The orphans that look for a parent, by one thing that it must have: found without looking at all of them."""

    def __init__(self) -> None:
        self._by_need: dict[tuple[str, Any], dict[str, None]] = {}
        self._need: dict[str, tuple[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._need)

    def put(self, record: Record) -> bool:
        """Hold an instance where it is an orphan with a wish, else forget it; whether it is held."""
        self.drop(record.id)
        need = _need_of(record)
        if need is None:
            return False
        self._need[record.id] = need
        self._by_need.setdefault(need, {})[record.id] = None
        return True

    def drop(self, id: str) -> None:
        """Forget an instance."""
        need = self._need.pop(id, None)
        if need is not None:
            self._by_need[need].pop(id)
            if not self._by_need[need]:
                del self._by_need[need]

    def of(self, parent: Record) -> Iterator[str]:
        """The ids of those that may look for this parent."""
        if parent.scope is Scope.ORCHESTRATION:
            return
        needs = [("id", parent.id), ("name", parent.name), *(("tag", tag) for tag in parent.tags)]
        for need in [("scope", parent.scope)] if parent.scope is Scope.GLOBAL else needs:
            yield from self._by_need.get(need, ())


def _need_of(record: Record) -> tuple[str, Any] | None:
    wish = record.wish
    if wish is None or not record.is_orphan or record.leaving is not None:
        return None
    if record.scope is Scope.PROJECT:
        return "scope", Scope.GLOBAL
    if wish.id is not None:
        return "id", wish.id
    if wish.name is not None:
        return "name", wish.name
    return ("tag", wish.tags[0]) if wish.tags else None


class Adoption(Duty):
    """Adopts while its monitor leads. `run` as a task; `take` hears every event, leading or not."""

    name = "adoption"

    def __init__(self, post: Post, relationships: Relationships) -> None:
        super().__init__(post)
        self._relationships = relationships
        self._waiting = Waiting()
        self._due: Inbox[None] = Inbox()

    def begin(self) -> None:
        """Look at every orphan anew."""
        self._waiting = Waiting()
        self._look_at(record.id for record in self._view.replica.orphans() if self._waiting.put(record))

    def take(self, events: list[Event]) -> None:
        """Take in changes: an orphan may have come, or a parent, or room under one."""
        for event, record in of_instances(events):
            if event.type is EventType.DEREGISTERED:
                self._waiting.drop(record.id)
            else:
                if self._waiting.put(record):
                    self._look_at([record.id])
                self._look_at(self._waiting.of(record))
            old = record.parent_id if event.type is EventType.DEREGISTERED else event.previous.get("parent_id")
            left = self._view.replica.records.get(old) if old else None
            if left is not None and left.max_children is not None:
                self._look_at(self._waiting.of(left))

    def _look_at(self, ids: Iterable[str]) -> None:
        self._due.put(ids, None)

    async def run(self) -> None:
        """Adopt whoever is due; ends by cancellation."""
        while True:
            due = await self._due.take()
            if not self._leads():
                continue
            waiting = list(due)
            try:
                for start in range(0, len(waiting), _AT_ONCE):
                    await self._adopt(waiting[start : start + _AT_ONCE])
            except HopperError as error:
                self._logger.warning("adoption.failed", detail=str(error))
                self._due.put_back(due)
                await asyncio.sleep(_PAUSE_S)

    async def _adopt(self, ids: Sequence[str]) -> None:
        """Adopt these; who is refused, since others were quicker, is tried under the next parent that has room."""
        waiting = set(ids)
        for _ in range(_TRIES):
            records = self._view.replica.records
            orphans = [records[id] for id in ids if id in waiting and id in records]
            if not matched(self._view.replica, orphans):
                return
            adopted = await self._relationships.adopt(orphans, actor=ACTOR)
            waiting -= adopted.keys()
            if adopted:
                await self._view.reach(max(adopted.values()))
                self._logger.info("adoption.adopted", instances=len(adopted), first=next(iter(adopted)))
