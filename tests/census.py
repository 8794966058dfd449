"""A census of a namespace: all Redis holds of it, whether that is a legal tree, and whether the log tells the same.

Only meaningful while nobody writes. It reads keys directly, not through the code under test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import redis.asyncio

from hopper.model.event import Event, EventType
from hopper.model.record import FIELDS, MAX_RECORD_BYTES, Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.store.instances import InstanceStore
from hopper.store.keys import Keys

__all__ = ["Census", "events"]

AT_REVISION = frozenset({"revision", "updated_at_ms"})
"""Fields that every change changes, and that `previous` therefore leaves out."""


@dataclass(frozen=True)
class Census:
    """What is there. `problems` is empty where all of it agrees."""

    records: dict[str, Record]
    hashes: dict[str, dict[bytes, bytes]]
    children: dict[str, set[str]]
    instances: dict[str, int]
    names: dict[str, str]
    holder: str | None
    orphans: set[str]
    down: set[str]
    revision: int
    events: list[Event]
    heartbeats: set[str]
    _entries: list[tuple[bytes, Mapping[bytes, bytes]]] = field(repr=False)

    @classmethod
    async def take(cls, client: redis.asyncio.Redis, namespace: str) -> Self:
        """Read a whole namespace in three round trips."""
        keys = Keys(namespace)
        async with client.pipeline(transaction=True) as pipe:
            pipe.zrange(keys.instances, 0, -1, withscores=True).hgetall(keys.names).get(keys.globe)
            pipe.smembers(keys.orphans).smembers(keys.down).get(keys.revision).xrange(keys.events)
            pipe.keys(f"{keys.prefix}:*")
            instances, names, holder, orphans, down, revision, entries, present = await pipe.execute()
        found = sorted(key.decode() for key in present)
        ids = {kind: _ids(found, keys.prefix, kind) for kind in ("instance", "children", "heartbeat")}
        async with client.pipeline(transaction=False) as pipe:
            for id in ids["instance"]:
                pipe.hgetall(keys.record(id))
            for id in ids["children"]:
                pipe.smembers(keys.children(id))
            answers = await pipe.execute()
        hashes = dict(zip(ids["instance"], answers, strict=False))
        return cls(
            records={id: Record.from_hash(values) for id, values in hashes.items()},
            hashes=hashes,
            children={id: _words(members) for id, members in zip(ids["children"], answers[len(hashes) :], strict=True)},
            instances={id.decode(): int(score) for id, score in instances},
            names={name.decode(): id.decode() for name, id in names.items()},
            holder=holder.decode() if holder else None,
            orphans=_words(orphans),
            down=_words(down),
            revision=int(revision or 0),
            events=[Event.from_entry(entry_id, fields) for entry_id, fields in entries],
            heartbeats=set(ids["heartbeat"]),
            _entries=entries,
        )

    @property
    def problems(self) -> list[str]:
        """Every disagreement, one sentence each."""
        return [*self._tree(), *self._indexes(), *self._log()]

    # -- the tree --------------------------------------------------------------------------------------------------

    def _tree(self) -> list[str]:
        found = []
        globals_ = [id for id, record in self.records.items() if record.scope is Scope.GLOBAL]
        if globals_ != ([self.holder] if self.holder else []):
            found.append(f"the global key says {self.holder!r}, the records {globals_}")
        for id, record in self.records.items():
            parent = self.records.get(record.parent_id) if record.parent_id is not None else None
            if record.parent_id is not None and parent is None:
                found.append(f"{id} has the parent {record.parent_id}, which does not exist")
            elif parent is not None and parent.scope is not PARENT_SCOPE[record.scope]:
                found.append(f"{id}, a {record.scope}, has the parent {parent.id}, a {parent.scope}")
            limit = record.max_children
            if limit is not None and len(self.children.get(id, ())) > max(limit, 0) and not _shrunk(self.events, id):
                found.append(f"{id} has {len(self.children[id])} children, over {limit}")
        believed = {
            id: {child for child, record in self.records.items() if record.parent_id == id} for id in self.records
        }
        believed = {id: members for id, members in believed.items() if members}
        if believed != self.children:
            found.append(f"the records say {believed} are children, the sets {self.children}")
        return found

    # -- the indexes -----------------------------------------------------------------------------------------------

    def _indexes(self) -> list[str]:
        expected: dict[str, tuple[Any, Any]] = {
            "instances": (
                {id: record.created_revision for id, record in self.records.items()},
                self.instances,
            ),
            "names": ({f"{record.scope}:{record.name}": id for id, record in self.records.items()}, self.names),
            "orphans": ({id for id, record in self.records.items() if record.is_orphan}, self.orphans),
            "down": (
                {id for id, record in self.records.items() if record.health in ("suspect", "down")},
                self.down,
            ),
        }
        found = [
            f"the records say {name} is {wanted}, the key {got}"
            for name, (wanted, got) in expected.items()
            if wanted != got
        ]
        unmonitored = {id for id in self.heartbeats if id in self.records and not self.records[id].monitored}
        if unmonitored:
            found.append(f"{sorted(unmonitored)} are not monitored and have a heartbeat")
        strangers = self.heartbeats - self.records.keys()
        if strangers:
            found.append(f"{sorted(strangers)} have a heartbeat and no record")
        return found

    # -- the log ---------------------------------------------------------------------------------------------------

    def _log(self) -> list[str]:
        found = []
        revisions = [event.revision for event in self.events]
        if revisions != list(range(1, self.revision + 1)):
            found.append(f"the log has revisions {_gaps(revisions)}, the revision is {self.revision}")
        replayed: dict[str, Record] = {}
        for event, (entry_id, fields) in zip(self.events, self._entries, strict=True):
            if entry_id != b"%d-0" % event.revision:
                found.append(f"the entry {entry_id!r} is not of the form REVISION-0")
            if event.id is not None:
                found.extend(_event_problems(event, fields, replayed.get(event.id)))
                if event.type is EventType.DEREGISTERED:
                    replayed.pop(event.id, None)
                elif event.record is not None:
                    replayed[event.id] = event.record
        found.extend(
            f"the log ends with {replayed.get(id)}, the hash is {self.records.get(id)}"
            for id in sorted(replayed.keys() | self.records.keys())
            if replayed.get(id) != self.records.get(id)
        )
        return found


async def events(store: InstanceStore, since: int = 0) -> list[Event]:
    """What the log of a store tells after a revision."""
    census = await Census.take(store.client, store.settings.namespace)
    return [event for event in census.events if event.revision > since]


def _event_problems(event: Event, fields: Mapping[bytes, bytes], before: Record | None) -> list[str]:
    where = f"event {event.revision} ({event.type} of {event.id})"
    if event.record is None:
        return [f"{where} has no record"]
    found = []
    document = orjson.loads(event.record_json)
    if tuple(document) != FIELDS:
        found.append(f"{where} has the fields {list(document)}")
    if len(event.record_json) > MAX_RECORD_BYTES:
        found.append(f"{where} has a record of {len(event.record_json)} bytes")
    if event.record.id != event.id:
        found.append(f"{where} has the record of {event.record.id}")
    if event.type is EventType.DEREGISTERED:
        return found if event.record == before else [*found, f"{where} shows {event.record}, the last one was {before}"]
    if event.record.revision != event.revision or event.record.updated_at_ms != event.at_ms:
        found.append(f"{where} shows revision {event.record.revision} and time {event.record.updated_at_ms}")
    if (event.type is EventType.REGISTERED) != (before is None):
        found.append(f"{where} comes after {before}")
    if before is not None:
        old = orjson.loads(before.to_json())
        changed = {
            name: old[name] for name, value in document.items() if value != old[name] and name not in AT_REVISION
        }
        if changed != dict(event.previous):
            found.append(f"{where} says {dict(event.previous)} was there before, it was {changed}")
    elif event.previous:
        found.append(f"{where} is the first and has previous values")
    return found


def _shrunk(events: list[Event], id: str) -> bool:
    """Whether the room of an instance was made smaller while it had children, which is allowed."""
    return any(event.id == id and "max_children" in event.previous for event in events)


def _ids(keys: list[str], prefix: str, kind: str) -> list[str]:
    start = f"{prefix}:{kind}:"
    return [key.removeprefix(start) for key in keys if key.startswith(start)]


def _words(members: set[bytes]) -> set[str]:
    return {member.decode() for member in members}


def _gaps(revisions: list[int]) -> str:
    if not revisions:
        return "none"
    missing = sorted(set(range(1, revisions[-1] + 1)) - set(revisions))
    return f"{revisions[0]} to {revisions[-1]}, without {missing[:20]}"
