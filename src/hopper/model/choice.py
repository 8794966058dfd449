"""One value of an enumeration, as a caller names it."""

from enum import StrEnum
from typing import Any, TypeVar

from hopper.errors import Invalid

__all__ = ["one_of"]

E = TypeVar("E", bound=StrEnum)


def one_of(kind: type[E], name: str, value: Any) -> E:
    """The member that a value names. Raises `Invalid`, which names the field, the value and what is allowed."""
    try:
        return kind(value)
    except ValueError:
        raise Invalid(f"{name} is {value!r}, not one of {', '.join(kind)}", field=name, value=value) from None
