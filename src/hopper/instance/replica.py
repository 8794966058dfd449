"""The replica: every record of a namespace in memory, with indexes and the tree. It does no I/O."""

from collections.abc import Iterable, Iterator
from typing import Any

from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.reasons import BADLY, told_by
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["Replica"]

IndexKey = tuple[str, Any]
_NOBODY: dict[str, None] = {}


def _index_keys(record: Record) -> Iterator[IndexKey]:
    yield "scope", record.scope
    yield "state", record.state
    yield "health", record.health
    yield "name", record.name
    if record.parent_id is not None:
        yield "parent", record.parent_id
    elif record.scope is not Scope.GLOBAL:
        yield "orphan", True
    if record.leaving is not None:
        yield "leaving", True
    for tag in record.tags:
        yield "tag", tag
    for item in record.metadata.items():
        yield "meta", item


class Replica:
    """Records, their encoded JSON, indexes and the tree at one revision.

    `records` is in the order of creation once the replica is settled. Treat what the methods answer as read-only: it is
    shared, not copied.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.records: dict[str, Record] = {}
        self.global_id: str | None = None
        self.hold: dict[str, Any] | None = None
        """The evidence of the hold in force."""
        self.guards: dict[str, dict[str, Any]] = {}
        """The evidence of each guard in force, by its group."""
        self.found: dict[str, tuple[str, ...]] = {}
        """Why instances do badly, as the log has told since this was loaded; () for one that only fell silent."""
        self.unreadable: dict[str, str] = {}
        """Ids whose record in Redis could not be read when the replica was loaded, and why."""
        self._json: dict[str, bytes] = {}
        self._index: dict[IndexKey, dict[str, None]] = {}
        self._removed: dict[str, int] | None = {}

    # -- change ----------------------------------------------------------------------------------------------------

    def put(self, record: Record, json: bytes | None = None) -> None:
        """Hold a record, unless a newer one or a later removal of its id is held already."""
        held = self.records.get(record.id)
        if held is None:
            if self._removed is not None and self._removed.get(record.id, -1) >= record.revision:
                return
            self._enter(record.id, _index_keys(record))
        elif held.revision >= record.revision:
            return
        else:
            before, after = set(_index_keys(held)), set(_index_keys(record))
            self._leave(record.id, before - after)
            self._enter(record.id, after - before)
        self.records[record.id] = record
        if json is not None:
            self._json[record.id] = json
        else:
            self._json.pop(record.id, None)
        self.unreadable.pop(record.id, None)
        if record.scope is Scope.GLOBAL:
            self.global_id = record.id

    def remove(self, id: str, revision: int) -> None:
        """Forget a record, unless it is newer than the removal."""
        held = self.records.get(id)
        if self._removed is not None:
            self._removed[id] = revision
        self.unreadable.pop(id, None)
        if held is None or held.revision > revision:
            return
        self._leave(id, _index_keys(held))
        del self.records[id]
        self._json.pop(id, None)
        if self.global_id == id:
            self.global_id = None

    def apply(self, event: Event) -> None:
        """Take one event in. The caller sees to it that none is left out."""
        self._note(event)
        if event.type is EventType.DEREGISTERED and event.id is not None:
            self.remove(event.id, event.revision)
        elif event.record is not None:
            self.put(event.record, event.record_json)
        elif event.type is EventType.HOLD_STARTED:
            self.hold = dict(event.evidence)
        elif event.type is EventType.HOLD_ENDED:
            self.hold = None
        elif event.type is EventType.GUARD_RAISED:
            self.guards[str(event.evidence.get("group"))] = dict(event.evidence)
        elif event.type is EventType.GUARD_RELEASED:
            self.guards.pop(str(event.evidence.get("group")), None)
        self.revision = event.revision

    def _note(self, event: Event) -> None:
        """Keep why an instance does badly for as long as its health stays so."""
        told = told_by(event)
        if told is not None and event.id is not None:
            if event.record is not None and event.record.health in BADLY and event.type is not EventType.DEREGISTERED:
                self.found[event.id] = told
            else:
                self.found.pop(event.id, None)

    def settle(self) -> None:
        """The snapshot is in: from here events come one after the other, and removals need not be remembered."""
        self._removed = None
        self.records = dict(sorted(self.records.items(), key=lambda item: item[1].created_revision))

    def _enter(self, id: str, keys: Iterable[IndexKey]) -> None:
        for key in keys:
            self._index.setdefault(key, {})[id] = None

    def _leave(self, id: str, keys: Iterable[IndexKey]) -> None:
        for key in keys:
            members = self._index.get(key)
            if members is not None:
                members.pop(id, None)
                if not members:
                    del self._index[key]

    # -- look up ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.records)

    def json(self, id: str) -> bytes | None:
        """The JSON document of a record, encoded once per change; None where there is none."""
        encoded = self._json.get(id)
        if encoded is None:
            record = self.records.get(id)
            if record is None:
                return None
            encoded = self._json[id] = record.to_json()
        return encoded

    def named(self, scope: Scope, name: str) -> Record | None:
        """The instance of a scope that has a name."""
        for id in self._index.get(("name", name), _NOBODY):
            record = self.records[id]
            if record.scope is scope:
                return record
        return None

    def children(self, id: str) -> list[Record]:
        """The children of an instance, in the order of creation."""
        return self._in_order(("parent", id))

    def ancestors(self, id: str) -> list[Record]:
        """Parent, grandparent and so on, nearest first. A parent that is not known ends the list."""
        line: list[Record] = []
        record = self.records.get(id)
        while record is not None and record.parent_id is not None:
            record = self.records.get(record.parent_id)
            if record is not None:
                line.append(record)
        return line

    def descendants(self, id: str) -> list[Record]:
        """Children, grandchildren and so on: each parent before its children."""
        found: list[Record] = []
        waiting = self.children(id)[::-1]
        while waiting:
            record = waiting.pop()
            found.append(record)
            waiting.extend(self.children(record.id)[::-1])
        return found

    def orphans(self) -> list[Record]:
        """Every instance that should have a parent and has none, in the order of creation."""
        return self._in_order(("orphan", True))

    def leaving(self) -> list[Record]:
        """Every instance whose removal has begun, in the order of creation."""
        return self._in_order(("leaving", True))

    def _in_order(self, key: IndexKey) -> list[Record]:
        return sorted((self.records[id] for id in self._index.get(key, _NOBODY)), key=_created)

    def count(self, kind: str, value: Any) -> int:
        """How many instances have a value of `scope`, `state`, `health`, `tag` or `parent`."""
        return len(self._index.get((kind, value), _NOBODY))

    def count_below(self, id: str) -> int:
        """How many children and grandchildren an instance has: all below it, as there are three levels."""
        children = self._index.get(("parent", id), _NOBODY)
        return len(children) + sum(self.count("parent", child) for child in children)

    def rollup(self, id: str) -> dict[Health, int]:
        """How many of an instance and all below it have each health; without those that nobody has."""
        counts: dict[Health, int] = {}
        waiting = [id]
        while waiting:
            one = waiting.pop()
            health = self.records[one].health
            counts[health] = counts.get(health, 0) + 1
            waiting.extend(self._index.get(("parent", one), _NOBODY))
        return counts

    def health_counts(self) -> dict[Health, int]:
        """Instances per health, in the order of severity."""
        return {health: self.count("health", health) for health in Health}

    def state_counts(self) -> dict[State, int]:
        """Instances per state."""
        return {state: self.count("state", state) for state in State}

    def select(self, selector: Selector) -> list[Record]:
        """Every record that a selector matches, in no promised order. The smallest index is searched."""
        if selector.ancestor is not None:
            candidates: Iterable[Record] = self.descendants(selector.ancestor)
        else:
            candidates = self._candidates(selector)
        matches = selector.matches
        return [record for record in candidates if matches(record)]

    def _candidates(self, selector: Selector) -> Iterable[Record]:
        wanted: list[IndexKey] = [("tag", tag) for tag in selector.tags]
        wanted += [("meta", item) for item in selector.metadata.items()]
        for kind, values in (("scope", selector.scope), ("state", selector.state), ("health", selector.health)):
            if len(values) == 1:
                wanted.extend((kind, value) for value in values)
        if selector.parent is not None:
            wanted.append(("parent", selector.parent))
        if selector.name is not None and not selector.name_is_glob:
            wanted.append(("name", selector.name))
        if selector.orphan:
            wanted.append(("orphan", True))
        if not wanted:
            return self.records.values()
        sets = [self._index.get(key, _NOBODY) for key in wanted]
        return [self.records[id] for id in min(sets, key=len)]


def _created(record: Record) -> int:
    return record.created_revision
