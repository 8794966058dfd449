"""Query parameters: read strictly, so that an unknown one or a bad value is an error that names it."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from starlette.datastructures import QueryParams

from hopper.errors import Invalid
from hopper.model.health import Health
from hopper.model.record import FIELDS
from hopper.model.scope import Scope
from hopper.model.selector import Selector
from hopper.model.state import State

__all__ = ["FILTERS", "PAGING", "Query"]

FILTERS = frozenset({"scope", "state", "health", "tag", "name", "parent", "ancestor", "version", "orphan", "available"})
"""Parameters that choose instances; `meta.KEY` is one more."""

PAGING = frozenset({"sort", "fields", "limit", "cursor"})
"""Parameters that order, cut and page a list."""

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_METADATA = re.compile(r"meta\..+", re.DOTALL)
_WHOLE = re.compile(r"-?[0-9]{1,18}")

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)


class Query:
    """The query of one request; every parameter must be among those the route knows."""

    def __init__(self, parameters: QueryParams, *known: Iterable[str]) -> None:
        self._parameters = parameters
        names = frozenset().union(*known)
        for name in parameters:
            if name not in names and not (_METADATA.fullmatch(name) and "tag" in names):
                raise Invalid(f"unknown parameter {name!r}", field=name, value=parameters[name])

    def one(self, name: str) -> str | None:
        """A parameter that may be given once."""
        values = self._parameters.getlist(name)
        if len(values) > 1:
            raise Invalid(f"{name} is given {len(values)} times", field=name, value=values)
        return values[0] if values else None

    def flag(self, name: str) -> bool | None:
        """A parameter that is `true` or `false`."""
        value = self.one(name)
        if value is None:
            return None
        if value not in {"true", "false"}:
            raise Invalid(f"{name} is {value!r}, not true or false", field=name, value=value)
        return value == "true"

    def integer(self, name: str, *, minimum: int, maximum: int | None = None) -> int | None:
        """A parameter that is a whole number within bounds."""
        value = self.one(name)
        if value is None:
            return None
        if not _WHOLE.fullmatch(value):
            raise Invalid(f"{name} is {value!r}, not a whole number", field=name, value=value)
        number = int(value)
        if number < minimum or (maximum is not None and number > maximum):
            bounds = f"{minimum}..{'' if maximum is None else maximum}"
            raise Invalid(f"{name} is {value!r}, not in {bounds}", field=name, value=value)
        return number

    def choice(self, name: str, kind: type[E]) -> E | None:
        """A parameter that is one of an enum's values, in any case."""
        value = self.one(name)
        return None if value is None else _choose(name, value, kind)

    def choices(self, name: str, kind: type[E]) -> frozenset[E]:
        """A parameter that may be repeated, each one of an enum's values."""
        return frozenset(_choose(name, value, kind) for value in self._parameters.getlist(name))

    def limit(self) -> int:
        """How many items a page holds: 1 to 1000, 100 where it is not said."""
        return self.integer("limit", minimum=1, maximum=MAX_LIMIT) or DEFAULT_LIMIT

    def fields(self) -> tuple[str, ...] | None:
        """The fields to answer, None for all."""
        value = self.one("fields")
        if value is None:
            return None
        names = tuple(name for name in value.split(",") if name)
        for name in names:
            if name not in FIELDS:
                raise Invalid(f"fields names {name!r}, which is not a field", field="fields", value=name)
        if not names:
            raise Invalid("fields names no field", field="fields", value=value)
        return names

    def selector(self) -> Selector:
        """The selector that the filters describe."""
        metadata = {
            name.removeprefix("meta."): self.one(name) or "" for name in self._parameters if name.startswith("meta.")
        }
        return Selector(
            scope=self.choices("scope", Scope),
            state=self.choices("state", State),
            health=self.choices("health", Health),
            tags=frozenset(self._parameters.getlist("tag")),
            name=self.one("name"),
            parent=self.one("parent"),
            ancestor=self.one("ancestor"),
            version=self.one("version"),
            metadata=metadata,
            orphan=self.flag("orphan"),
            available=self.flag("available"),
        )


def _choose(name: str, value: str, kind: type[E]) -> E:
    try:
        return kind(value.lower())
    except ValueError:
        allowed = ", ".join(item.value for item in kind)
        raise Invalid(f"{name} is {value!r}, not one of {allowed}", field=name, value=value) from None
