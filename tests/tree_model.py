"""The model of the tree and the log: a few lines of Python that say what Redis has to do, whatever is asked."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from census import Census
from hopper.config import Settings
from hopper.errors import (
    GlobalExists,
    HasChildren,
    HopperError,
    IllegalTransition,
    Leaving,
    NameTaken,
    NotFound,
    PreconditionFailed,
    ScopeRule,
)
from hopper.instance.departures import Departures
from hopper.instance.lifecycle import Lifecycle
from hopper.model.children import ChildrenMode
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import apply_patch, parse_spec
from hopper.model.state import TRANSITIONS, State, Verb
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore
from tree_rules import SCOPE_OF, Node, Refusal, TreeRules

__all__ = ["STEPS", "TreeModel", "run"]

STEPS = 130
"""Steps of one example at most."""

SEED = {"g1": None, "p1": "g1", "p2": "g1", "o1": "p1", "o2": "p1", "o3": "p2"}
"""What each example starts with."""

CLIENTS = 3
LOOK_EVERY = 8
"""Steps after which all of Redis is compared with the model; every answer is."""

IDS = st.sampled_from(sorted(SCOPE_OF))
NAMES = st.sampled_from(["one", "two"])
SCOPES = st.sampled_from([None] * 9 + list(Scope))
STATES = st.sampled_from([State.RUNNING] * 4 + list(State))
ROOM = st.sampled_from([None, None, 0, 1, 1, 2])
MODES = st.sampled_from(ChildrenMode)
PICK = st.integers(0, 99)
"""Picks one that exists, and now and then an id that may not."""


class TreeModel(TreeRules, RuleBasedStateMachine):
    """Every rule asks Redis and the model the same, and compares the answer, or the refusal.

    Several clients ask in turn; each may believe an old record to be the present one.
    """

    new_settings: Callable[[], Settings]
    steps: list[int]

    @initialize()
    def begin(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.seen: dict[str, Record] = {}
        self.revision = self.turn = 0
        self.runner = asyncio.Runner()
        same = self.new_settings()
        self.clients = [InstanceStore(same) for _ in range(CLIENTS)]
        self.runner.run(self.store.open())
        for id, parent in SEED.items():
            document = {"scope": SCOPE_OF[id], "id": id, "parent_id": parent}
            self._ask(self.store.register(parse_spec(document)), None, changes=True)
            self.nodes[id] = Node(Scope(SCOPE_OF[id]), id, parent, State.RUNNING, None, wish=False)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            for client in self.clients:
                self.runner.run(client.aclose())
            self.runner.close()

    @property
    def store(self) -> InstanceStore:
        """The client whose turn it is."""
        return self.clients[self.turn % CLIENTS]

    # -- one at a time ---------------------------------------------------------------------------------------------

    @rule(pick=PICK)
    def look(self, pick) -> None:
        """A client looks at a record, and will believe that it stays so."""
        record = self.runner.run(self.store.read(self._pick(pick)))
        if record is not None:
            self.seen[record.id] = record

    @rule(
        id=IDS, name=NAMES | st.none(), above=PICK, has_parent=st.booleans(), state=STATES, room=ROOM,
        wish=st.booleans(), scope=SCOPES,
    )  # fmt: skip
    def register(self, id, name, above, has_parent, state, room, wish, scope) -> None:
        scope = scope or Scope(SCOPE_OF[id])
        document = {
            "scope": scope, "id": id, "name": name or id, "state": state, "max_children": room,
            "parent_id": self._above(scope, above) if has_parent else None,
            "wish": {"tags": ["x"]} if wish and scope is not Scope.GLOBAL else None,
        }  # fmt: skip
        spec = parse_spec(document)
        refusal = self._registration(spec)
        self._ask(self.store.register(spec, known=self.seen.get(id)), refusal, changes=True)
        if refusal is None:
            self._registered(spec)

    @rule(id=IDS, name=NAMES | st.none())
    def succeed(self, id, name) -> None:
        """Register where only the dead may be replaced, be it the id, the name or the Global."""
        spec = parse_spec({"scope": SCOPE_OF[id], "id": id, "name": name})
        while True:
            refusal = self._registration(spec, Takeover.IF_DEAD)
            holder = {GlobalExists: self._holder(), NameTaken: self._holder_of(spec.scope, name or id)}.get(refusal)
            if holder is None or self.nodes[holder].state not in (State.STOPPED, State.FAILED):
                break
            if self.nodes[holder].leaving is not None:
                break  # it goes in another way
            for child in self._children(holder):
                self.nodes[child].parent, self.nodes[child].wish = None, True
            del self.nodes[holder]
        self._settle(Lifecycle(self.store).register(spec, takeover=Takeover.IF_DEAD), refusal)
        if refusal is None:
            self._registered(spec)

    @rule(pick=PICK, name=NAMES, room=ROOM)
    def update(self, pick, name, room) -> None:
        id = self._pick(pick)
        node = self.nodes.get(id)
        patch: dict[str, Any] = {"name": name, "max_children": room}
        refusal: Refusal = NotFound
        changes = False
        if node is not None:
            changes = (node.name, node.room) != (name, room)
            refusal = NameTaken if changes and self._holder_of(node.scope, name) not in (None, id) else None
        self._ask(self.store.update(id, lambda record: apply_patch(record, patch)), refusal, changes=changes)
        if node is not None and refusal is None:
            node.name, node.room = name, room

    @rule(pick=PICK, above=PICK)
    def link(self, pick, above) -> None:
        child, parent, refusal, changes = self._link(pick, above)
        self._ask(self.store.link(child, parent, known=self.seen.get(child)), refusal, changes=changes)
        if refusal is None:
            self.nodes[child].parent = parent

    @rule(pick=PICK)
    def unlink(self, pick) -> None:
        child = self._pick(pick)
        node = self.nodes.get(child)
        changes = node is not None and (node.parent is not None or node.wish)
        refusal: Refusal = None
        if node is None:
            refusal = NotFound
        elif node.scope is Scope.GLOBAL:
            refusal = ScopeRule
        elif changes and node.leaving is not None:
            refusal = Leaving
        self._ask(self.store.unlink(child, known=self.seen.get(child)), refusal, changes=changes)
        if node is not None and refusal is None:
            node.parent, node.wish = None, False

    @rule(pick=PICK, verb=st.sampled_from(Verb), expected=st.none() | STATES)
    def transition(self, pick, verb, expected) -> None:
        id = self._pick(pick)
        node = self.nodes.get(id)
        to = TRANSITIONS[verb]
        refusal: Refusal = NotFound
        if node is not None and node.state is to.target:
            refusal = None
        elif node is not None and expected is not None and node.state is not expected:
            refusal = PreconditionFailed
        elif node is not None:
            refusal = None if node.state in to.origins else IllegalTransition
        changes = node is not None and node.state is not to.target
        self._ask(self.store.transition(id, verb, expected=expected), refusal, changes=changes)
        if node is not None and refusal is None:
            node.state = to.target

    @rule(pick=PICK)
    def deregister(self, pick) -> None:
        id = self._pick(pick)
        refusal = NotFound if id not in self.nodes else HasChildren if self._children(id) else None
        self._ask(self.store.deregister(id, known=self.seen.get(id)), refusal, changes=True)
        if refusal is None:
            del self.nodes[id]

    # -- with those below ------------------------------------------------------------------------------------------

    @rule(pick=PICK, mode=MODES, heir=PICK)
    def leave(self, pick, mode, heir) -> None:
        id, mark = self._pick(pick), self._mark(mode, heir)
        refusal, before = self._marked(id, mark), self.nodes.get(id)
        changes = before is not None and before.leaving != mark
        self._settle(self.store.leave(id, mark), refusal, changes=changes)
        if before is not None and refusal is None:
            before.leaving = mark

    @rule(pick=PICK, mode=MODES, heir=PICK, own=st.booleans())
    def stay(self, pick, mode, heir, own) -> None:
        """Take a mark back: its own, or one that may be another."""
        id = self._pick(pick)
        node = self.nodes.get(id)
        mark = node.leaving if own and node and node.leaving else self._mark(mode, heir)
        changes = node is not None and node.leaving == mark
        self._ask(self.store.stay(id, mark), None if node else NotFound, changes=changes)
        if node is not None and changes:
            node.leaving = None

    @rule(pick=PICK, mode=MODES, heir=PICK)
    def remove(self, pick, mode, heir) -> None:
        id, mark = self._pick(pick), self._mark(mode, heir)
        node, children = self.nodes.get(id), self._children(id)
        if node is not None and node.leaving == mark and mark.reparent_to is not None:
            return  # what an old mark meets later is the story of test_departures
        refusal: Refusal = None
        if node is None:
            refusal = NotFound
        elif children or mark.reparent_to is not None:
            refusal = HasChildren if mode is ChildrenMode.RESTRICT else self._marked(id, mark)
        self._settle(Departures(self.store).remove(id, mark, known=self.seen.get(id)), refusal)
        if refusal is not None:
            return
        gone = [id, *(self._below(id) if mode is ChildrenMode.CASCADE else [])]
        for child in children:
            self.nodes[child].parent = mark.reparent_to
        for one in gone:
            del self.nodes[one]

    @rule(picks=st.lists(PICK, min_size=1, max_size=4), wrong=PICK)
    def deregister_many(self, picks, wrong) -> None:
        members, expected = [], []
        for pick in picks:
            id = self._pick(pick)
            node = self.nodes.get(id)
            if node is not None and node.scope is Scope.GLOBAL:
                continue
            parent = (node.parent if node and wrong < 80 else self._pick(wrong)) or ""
            members.append((id, parent))
            if node is None:
                expected.append("gone")
            elif (node.parent or "") != parent:
                expected.append("moved")
            elif self._children(id):
                expected.append("has-children")
            else:
                expected.append("removed")
                del self.nodes[id]
        if members:
            assert self._carry_out(self.store.deregister_many(members)) == expected
            self.revision += expected.count("removed")

    @rule(pick=PICK, heir=PICK, orphans=st.booleans())
    def reparent(self, pick, heir, orphans) -> None:
        """All children of one, in one batch."""
        id, to = self._pick(pick), None if orphans else self._pick(heir)
        children = sorted(self._children(id))
        if not children or to == id:
            return
        expected: list[str] = []
        refusal: Refusal = None
        for child in children:
            refused = self._forbidden(child, self.nodes[child].scope, to) if to is not None else None
            if refused is not None and not expected:
                refusal = refused
                break
            expected.append("refused" if refused else "moved")
            if not refused:
                self.nodes[child].parent = to
        work = self.store.reparent(children, seen_parent=id, parent_id=to)
        if refusal is not None:
            with pytest.raises(refusal):
                self._carry_out(work)
            return
        assert self._carry_out(work) == expected
        self.revision += expected.count("moved")

    # -- many at once ----------------------------------------------------------------------------------------------

    @rule(ids=st.lists(IDS, min_size=1, max_size=4, unique=True), above=PICK)
    def register_many(self, ids, above) -> None:
        specs, expected = [], []
        for id in ids:
            scope = Scope(SCOPE_OF[id])
            parent = self._above(scope, above) if above % 3 and scope is not Scope.GLOBAL else None
            spec = parse_spec({"scope": scope, "id": id, "parent_id": parent})
            specs.append(spec)
            expected.append(self._registration(spec))
            if expected[-1] is None:
                self._registered(spec)
        done = self._carry_out(self.store.register_many(specs))
        assert [type(one) if isinstance(one, HopperError) else None for one in done] == expected
        self.revision += expected.count(None)

    @rule(pairs=st.lists(st.tuples(PICK, PICK), min_size=1, max_size=4))
    def link_many(self, pairs) -> None:
        asked, expected, changed = [], [], 0
        for pick, above in pairs:
            child, parent, refusal, changes = self._link(pick, above)
            if child in dict(asked):
                continue
            asked.append((child, parent))
            expected.append(refusal)
            if refusal is None:
                self.nodes[child].parent = parent
                changed += changes
        done = self._carry_out(self.store.link_many(asked))
        assert [type(one) if isinstance(one, HopperError) else None for one in done] == expected
        self.revision += changed

    # -- how it is asked -------------------------------------------------------------------------------------------

    def _carry_out(self, write: Any) -> Any:
        self.turn += 1
        return self.runner.run(write)

    def _ask(self, write: Any, refusal: Refusal, *, changes: bool) -> None:
        """Carry out a write; it must be refused as the model says, or answer the revision the model expects."""
        if refusal is not None:
            with pytest.raises(refusal):
                self._carry_out(write)
            return
        answer = self._carry_out(write)
        self.revision += changes
        assert getattr(answer, "revision", answer) == self.revision

    def _settle(self, write: Any, refusal: Refusal, *, changes: bool = True) -> None:
        """Carry out what takes several writes, or answers no revision; the log says how many events there were."""
        if refusal is not None:
            with pytest.raises(refusal):
                self._carry_out(write)
        else:
            self._carry_out(write)
        reached = self.runner.run(self.store.position()).revision
        assert reached > self.revision or not changes or refusal is not None
        assert reached == self.revision or changes
        self.revision = reached

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def redis_has_what_the_model_has(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.steps[0] += 1
        if self.turn % LOOK_EVERY:
            return
        census = self.runner.run(Census.take(self.store.client, self.store.settings.namespace))
        assert census.problems == []
        assert census.revision == self.revision
        found = {
            id: Node(
                record.scope,
                record.name,
                record.parent_id,
                record.state,
                record.max_children,
                record.wish is not None,
                record.leaving,
            )
            for id, record in census.records.items()
        }
        assert found == self.nodes
        assert census.heartbeats == {id for id, record in census.records.items() if record.monitored}


def run(new_settings: Callable[[], Settings], *, examples: int) -> int:
    """Let the machine go; answers how many steps it has made, and raises what it found."""
    machine = type("TreeModel", (TreeModel,), {"new_settings": staticmethod(new_settings), "steps": [0]})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            deadline=None,
            database=None,
        ),
    )
    return machine.steps[0]
