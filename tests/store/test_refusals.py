"""Refusals of the store: they name both sides and change not one key."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest

from hopper.errors import (
    BY_LUA_CODE,
    Conflict,
    Exists,
    GlobalExists,
    HasChildren,
    HopperError,
    IllegalTransition,
    Invalid,
    Leaving,
    NameTaken,
    NewerSchema,
    NotFound,
    NotLeader,
    PreconditionFailed,
    ScopeRule,
    StaleIncarnation,
)
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim, RestartLedger
from hopper.model.spec import spec_of
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore, Standing
from hopper.store.sampling import Assessment, SampleStore
from hopper.store.scripts import script
from hopper.store.surveillance import SurveillanceStore
from servers import dump
from specs import known, patching, spec

pytestmark = pytest.mark.usefixtures("agrees")

CASCADE = Departure(children=ChildrenMode.CASCADE)


def heir(id: str) -> Departure:
    """Children move to another one."""
    return Departure(children=ChildrenMode.REPARENT, reparent_to=id)


LEADER = "monitor-1"


async def assess(
    store: InstanceStore, health: str = "degraded", *, incarnation: int = 2, monitor: str = LEADER
) -> None:
    """Assess 'p', which is incarnation 2."""
    one = Assessment("p", incarnation, health, "thresholds", {})
    (answer,) = await SampleStore(store.settings, client=store.client).assess([one], monitor_id=monitor)
    if isinstance(answer, HopperError):
        raise answer


async def assess_on_no_evidence(store: InstanceStore, evidence: Any) -> None:
    """Assess 'p' on evidence that readers of the log could not read."""
    one = Assessment("p", 2, "degraded", "thresholds", evidence)
    (answer,) = await SampleStore(store.settings, client=store.client).assess([one], monitor_id=LEADER)
    assert isinstance(answer, HopperError)
    raise answer


async def reap(store: InstanceStore, id: str, *, monitor_id: str) -> object:
    return await store.reap(await known(store, id), CASCADE, monitor_id=monitor_id)


async def calm(store: InstanceStore, id: str, incarnation: int) -> None:
    async with contextlib.aclosing(SurveillanceStore(store.settings)) as surveillance:
        (answer,) = await surveillance.calm([(id, incarnation)])
    assert isinstance(answer, HopperError)
    raise answer


async def claim(
    store: InstanceStore, id: str, *, incarnation: int | None = None, seen_count: int = 0, **how: Any
) -> Any:
    """Claim a restart of what is there, or as if it were another incarnation or had had so many restarts."""
    record = await store.read(id) or replace(await known(store, "q"), id=id)
    record = replace(record, incarnation=incarnation or record.incarnation)
    standing = Standing(record, RestartLedger(count=seen_count), 0)
    return await RestartStore(store.settings, client=store.client).claim(standing, Claim(1, 0, 0), **how)


REFUSALS: dict[str, tuple[Any, type[HopperError], str]] = {
    "register a second global": (lambda s: s.register(spec("global", "g2")), GlobalExists,
        "instance 'g2' cannot be the global: 'g' is"),
    "register a name of its scope": (lambda s: s.register(spec("project", "p9", name="p")), NameTaken,
        "project 'p9' cannot be named 'p': 'p' is"),
    "register under nobody": (lambda s: s.register(spec("project", "p9", parent_id="nobody")), NotFound,
        "instance 'nobody' cannot be the parent of 'p9': it does not exist"),
    "register under the wrong scope": (lambda s: s.register(spec("orchestration", "o9", parent_id="g")), ScopeRule,
        "orchestration 'o9' cannot have parent 'g', a global: its parent is a project"),
    "register the global under one": (lambda s: s.register(spec("global", "g", parent_id="p")), ScopeRule,
        "global 'g' cannot have parent 'p', a project: the global has no parent"),
    "register under a full one": (lambda s: s.register(spec("orchestration", "o9", parent_id="full")), ScopeRule,
        r"orchestration 'o9' cannot have parent 'full': it has its 1 children \(max_children\)"),
    "register as another scope": (lambda s: s.register(spec("orchestration", "p")), Exists,
        "instance 'p' exists as a project and cannot become a orchestration|an orchestration"),
    "register a record too large": (lambda s: s.register(replace(spec("project", "p9"), config={"x": "y" * 9000})),
        Invalid, "instance 'p9' has a record of 9[0-9]{3} bytes, and at most 7424 are stored"),
    "register again what leaves": (lambda s: s.register(spec("project", "old")), Leaving,
        "project 'old' cannot be registered again: it is being removed"),
    "register under one that leaves": (lambda s: s.register(spec("orchestration", "o9", parent_id="old")), Leaving,
        "project 'old' cannot become the parent of 'o9': it is being removed"),
    "register as it stands at another revision": (lambda s: s.register(spec("project", "q"), carries=1),
        PreconditionFailed, "instance 'q' is at revision 5, not 1"),
    "register as it stands what is gone": (lambda s: s.register(spec("project", "p9"), carries=1),
        PreconditionFailed, "instance 'p9' is at revision none, not 1"),
    "register under one that is not alive": (
        lambda s: s.register(spec("orchestration", "o9", parent_id="idle"), require_live_parent=True), ScopeRule,
        r"orchestration 'o9' cannot have parent 'idle': it is stopped and unknown \(require_live_parent\)"),
    "update nobody": (lambda s: s.update("nobody", patching(version="1")), NotFound, "there is no instance 'nobody'"),
    "update to a name that is taken": (lambda s: s.update("q", patching(name="p")), NameTaken,
        "project 'q' cannot be named 'p': 'p' is"),
    "update another revision": (lambda s: s.update("p", patching(version="1"), if_revision=1), PreconditionFailed,
        "instance 'p' is at revision 2, not 1"),
    "update a record too large": (lambda s: s.update("p", lambda r: replace(spec_of(r), config={"x": "y" * 9000})),
        Invalid, "instance 'p' has a record of 9[0-9]{3} bytes"),
    "deregister nobody": (lambda s: s.deregister("nobody"), NotFound, "there is no instance 'nobody'"),
    "deregister one with children": (lambda s: s.deregister("p"), HasChildren,
        "project 'p' cannot be removed: .*1"),
    "deregister an old incarnation": (lambda s: s.deregister("q", incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "deregister another revision": (lambda s: s.deregister("q", if_revision=1), PreconditionFailed,
        "instance 'q' is at revision 5, not 1"),
    "link nobody": (lambda s: s.link("nobody", "g"), NotFound, "there is no instance 'nobody' to put under 'g'"),
    "link to nobody": (lambda s: s.link("p", "nobody"), NotFound,
        "instance 'nobody' cannot be the parent of 'p': it does not exist"),
    "link against the scopes": (lambda s: s.link("o", "g"), ScopeRule,
        "orchestration 'o' cannot have parent 'g', a global: its parent is a project"),
    "link to itself": (lambda s: s.link("p", "p"), ScopeRule, "project 'p' cannot have parent 'p'"),
    "link to a full one": (lambda s: s.link("o", "full"), ScopeRule, "cannot have parent 'full': it has its 1 child"),
    "link to one that leaves": (lambda s: s.link("o", "old"), Leaving,
        "project 'old' cannot become the parent of 'o': it is being removed"),
    "link what leaves": (lambda s: s.link("old", "g"), Leaving,
        "project 'old' cannot move to 'g': it is being removed"),
    "link to one that is not alive": (lambda s: s.link("o", "idle", require_live_parent=True), ScopeRule,
        r"orchestration 'o' cannot have parent 'idle': it is stopped and unknown \(require_live_parent\)"),
    "unlink what leaves": (lambda s: s.unlink("old-1"), Leaving,
        "orchestration 'old-1' cannot be taken from its parent: it is being removed"),
    "let nobody leave": (lambda s: s.leave("nobody", CASCADE), NotFound, "there is no instance 'nobody'"),
    "let an old incarnation leave": (lambda s: s.leave("q", CASCADE, incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "let another revision leave": (lambda s: s.leave("q", CASCADE, if_revision=1), PreconditionFailed,
        "instance 'q' is at revision 5, not 1"),
    "let one leave as if it were dead": (lambda s: s.leave("q", CASCADE, dead=True), Exists,
        "instance 'q' is not dead: it is running and healthy"),
    "let one leave in another way": (lambda s: s.leave("old", heir("q")), Leaving,
        "project 'old' cannot be removed in another way: it is being removed"),
    "let nobody stay": (lambda s: s.stay("nobody", CASCADE), NotFound, "there is no instance 'nobody'"),
    "move children to nobody": (lambda s: s.leave("p", heir("nobody")), NotFound,
        "the children of 'p' cannot move to 'nobody': it does not exist"),
    "move children to another scope": (lambda s: s.leave("p", heir("g")), ScopeRule,
        "the children of project 'p' cannot move to 'g': it is not another project"),
    "move children to where they are": (lambda s: s.leave("p", heir("p")), ScopeRule,
        "the children of project 'p' cannot move to 'p': it is not another project"),
    "move children to one that leaves": (lambda s: s.leave("p", heir("old")), Leaving,
        "project 'old' cannot take the children of 'p': it is being removed"),
    "move children to a full one": (lambda s: s.leave("p", heir("full")), ScopeRule,
        r"the children of 'p' cannot move to 'full': it would have 2, over 1 \(max_children\)"),
    "move some children to nobody": (
        lambda s: s.reparent(["o"], seen_parent="p", parent_id="nobody"), NotFound,
        "instance 'nobody' cannot be the parent of 'o': it does not exist"),
    "move some children against the scopes": (lambda s: s.reparent(["o"], seen_parent="p", parent_id="g"), ScopeRule,
        "orchestration 'o' cannot have parent 'g', a global"),
    "move some children to one that leaves": (
        lambda s: s.reparent(["o"], seen_parent="p", parent_id="old"), Leaving,
        "project 'old' cannot become the parent of 'o': it is being removed"),
    "unlink nobody": (lambda s: s.unlink("nobody"), NotFound, "there is no instance 'nobody' to take from its parent"),
    "unlink the global": (lambda s: s.unlink("g"), ScopeRule,
        "global 'g' cannot be taken from a parent: it never has one"),
    "assess as dead": (lambda s: assess(s, "down"), Invalid, "instance 'p' cannot be assessed as 'down'"),
    "assess on evidence that is no object": (lambda s: assess_on_no_evidence(s, ["x"]), Invalid,
        r"evidence on instance 'p' is '\[\"x\"\]', which is no object"),
    "assess while another leads": (lambda s: assess(s, monitor="monitor-2"), NotLeader,
        "'monitor-2' cannot assess instance 'p': 'monitor-1' leads"),
    "assess an old incarnation": (lambda s: assess(s, incarnation=1), StaleIncarnation,
        "instance 'p' is incarnation 2 now, not 1"),
    "vouch as another than the leader": (
        lambda s: s.vouch("q", incarnation=5, value=b"{}", short_ms=0, monitor_id="two"), NotLeader,
        "'two' cannot vouch for instance 'q': 'monitor-1' leads"),
    "vouch for an old incarnation": (
        lambda s: s.vouch("q", incarnation=1, value=b"{}", short_ms=0, monitor_id=LEADER), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "disavow as another than the leader": (lambda s: s.disavow("q", incarnation=5, monitor_id="two"), NotLeader,
        "'two' cannot disavow instance 'q': 'monitor-1' leads"),
    "disavow an old incarnation": (lambda s: s.disavow("q", incarnation=1, monitor_id=LEADER), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "calm nobody": (lambda s: calm(s, "nobody", 1), NotFound, "there is no instance 'nobody'"),
    "calm an old incarnation": (lambda s: calm(s, "q", 1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "reap as another than the leader": (lambda s: reap(s, "q", monitor_id="two"), NotLeader,
        "'two' cannot remove instance 'q': 'monitor-1' leads"),
    "maintain nobody": (lambda s: s.maintain("nobody", MaintenanceRequest()), NotFound,
        "there is no instance 'nobody'"),
    "maintain until a time that has passed": (lambda s: s.maintain("q", MaintenanceRequest(until_ms=7)), Invalid,
        "until_ms of instance 'q' is 7, which has passed: it is [0-9]{13}"),
    "maintain with a reason for which there is no room": (
        lambda s: s.maintain("vast", MaintenanceRequest(reason="y" * 1500)), Invalid,
        "instance 'vast' has a record of 8[0-9]{3} bytes with this reason, and at most 8192 are stored"),
    "end the maintenance of nobody": (lambda s: s.end_maintenance("nobody"), NotFound,
        "there is no instance 'nobody'"),
    "a verb for nobody": (lambda s: s.transition("nobody", Verb.STOP), NotFound, "there is no instance 'nobody'"),
    "a verb for an old incarnation": (lambda s: s.transition("q", Verb.STOP, incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "a verb in another state than expected": (lambda s: s.transition("p", Verb.STOP, expected=State.PAUSED),
        PreconditionFailed, "instance 'p' cannot 'stop': it is running, not paused"),
    "claim a restart for nobody": (lambda s: claim(s, "nobody"), NotFound, "there is no instance 'nobody'"),
    "claim a restart for an old incarnation": (lambda s: claim(s, "q", incarnation=1), StaleIncarnation,
        "instance 'q' is incarnation 5 now, not 1"),
    "claim a restart as a monitor that does not lead": (lambda s: claim(s, "q", monitor_id="me"), NotLeader,
        "'me' cannot claim the restart of 'q': 'monitor-1' leads"),
    "claim a restart for what leaves": (lambda s: claim(s, "old", operator=True), Leaving,
        "project 'old' cannot be restarted: it is being removed"),
    "claim a restart for one that is well": (lambda s: claim(s, "q"), IllegalTransition,
        "instance 'q' cannot be restarted by its policy: it is running and healthy"),
    "claim a restart for one that was stopped": (lambda s: claim(s, "idle"), IllegalTransition,
        "instance 'idle' cannot be restarted by its policy: it is stopped and unknown"),
    "claim a restart over a claim not seen": (lambda s: claim(s, "q", seen_count=3, alive=True), Conflict,
        "instance 'q' has had 0 restarts, not 3"),
    "a verb the state has not": (lambda s: s.transition("p", Verb.STOPPED), IllegalTransition,
        "instance 'p' cannot 'stopped' to stopped: it is running"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "says"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_is_refused_changes_not_one_key_and_names_both_sides(act, kind, says, store):
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p"))
    await store.register(spec("project", "full", max_children=1))
    await store.register(spec("orchestration", "o", parent_id="p"))
    await store.register(spec("project", "q", parent_id="g"))
    await store.register(spec("orchestration", "only", parent_id="full"))
    await store.register(spec("project", "idle", state="stopped"))
    await store.register(spec("project", "old"))
    await store.register(spec("orchestration", "old-1", parent_id="old"))
    await store.leave_many(["old", "old-1"], CASCADE)
    await store.client.set(store.keys.monitor, LEADER, px=60_000)
    await store.register(spec("project", "vast", config={"x": "y" * 6500}))
    before = await dump(store.client, store.settings.namespace)
    with pytest.raises(kind, match=says) as refused:
        await act(store)
    assert type(refused.value) is kind
    assert await dump(store.client, store.settings.namespace) == before


def test_every_error_that_a_script_of_the_store_declares_is_met_in_a_test_of_this_directory():
    met = {kind for _, kind, _ in REFUSALS.values()} | {Conflict, NewerSchema, NotLeader}
    names = ("register", "update", "deregister", "link", "unlink", "transition", "open", "leave", "stay", "reparent")
    names += ("assess", "note_alerts", "claim_restart", "maintain", "end_maintenance", "reap", "calm")
    names += ("vouch", "disavow")
    declared = {BY_LUA_CODE[entry.name] for name in names for entry in script(name).header.errors}
    assert declared - met == set()
