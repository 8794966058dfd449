"""The rules of the tree once more, in plain Python over a dictionary: what Redis has to answer, and why not."""

from dataclasses import dataclass

from hopper.errors import (
    Exists,
    GlobalExists,
    HopperError,
    Leaving,
    NameTaken,
    NotFound,
    ScopeRule,
)
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import MONITORED_STATES, State
from hopper.model.takeover import Takeover

__all__ = ["SCOPE_OF", "Node", "Refusal", "TreeRules"]

SCOPE_OF = {"g1": "global", "g2": "global", "p1": "project", "p2": "project", "p3": "project"} | {
    f"o{i}": "orchestration" for i in range(1, 5)
}
"""Few ids, so that they meet. Now and then one is registered as another scope."""

Refusal = type[HopperError] | None


@dataclass
class Node:
    """What the model knows of one instance."""

    scope: Scope
    name: str
    parent: str | None
    state: State
    room: int | None
    wish: bool
    leaving: Departure | None = None


class TreeRules:
    """What is there by the model, and the refusal that a request must meet; None where it must be carried out."""

    nodes: dict[str, Node]

    def _pick(self, pick: int) -> str:
        ids = sorted(SCOPE_OF if pick >= 95 or not self.nodes else self.nodes)
        return ids[pick % len(ids)]

    def _above(self, scope: Scope, pick: int) -> str:
        """Mostly one that may be the parent of the scope, now and then any id."""
        fit = sorted(id for id, node in self.nodes.items() if node.scope is PARENT_SCOPE[scope])
        return fit[pick % len(fit)] if fit and pick < 80 else self._pick(pick)

    def _mark(self, mode: ChildrenMode, pick: int) -> Departure:
        return Departure(children=mode, reparent_to=self._pick(pick) if mode is ChildrenMode.REPARENT else None)

    def _holder(self) -> str | None:
        return next((id for id, node in self.nodes.items() if node.scope is Scope.GLOBAL), None)

    def _holder_of(self, scope: Scope, name: str) -> str | None:
        return next((id for id, node in self.nodes.items() if (node.scope, node.name) == (scope, name)), None)

    def _children(self, id: str) -> set[str]:
        return {child for child, node in self.nodes.items() if node.parent == id}

    def _below(self, id: str) -> list[str]:
        return [below for child in self._children(id) for below in [child, *self._below(child)]]

    def _registration(self, spec: InstanceSpec, takeover: Takeover = Takeover.ALWAYS) -> Refusal:
        old = self.nodes.get(str(spec.id))
        if old is not None and old.scope is not spec.scope:
            return Exists
        if old is not None and takeover is Takeover.IF_DEAD and old.state in MONITORED_STATES:
            return Exists
        if old is not None and old.leaving is not None:
            return Leaving
        forbidden = self._forbidden(str(spec.id), spec.scope, spec.parent_id) if spec.parent_id else None
        if forbidden is not None:
            return forbidden
        if spec.scope is Scope.GLOBAL and self._holder() not in (None, spec.id):
            return GlobalExists
        taken = self._holder_of(spec.scope, spec.name or str(spec.id)) not in (None, spec.id)
        return NameTaken if taken else None

    def _registered(self, spec: InstanceSpec) -> None:
        id = str(spec.id)
        old = self.nodes.get(id)
        parent = spec.parent_id or (old.parent if old else None)
        wish = spec.wish is not None
        self.nodes[id] = Node(spec.scope, spec.name or id, parent, spec.state, spec.max_children, wish)

    def _link(self, pick: int, above: int) -> tuple[str, str, Refusal, bool]:
        """A child, a parent, why it cannot go there, and whether that changes anything."""
        child = self._pick(pick)
        node = self.nodes.get(child)
        parent = self._above(node.scope if node else Scope.PROJECT, above)
        if node is None:
            return child, parent, NotFound, False
        if node.parent == parent:
            return child, parent, None, False
        forbidden = self._forbidden(child, node.scope, parent) or (Leaving if node.leaving else None)
        return child, parent, forbidden, True

    def _forbidden(self, child: str, scope: Scope, parent: str) -> Refusal:
        above = self.nodes.get(parent)
        if above is None:
            return NotFound
        if above.scope is not PARENT_SCOPE[scope]:
            return ScopeRule
        if above.leaving is not None:
            return Leaving
        siblings = self._children(parent)
        full = above.room is not None and child not in siblings and len(siblings) >= above.room
        return ScopeRule if full else None

    def _marked(self, id: str, mark: Departure) -> Refusal:
        """Why an instance cannot be marked so."""
        node = self.nodes.get(id)
        if node is None:
            return NotFound
        if node.leaving is not None:
            return None if node.leaving == mark else Leaving
        if mark.reparent_to is None:
            return None
        heir = self.nodes.get(mark.reparent_to)
        if heir is None:
            return NotFound
        if heir.scope is not node.scope or heir is node:
            return ScopeRule
        if heir.leaving is not None:
            return Leaving
        wanted = len(self._children(id)) + len(self._children(mark.reparent_to))
        return ScopeRule if heir.room is not None and wanted > heir.room else None
