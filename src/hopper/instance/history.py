"""History: what the log tells of one instance, and the whole registry as it was at a revision."""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from hopper.errors import Compacted, Invalid, NotFound
from hopper.instance.replica import Replica
from hopper.model.condition import condition
from hopper.model.digest import digest, page
from hopper.model.event import Event, EventType
from hopper.model.reasons import told_by
from hopper.model.record import Record
from hopper.model.restart import RestartLedger
from hopper.model.restart_report import report_of
from hopper.model.story import tell
from hopper.store.log import ChangeLog

__all__ = ["History", "Story"]

_PARTS = 5
"""Parts of the log, of 1,000 entries each, that are looked at for a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Some events of one instance, in the order asked for. `next_revision` is where the next part begins, or None.

    `oldest_revision` is how far back the log goes: what was before is not known. `read_at_ms` is by Redis' clock.
    """

    id: str
    events: list[Event]
    next_revision: int | None
    oldest_revision: int | None
    read_at_ms: int

    def explained(self, record: Record | None, ledger: RestartLedger) -> dict[str, Any]:
        """The story as sentences, as a page on which nothing repeats, and in figures; with how it stands now.

        `restart` is what became of a restart that it waits for, None where it waits for none.
        """
        restart = None if record is None else report_of(record, ledger)
        now = "it is not registered" if record is None else f"it is {record.state} and {condition(record)}"
        items = [{"revision": event.revision, "at_ms": event.at_ms, "text": tell(event)} for event in self.events]
        events = sorted(self.events, key=lambda event: event.revision)
        told = digest(events, now_ms=self.read_at_ms)
        return {
            "id": self.id,
            "now": now,
            "restart": restart,
            "summary": told.sentence() if told else "the log tells of no event",
            "digest": told,
            "page": page(events),
            "items": items,
            "oldest_revision": self.oldest_revision,
        }


class History:
    """Reads the log backwards and forwards. A question costs a look at every entry between: ask seldom."""

    def __init__(self, log: ChangeLog) -> None:
        self._log = log

    async def of(
        self, id: str, *, since: int | None = None, limit: int, newest_first: bool = False, known: bool
    ) -> Story:
        """Up to `limit` events of an instance: those after `since`, or those before it where the newest come first.

        Raises `NotFound` where the instance is not `known` and the log has never heard of it.
        """
        found: list[Event] = []
        after = since
        more = True
        while more and len(found) <= limit:
            events, after, more = await self._log.part_of(id, after, backwards=newest_first)
            found += events
        if not found and not known and since is None:
            raise NotFound(f"there is no instance '{id}', and the log tells of none")
        page = found[:limit]
        return Story(
            id=id,
            events=page,
            next_revision=page[-1].revision if len(found) > limit else None,
            oldest_revision=await self._log.oldest(),
            read_at_ms=await self._log.now_ms(),
        )

    async def found(self, record: Record) -> tuple[str, ...] | None:
        """Why an instance does badly by its last verdict; None where the last 5,000 changes do not tell."""
        after: int = record.revision + 1
        for _ in range(_PARTS):
            events, after, more = await self._log.part_of(record.id, after, backwards=True)
            told = next((told for told in map(told_by, events) if told is not None), None)
            if told is not None or not more:
                return told
        return None

    async def at(self, present: Replica, revision: int) -> Replica:
        """The registry as it was at a revision, worked out from how it is and from what has changed since.

        Raises `Invalid` for a revision that has not been reached, and `Compacted` for one that the log no longer
        reaches back to.
        """
        if not 0 <= revision <= present.revision:
            message = f"at_revision is {revision}, and the registry is at {present.revision}"
            raise Invalid(message, field="at_revision", value=revision)
        oldest = await self._log.oldest()
        if revision < present.revision and (oldest is None or oldest > revision + 1):
            raise Compacted(
                f"the log begins at revision {oldest}, and revision {revision} is asked for",
                oldest_revision=None if oldest is None else oldest - 1,
                revision=present.revision,
            )
        records: dict[str, Record | None] = dict(present.records)
        touched: dict[str, None] = {}
        position = revision
        while position < present.revision:
            events = await self._log.between(position + 1, present.revision)
            if not events or events[0].revision != position + 1:
                oldest = await self._log.oldest()
                raise Compacted(
                    f"the log has lost revision {position + 1} while it was read",
                    oldest_revision=None if oldest is None else oldest - 1,
                    revision=present.revision,
                )
            for event in events:
                position = event.revision
                if event.id is not None and event.id not in touched:
                    touched[event.id] = None
                    records[event.id] = _before(event)
        past = Replica()
        await self._restore_revisions(records, touched, revision)
        for record in records.values():
            if record is not None:
                past.put(record)
        past.settle()
        past.revision = revision
        return past

    async def _restore_revisions(self, records: dict[str, Record | None], touched: dict[str, None], at: int) -> None:
        """Give the records that have changed since the revision and the time that they had, as far as the log tells."""
        wanted = {id for id in touched if records.get(id) is not None}
        async for id, revision, at_ms in self._log.marks(at):
            if not wanted:
                return
            record = records.get(id) if id in wanted else None
            if record is not None:
                wanted.discard(id)
                records[id] = replace(record, revision=revision, updated_at_ms=at_ms)


def _before(event: Event) -> Record | None:
    """The record of an instance before an event, None where there was none."""
    if event.type is EventType.REGISTERED or event.record is None:
        return None
    if event.type is EventType.DEREGISTERED:
        return event.record
    document = orjson.loads(event.record_json) | dict(event.previous)
    return Record.from_document(document)
