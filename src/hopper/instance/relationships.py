"""Relationships: who stands under whom, changed one edge at a time and read from the view."""

from collections.abc import Callable, Iterable, Sequence

import structlog

from hopper.errors import HopperError, NotFound, Refused
from hopper.instance.parents import matched
from hopper.instance.view import RegistryView
from hopper.model.record import Record
from hopper.store.instances import InstanceStore

__all__ = ["Relationships", "require"]


class Relationships:
    """The edges of the tree. Changes are checked in Lua; what they answer, the view has already."""

    def __init__(self, store: InstanceStore, view: RegistryView) -> None:
        self._store = store
        self._view = view
        self._logger = structlog.get_logger().bind(namespace=store.settings.namespace)

    async def link(
        self, child_id: str, parent_id: str, *, require_live_parent: bool | None = None, actor: str = ""
    ) -> int:
        """Put a child under a parent, leaving the one it had; answers the revision. Idempotent.

        With `require_live_parent` (the setting, where it is not said) the parent must be alive. Raises `NotFound`,
        `ScopeRule`, `Leaving`, `Conflict` after many tries, and `Unavailable`.
        """
        known = self._view.replica.records.get(child_id)
        return await self._store.link(
            child_id, parent_id, known=known, require_live_parent=require_live_parent, actor=actor
        )

    async def link_many(
        self, pairs: Sequence[tuple[str, str]], *, require_live_parent: bool | None = None, actor: str = ""
    ) -> list[int | HopperError]:
        """Put each child under its parent, in order; answers the revision or the error of each."""
        return await self._store.link_many(pairs, require_live_parent=require_live_parent, actor=actor)

    async def unlink(self, child_id: str, *, actor: str = "") -> int:
        """Take a child from its parent and clear its wish; answers the revision. Idempotent."""
        known = self._view.replica.records.get(child_id)
        return await self._store.unlink(child_id, known=known, actor=actor)

    async def adopt(self, orphans: Iterable[Record] | None = None, *, actor: str = "") -> dict[str, int]:
        """Link each orphan to the parent it looks for, where the view has that; answers id to revision.

        All orphans, or those that are named. One that is refused, or has changed since the view heard of it, is left
        as it is. Raises `Unavailable`.
        """
        found = matched(self._view.replica, self.orphans() if orphans is None else orphans)
        pairs = [(orphan, parent.id) for orphan, parent in found]
        done: dict[str, int] = {}
        for (orphan, _), answer in zip(pairs, await self._store.adopt_many(pairs, actor=actor), strict=True):
            if isinstance(answer, int):
                done[orphan.id] = answer
            elif isinstance(answer, (Refused, NotFound)):
                self._logger.info("relationships.not_adopted", id=orphan.id, detail=str(answer))
            else:
                raise answer
        return done

    def children(self, id: str) -> list[Record]:
        """The children, in the order of creation. Raises `NotFound` for an unknown id."""
        return self._around(id, self._view.replica.children)

    def ancestors(self, id: str) -> list[Record]:
        """Parent, then grandparent. Raises `NotFound` for an unknown id."""
        return self._around(id, self._view.replica.ancestors)

    def descendants(self, id: str) -> list[Record]:
        """Children, grandchildren: each parent before its children. Raises `NotFound` for an unknown id."""
        return self._around(id, self._view.replica.descendants)

    def orphans(self) -> list[Record]:
        """Every instance that should have a parent and has none."""
        return self._view.replica.orphans()

    def _around(self, id: str, look: Callable[[str], list[Record]]) -> list[Record]:
        require(id, self._view.replica.records.get(id))
        return look(id)


def require(id: str, record: Record | None) -> Record:
    """The record, or `NotFound` where there is none."""
    if record is None:
        raise NotFound(f"there is no instance '{id}'")
    return record
