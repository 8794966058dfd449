"""Relationships: who stands under whom, changed one edge at a time and read from the view."""

from collections.abc import Callable

import structlog

from hopper.errors import NotFound, Refused
from hopper.instance.parents import parent_of_wish
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

    async def link(self, child_id: str, parent_id: str, *, actor: str = "") -> int:
        """Put a child under a parent, leaving the one it had; answers the revision. Idempotent.

        Raises `NotFound`, `ScopeRule`, `Conflict` after many tries, and `Unavailable`.
        """
        known = self._view.replica.records.get(child_id)
        return await self._store.link(child_id, parent_id, known=known, actor=actor)

    async def unlink(self, child_id: str, *, actor: str = "") -> int:
        """Take a child from its parent and clear its wish; answers the revision. Idempotent."""
        known = self._view.replica.records.get(child_id)
        return await self._store.unlink(child_id, known=known, actor=actor)

    async def adopt(self, *, actor: str = "") -> dict[str, int]:
        """Link each orphan to the parent it looks for, where the view has that; answers id to revision.

        A refusal leaves that one an orphan: its parent may be full, leaving or gone meanwhile. Raises `Unavailable`.
        """
        done: dict[str, int] = {}
        for orphan in self.orphans():
            parent = parent_of_wish(self._view.replica, orphan.scope, orphan.wish)
            if parent is None:
                continue
            try:
                done[orphan.id] = await self.link(orphan.id, parent.id, actor=actor)
            except (Refused, NotFound) as error:
                self._logger.info("relationships.not_adopted", id=orphan.id, detail=str(error))
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
