"""The mark of an instance that is being removed while its children are seen to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hopper.model.children import ChildrenMode
from hopper.model.policy import Wish

__all__ = ["Departure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The mark of an instance whose removal has begun: nobody joins it, and the leading monitor finishes it.

    `reparent_to` is where its children go; `wish` is what they look for once they are orphans, None for what each
    looked for before.
    """

    children: ChildrenMode
    reparent_to: str | None = None
    wish: Wish | None = None

    def to_json(self) -> bytes:
        """The mark as the record holds it."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Departure":
        """Read a mark. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        wish = document.get("wish")
        return cls(
            children=ChildrenMode(document["children"]),
            reparent_to=document.get("reparent_to"),
            wish=None if wish is None else Wish.from_document(wish),
        )
