"""The mark of an instance that is being removed while its children are seen to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hopper.model.children import ChildrenMode
from hopper.model.policy import Wish

__all__ = ["Departure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """The mark of an instance whose removal has begun: nobody joins it, and the leading monitor finishes it.

    `reparent_to` is where its children go; `wish` is what they look for once they are orphans, None for what each
    looked for before. One that is `reaped` goes only if it is still down at the end, and of its children only those
    have the `wish` that looked for nothing before.
    """

    children: ChildrenMode
    reparent_to: str | None = None
    wish: Wish | None = None
    reaped: bool = False
    token: str | None = field(default=None, compare=False)
    """The request with which it began: whoever finishes keeps the answer for it. Equal marks may differ in it."""

    def to_json(self) -> bytes:
        """The mark without its token, as the scripts compare it."""
        return orjson.dumps(
            {
                "children": self.children,
                "reparent_to": self.reparent_to,
                "wish": self.wish,
                "reaped": self.reaped,
            }
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Departure":
        """Read a mark. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        wish = document.get("wish")
        return cls(
            children=ChildrenMode(document["children"]),
            reparent_to=document.get("reparent_to"),
            wish=None if wish is None else Wish.from_document(wish),
            reaped=bool(document.get("reaped")),
            token=document.get("token"),
        )
