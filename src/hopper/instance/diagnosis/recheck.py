"""Recheck: one thing of a namespace looked at again, all of it at once, and what mends it where it disagrees."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hopper.errors import StoreFault
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.store.diagnosis import Diagnosis

__all__ = ["Disagreement", "Recheck"]

_TRIES = 5
_LOST = frozenset({Health.DOWN, Health.SUSPECT})


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that does not agree, and the command that mends it."""

    text: str
    remedy: str


class Recheck:
    """One thing, read at once, so that no change can come between its keys."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self._diagnosis = diagnosis
        self._keys = diagnosis.keys

    async def look_at(self, kind: str, *words: str) -> list[Disagreement]:
        """What disagrees about one thing; nothing where it cannot be read, which is told elsewhere."""
        looks: dict[str, Callable[..., Awaitable[list[Disagreement]]]] = {
            "record": self._record,
            "name": self._name,
            "child": self._child,
            "global": self._global,
        }
        try:
            return await looks[kind](*words)
        except StoreFault:
            return []

    async def _record(self, id: str) -> list[Disagreement]:
        keys = self._keys
        for _ in range(_TRIES):
            record = await self._diagnosis.read(id)
            if record is None:
                answers = await self._diagnosis.at_once(
                    [
                        ("EXISTS", keys.record(id)),
                        ("ZSCORE", keys.instances, id),
                        ("SISMEMBER", keys.orphans, id),
                        ("SISMEMBER", keys.down, id),
                    ]
                )
                if answers[0]:
                    continue
                places = ((keys.instances, "ZREM"), (keys.orphans, "SREM"), (keys.down, "SREM"))
                return [
                    Disagreement(f"{key} names '{id}', which has no record", f"{command} '{key}' {id}")
                    for (key, command), there in zip(places, answers[1:], strict=True)
                    if there is not None and there != 0
                ]
            parent_id = record.parent_id or ""
            revision, score, holder, child, orphan, down, globe, parent_scope = await self._diagnosis.at_once(
                [
                    ("HGET", keys.record(id), "revision"),
                    ("ZSCORE", keys.instances, id),
                    ("HGET", keys.names, f"{record.scope}:{record.name}"),
                    ("SISMEMBER", keys.children(parent_id), id),
                    ("SISMEMBER", keys.orphans, id),
                    ("SISMEMBER", keys.down, id),
                    ("GET", keys.globe),
                    ("HGET", keys.record(parent_id), "scope"),
                ]
            )
            if _word(revision) == str(record.revision):
                found = self._indexed(record, score, _word(holder), orphan=bool(orphan), down=bool(down))
                found += self._related(record, bool(child), _word(parent_scope))
                return found + (await self._held(id, _word(globe)) if record.scope is Scope.GLOBAL else [])
        return []

    def _indexed(
        self, record: Record, score: object, holder: str | None, *, orphan: bool, down: bool
    ) -> list[Disagreement]:
        keys, id, found = self._keys, record.id, []
        if score is None or int(float(str(_word(score)))) != record.created_revision:
            text = f"'{id}' has a record, and {keys.instances} does not name it at its created_revision"
            found.append(Disagreement(text, f"ZADD '{keys.instances}' {record.created_revision} {id}"))
        if holder != id:
            name = f"{record.scope}:{record.name}"
            whose = "nobody's" if holder is None else f"that of '{holder}'"
            text = f"'{id}' is named '{name}', and in {keys.names} that is {whose}"
            remedy = f"HSET '{keys.names}' '{name}' {id}" if holder is None else "hopper rm, or rename, one of the two"
            found.append(Disagreement(text, remedy))
        for key, there, should in (
            (keys.orphans, orphan, record.is_orphan),
            (keys.down, down, record.health in _LOST),
        ):
            if there != should:
                says = "names" if there else "does not name"
                state = f"its parent is '{record.parent_id}'" if key == keys.orphans else f"it is {record.health}"
                text = (
                    f"{key} {says} '{id}', and {state if record.parent_id or key == keys.down else 'it has no parent'}"
                )
                found.append(Disagreement(text, f"{'SREM' if there else 'SADD'} '{key}' {id}"))
        return found

    async def _held(self, id: str, globe: str | None) -> list[Disagreement]:
        """Whether the key of the Global names this one, which is a Global."""
        if globe is None:
            return [
                Disagreement(
                    f"'{id}' is a global, and {self._keys.globe} names nobody", f"SET '{self._keys.globe}' {id}"
                )
            ]
        other = await self._diagnosis.read(globe) if globe != id else None
        if other is not None and other.scope is Scope.GLOBAL:
            return [Disagreement(f"'{id}' is a global beside '{globe}', which is the one", f"hopper rm {id}")]
        return []

    def _related(self, record: Record, child: bool, parent_scope: str | None) -> list[Disagreement]:
        if record.parent_id is None:
            return []
        id, parent_id = record.id, record.parent_id
        if parent_scope is None:
            return [Disagreement(f"'{id}' has the parent '{parent_id}', which has no record", f"hopper unlink {id}")]
        if parent_scope != PARENT_SCOPE[record.scope]:
            text = f"{record.scope} '{id}' has the parent '{parent_id}', a {parent_scope}"
            return [Disagreement(text, f"hopper unlink {id}")]
        if not child:
            key = self._keys.children(parent_id)
            text = f"'{id}' has the parent '{parent_id}', and {key} does not name it"
            return [Disagreement(text, f"SADD '{key}' {id}")]
        return []

    async def _name(self, name: str) -> list[Disagreement]:
        keys = self._keys
        for _ in range(_TRIES):
            (id,) = await self._diagnosis.at_once([("HGET", keys.names, name)])
            if id is None:
                return []
            held, (scope, own) = await self._diagnosis.at_once(
                [("HGET", keys.names, name), ("HMGET", keys.record(id.decode()), "scope", "name")]
            )
            if held == id:
                if name == f"{_word(scope)}:{_word(own)}":
                    return []
                whose = "has no record" if scope is None else f"is the {_word(scope)} '{_word(own)}'"
                text = f"{keys.names} gives '{name}' to '{id.decode()}', which {whose}"
                return [Disagreement(text, f"HDEL '{keys.names}' '{name}'")]
        return []

    async def _child(self, parent_id: str, child_id: str) -> list[Disagreement]:
        key = self._keys.children(parent_id)
        named, believed = await self._diagnosis.at_once(
            [("SISMEMBER", key, child_id), ("HGET", self._keys.record(child_id), "parent_id")]
        )
        is_child = _word(believed) == parent_id
        if bool(named) == is_child:
            return []
        if is_child:
            text = f"'{child_id}' has the parent '{parent_id}', and {key} does not name it"
            return [Disagreement(text, f"SADD '{key}' {child_id}")]
        whose = "no parent, or no record" if not believed else f"the parent '{_word(believed)}'"
        return [Disagreement(f"{key} names '{child_id}', which has {whose}", f"SREM '{key}' {child_id}")]

    async def _global(self) -> list[Disagreement]:
        keys = self._keys
        held = await self._diagnosis.global_id()
        if held is None:
            return []
        now, scope = await self._diagnosis.at_once([("GET", keys.globe), ("HGET", keys.record(held), "scope")])
        if _word(now) != held or _word(scope) == Scope.GLOBAL:
            return []
        what = "has no record" if scope is None else f"is a {_word(scope)}"
        return [Disagreement(f"{keys.globe} names '{held}', which {what}", f"DEL '{keys.globe}'")]


def _word(value: object) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else None if value is None else str(value)
