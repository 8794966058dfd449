"""Discovery: instances by criteria, ordered and paged; parents that can take a child."""

import base64
import binascii
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from hopper.errors import Invalid
from hopper.instance.replica import Replica
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.selector import Selector

__all__ = ["SORT_FIELDS", "Page", "discover", "has_room", "in_service_unless_told", "page_of", "parents_for", "sample"]

SORT_FIELDS: Final = (
    "id", "name", "scope", "state", "health", "version", "parent_id", "created_revision", "created_at_ms",
    "updated_at_ms", "revision", "started_at_ms", "restarts",
)  # fmt: skip
"""Fields by which a list can be sorted; an absent value comes first."""

DEFAULT_SORT: Final = "created_revision"


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and the opaque cursor with which the next part begins, None after the last."""

    records: list[Record]
    next_cursor: str | None


def discover(replica: Replica, selector: Selector, *, can_parent: Scope | None = None) -> list[Record]:
    """Every instance that a selector matches, and that can take a child of a scope where one is asked for."""
    if can_parent is None:
        return replica.select(selector)
    wanted = PARENT_SCOPE[can_parent]
    if wanted is None or (selector.scope and wanted not in selector.scope):
        return []
    matching = replica.select(replace(selector, scope=frozenset({wanted})))
    return [record for record in matching if has_room(replica, record)]


def in_service_unless_told(selector: Selector) -> Selector:
    """The selector of a discovery: only what is in service, unless it says `available=False`, which asks nothing."""
    return replace(selector, available=None if selector.available is False else True)


def parents_for(replica: Replica, scope: Scope) -> list[Record]:
    """The instances in service that can take a child of `scope`, those with the fewest children first."""
    found = discover(replica, Selector(available=True), can_parent=scope)
    return sorted(found, key=lambda record: (replica.count("parent", record.id), record.created_revision))


def has_room(replica: Replica, record: Record, *, for_more: int = 1) -> bool:
    """Whether the instance can take more children: it is not being removed, and they fit into its `max_children`."""
    if record.leaving is not None:
        return False
    return record.max_children is None or replica.count("parent", record.id) + for_more <= record.max_children


class Sample(StrEnum):
    """How one instance is chosen among many."""

    RANDOM = "random"
    LEAST_LOADED = "least-loaded"


def sample(records: Sequence[Record], how: Sample, *, load: Callable[[Record], float]) -> list[Record]:
    """The records in the order in which they should be tried: shuffled, or by load with ties in random order."""
    shuffled = random.sample(records, len(records))
    return sorted(shuffled, key=load) if how is Sample.LEAST_LOADED else shuffled


def page_of(records: Sequence[Record], *, sort: str = DEFAULT_SORT, limit: int, cursor: str | None = None) -> Page:
    """One page of `records`, sorted by a field (`-` before it: descending), ties by id.

    The cursor names the last record's place, so that records which come and go between two pages move no other.
    Raises `Invalid` for an unknown field and for a cursor of another sort.
    """
    field, descending = sort.removeprefix("-"), sort.startswith("-")
    if field not in SORT_FIELDS:
        raise Invalid(f"sort is {sort!r}, not one of {', '.join(SORT_FIELDS)}", field="sort", value=sort)

    def place(record: Record) -> tuple[bool, Any, str]:
        value = getattr(record, field)
        return value is not None, value if value is not None else 0, record.id

    ordered = sorted(records, key=place, reverse=descending)
    if cursor is not None:
        after = _decode_cursor(cursor, sort)
        try:
            ordered = [r for r in ordered if (place(r) < after if descending else place(r) > after)]
        except TypeError:
            raise _bad_cursor(cursor) from None
    more = len(ordered) > limit
    page = ordered[:limit]
    return Page(page, _encode_cursor(place(page[-1]), sort) if more and page else None)


def _encode_cursor(place: tuple[bool, Any, str], sort: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode().rstrip("=")


def _decode_cursor(cursor: str, sort: str) -> tuple[bool, Any, str]:
    try:
        of, present, value, last = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise _bad_cursor(cursor) from None
    if of != sort or not isinstance(last, str) or not isinstance(present, bool):
        raise _bad_cursor(cursor)
    return present, value, last


def _bad_cursor(cursor: str) -> Invalid:
    return Invalid(f"cursor is {cursor!r}, which no list with this sort has given", field="cursor", value=cursor)
