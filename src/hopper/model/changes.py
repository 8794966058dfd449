"""Changes: what an update has changed of a record, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from hopper.model.record import Record

__all__ = ["changed", "json_of"]

_MEMBERS = 3
"""Members of an object that are told one by one; where more differ it is told as a whole."""
_LONGEST = 60


def json_of(record: Record) -> dict[str, Any]:
    """A record as the log has it."""
    document: dict[str, Any] = orjson.loads(record.to_json())
    return document


def changed(previous: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Each field with its old value and the one it has now; of an object only the members that differ, if few."""
    for name, old in previous.items():
        new = now.get(name)
        pairs = list(_differing(old, new)) if isinstance(old, dict) and isinstance(new, dict) else []
        if not 0 < len(pairs) <= _MEMBERS:
            yield f"{name} {_shown(old)} -> {_shown(new)}"
            continue
        for member, before, after in pairs:
            yield f"{name}.{member} {_shown(before)} -> {_shown(after)}"


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for member in dict.fromkeys((*old, *new)):
        before, after = old.get(member), new.get(member)
        if before != after:
            yield member, before, after


def _shown(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
