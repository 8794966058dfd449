"""Consistency: whether the indexes of a namespace tell what its records tell. It only reads.

A walk over everything finds what seems not to agree; since records change meanwhile, each such thing is then looked at
again, all of it at once, and only what disagrees even then is told.
"""

from dataclasses import dataclass, field

from hopper.instance.diagnosis.recheck import Disagreement, Recheck
from hopper.instance.replica import Replica
from hopper.model.health import Health
from hopper.model.scope import PARENT_SCOPE, Scope, child_scope
from hopper.store.diagnosis import Diagnosis

__all__ = ["Census", "take_census"]

MAX_DOUBTS = 1_000
"""Things that are looked at again at most."""

_BATCH = 500
_LOST = frozenset({Health.DOWN, Health.SUSPECT})


@dataclass(slots=True)
class Census:
    """All records, and what disagrees with them. `changes` counts the revisions that came while it was taken.

    `doubts` counts what was looked at again, `unchecked` what there was no room for.
    """

    replica: Replica = field(default_factory=Replica)
    unreadable: dict[str, str] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)
    changes: int = 0
    doubts: int = 0
    unchecked: int = 0


async def take_census(diagnosis: Diagnosis) -> Census:
    """Walk over a namespace. Raises `StoreFault` where an index is no longer one, or Redis refuses to show it."""
    census = Census()
    before = await diagnosis.marks()
    absent: list[str] = []
    async for members in diagnosis.members(census.unreadable):
        for id, record in members:
            if record is not None:
                census.replica.put(record)
            elif id not in census.unreadable:
                absent.append(id)
    census.replica.settle()
    doubts = dict.fromkeys([*(("record", id) for id in absent), *await _Walk(diagnosis, census).doubts()])
    census.doubts, census.unchecked = len(doubts), max(0, len(doubts) - MAX_DOUBTS)
    recheck = Recheck(diagnosis)
    for kind, *words in list(doubts)[:MAX_DOUBTS]:
        census.disagreements += await recheck.look_at(kind, *words)
    census.disagreements = list(dict.fromkeys(census.disagreements))
    census.changes = (await diagnosis.marks()).revision - before.revision
    return census


class _Walk:
    """Everything once, for what seems not to agree: `(kind, ...)` for `Recheck`."""

    def __init__(self, diagnosis: Diagnosis, census: Census) -> None:
        self._diagnosis = diagnosis
        self._replica = census.replica
        self._unreadable = census.unreadable

    async def doubts(self) -> list[tuple[str, ...]]:
        records, keys = self._replica.records, self._diagnosis.keys
        found: list[tuple[str, ...]] = []
        for id, record in records.items():
            parent = records.get(record.parent_id) if record.parent_id is not None else None
            if record.parent_id is not None and (parent is None or parent.scope is not PARENT_SCOPE[record.scope]):
                found.append(("record", id))
        found += await self._names()
        holders = [id for id, record in records.items() if record.scope is Scope.GLOBAL]
        held = await self._diagnosis.global_id()
        if holders != ([held] if held is not None else []):
            found += [("global",), *(("record", id) for id in holders)]
        orphans = {record.id for record in self._replica.orphans()}
        found += await self._differences(keys.orphans, orphans)
        found += await self._differences(keys.down, {id for id, one in records.items() if one.health in _LOST})
        found += await self._children()
        return found

    async def _names(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        named: set[str] = set()
        async for name, id in self._diagnosis.names():
            record = self._replica.records.get(id)
            if record is not None and f"{record.scope}:{record.name}" == name:
                named.add(id)
            else:
                found += [("name", name), ("record", id)]
        return found + [("record", id) for id in self._replica.records if id not in named]

    async def _differences(self, key: str, expected: set[str]) -> list[tuple[str, ...]]:
        members = {member async for member in self._diagnosis.set_of(key)}
        return [("record", id) for id in sorted(members ^ expected)]

    async def _children(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        parents = [record.id for record in self._replica.records.values() if child_scope(record.scope) is not None]
        for start in range(0, len(parents), _BATCH):
            some = parents[start : start + _BATCH]
            sizes = await self._diagnosis.sizes([self._diagnosis.keys.children(id) for id in some])
            for id, size in zip(some, sizes, strict=True):
                expected = {child.id for child in self._replica.children(id)}
                members = (
                    {child async for child in self._diagnosis.set_of(self._diagnosis.keys.children(id))}
                    if size
                    else set()
                )
                for child in sorted(members ^ expected):
                    found += [("child", id, child), ("record", child)]
        return found
