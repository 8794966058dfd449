"""The tree and the log against a model: whatever is asked, Redis does what a few lines of Python do."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from census import Census
from effort import LONG
from hopper.config import Settings
from hopper.errors import (
    Exists,
    GlobalExists,
    HasChildren,
    HopperError,
    IllegalTransition,
    NameTaken,
    NotFound,
    ScopeRule,
)
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.spec import apply_patch, parse_spec
from hopper.model.state import TRANSITIONS, State, Verb
from hopper.store.instances import InstanceStore

EXAMPLES, STEPS = (300, 60) if LONG else (18, 42)
"""Examples and steps of each; about 750 steps on each of two servers in the quick run."""

SCOPE_OF = {"g1": "global", "g2": "global", "p1": "project", "p2": "project", "p3": "project"} | {
    f"o{i}": "orchestration" for i in range(1, 5)
}
"""Few ids, so that they meet. Now and then one is registered as another scope."""

SEED = {"g1": None, "p1": "g1", "p2": "g1", "o1": "p1", "o2": "p1", "o3": "p2"}
"""What each example starts with."""

IDS = st.sampled_from(sorted(SCOPE_OF))
NAMES = st.sampled_from(["one", "two", "three", "four"])
SCOPES = st.sampled_from([None] * 9 + list(Scope))
STATES = st.sampled_from([State.RUNNING] * 4 + list(State))
ROOM = st.sampled_from([None, None, None, 0, 1, 2])
PICK = st.integers(0, 99)
"""Picks one that exists, and now and then an id that may not."""


@dataclass
class Node:
    """What the model knows of one instance."""

    scope: Scope
    name: str
    parent: str | None
    state: State
    room: int | None
    wish: bool


class TreeModel(RuleBasedStateMachine):
    """Every rule asks Redis and the model the same, and compares the answer, or the refusal."""

    new_settings: Callable[[], Settings]

    @initialize()
    def begin(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.revision = 0
        self.runner = asyncio.Runner()
        self.store = InstanceStore(self.new_settings())
        self.runner.run(self.store.open())
        for id, parent in SEED.items():
            self._ask(
                self.store.register(parse_spec({"scope": SCOPE_OF[id], "id": id, "parent_id": parent})),
                None,
                changes=True,
            )
            self.nodes[id] = Node(Scope(SCOPE_OF[id]), id, parent, State.RUNNING, None, wish=False)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.store.aclose())
            self.runner.close()

    # -- what can be asked -----------------------------------------------------------------------------------------

    @rule(
        id=IDS, name=NAMES | st.none(), above=PICK, has_parent=st.booleans(), state=STATES, room=ROOM,
        wish=st.booleans(), scope=SCOPES,
    )  # fmt: skip
    def register(self, id, name, above, has_parent, state, room, wish, scope) -> None:
        scope = scope or Scope(SCOPE_OF[id])
        name = name or id
        old = self.nodes.get(id)
        parent = self._above(scope, above) if has_parent else None
        kept = parent or (old.parent if old else None)
        refusal = (
            (Exists if old and old.scope is not scope else None)
            or (GlobalExists if scope is Scope.GLOBAL and self._holder() not in (None, id) else None)
            or (NameTaken if self._holder_of(scope, name) not in (None, id) else None)
            or (self._forbidden(id, scope, parent) if parent else None)
        )
        document = {
            "scope": scope, "id": id, "name": name, "parent_id": parent, "state": state, "max_children": room,
            "wish": {"tags": ["x"]} if wish else None,
        }  # fmt: skip
        self._ask(self.store.register(parse_spec(document)), refusal, changes=True)
        if refusal is None:
            self.nodes[id] = Node(scope, name, kept, state, room, wish)

    @rule(pick=PICK, name=NAMES, room=ROOM)
    def update(self, pick, name, room) -> None:
        id = self._pick(pick)
        node = self.nodes.get(id)
        patch: dict[str, Any] = {"name": name, "max_children": room}
        refusal: type[HopperError] | None = NotFound
        changes = False
        if node is not None:
            changes = (node.name, node.room) != (name, room)
            refusal = NameTaken if changes and self._holder_of(node.scope, name) not in (None, id) else None
        self._ask(self.store.update(id, lambda record: apply_patch(record, patch)), refusal, changes=changes)
        if node is not None and refusal is None:
            node.name, node.room = name, room

    @rule(pick=PICK, above=PICK)
    def link(self, pick, above) -> None:
        child = self._pick(pick)
        node = self.nodes.get(child)
        parent = self._above(node.scope if node else Scope.PROJECT, above)
        refusal = NotFound if node is None else self._forbidden(child, node.scope, parent)
        self._ask(self.store.link(child, parent), refusal, changes=node is not None and node.parent != parent)
        if node is not None and refusal is None:
            node.parent = parent

    @rule(pick=PICK)
    def unlink(self, pick) -> None:
        child = self._pick(pick)
        node = self.nodes.get(child)
        refusal = NotFound if node is None else ScopeRule if node.scope is Scope.GLOBAL else None
        changes = node is not None and (node.parent is not None or node.wish)
        self._ask(self.store.unlink(child), refusal, changes=changes)
        if node is not None and refusal is None:
            node.parent, node.wish = None, False

    @rule(pick=PICK, verb=st.sampled_from(Verb))
    def transition(self, pick, verb) -> None:
        id = self._pick(pick)
        node = self.nodes.get(id)
        to = TRANSITIONS[verb]
        refusal: type[HopperError] | None = NotFound
        if node is not None:
            refusal = None if node.state is to.target or node.state in to.origins else IllegalTransition
        self._ask(self.store.transition(id, verb), refusal, changes=node is not None and node.state is not to.target)
        if node is not None and refusal is None:
            node.state = to.target

    @rule(pick=PICK)
    def deregister(self, pick) -> None:
        id = self._pick(pick)
        refusal = NotFound if id not in self.nodes else HasChildren if self._children(id) else None
        self._ask(self.store.deregister(id), refusal, changes=True)
        if refusal is None:
            del self.nodes[id]

    # -- what the model says ---------------------------------------------------------------------------------------

    def _pick(self, pick: int) -> str:
        ids = sorted(SCOPE_OF if pick >= 95 or not self.nodes else self.nodes)
        return ids[pick % len(ids)]

    def _above(self, scope: Scope, pick: int) -> str:
        """Mostly one that may be the parent of the scope, now and then any id."""
        fit = sorted(id for id, node in self.nodes.items() if node.scope is PARENT_SCOPE[scope])
        return fit[pick % len(fit)] if fit and pick < 80 else self._pick(pick)

    def _holder(self) -> str | None:
        return next((id for id, node in self.nodes.items() if node.scope is Scope.GLOBAL), None)

    def _holder_of(self, scope: Scope, name: str) -> str | None:
        return next((id for id, node in self.nodes.items() if (node.scope, node.name) == (scope, name)), None)

    def _children(self, id: str) -> set[str]:
        return {child for child, node in self.nodes.items() if node.parent == id}

    def _forbidden(self, child: str, scope: Scope, parent: str) -> type[HopperError] | None:
        above = self.nodes.get(parent)
        if above is None:
            return NotFound
        if above.scope is not PARENT_SCOPE[scope]:
            return ScopeRule
        siblings = self._children(parent)
        full = above.room is not None and child not in siblings and len(siblings) >= above.room
        return ScopeRule if full else None

    def _ask(self, write: Any, refusal: type[HopperError] | None, *, changes: bool) -> None:
        """Carry out a write; it must be refused as the model says, or answer the revision the model expects."""
        if refusal is not None:
            with pytest.raises(refusal):
                self.runner.run(write)
            return
        answer = self.runner.run(write)
        self.revision += changes
        assert getattr(answer, "revision", answer) == self.revision

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def redis_has_what_the_model_has(self) -> None:
        if not hasattr(self, "runner"):
            return
        census = self.runner.run(Census.take(self.store.client, self.store.settings.namespace))
        assert census.problems == []
        assert census.revision == self.revision
        found = {
            id: Node(
                record.scope, record.name, record.parent_id, record.state, record.max_children, record.wish is not None
            )
            for id, record in census.records.items()
        }
        assert found == self.nodes
        assert census.heartbeats == {id for id, record in census.records.items() if record.monitored}


def test_redis_and_the_model_agree_after_every_step(new_settings):
    machine = type("TreeModel", (TreeModel,), {"new_settings": staticmethod(new_settings)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
