"""The script that removes what is down: it has the last word, and what speaks for an instance keeps it."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from census import events
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.policy import Wish
from hopper.model.restart import Claim, Outcome
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from hopper.store.surveillance import SurveillanceStore
from specs import known, patching, spec
from store.verdicts import ME, judge, revive

pytestmark = pytest.mark.usefixtures("agrees")

MARK = Departure(children=ChildrenMode.ORPHAN, wish=Wish(name="p"), reaped=True)


@pytest.fixture
async def down(store: InstanceStore, surveillance: SurveillanceStore) -> InstanceStore:
    """p under g, judged down."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    await judge(store, surveillance, "p")
    return store


async def test_one_that_is_down_goes_and_its_event_says_for_how_long_it_was(down):
    record = await known(down, "p")
    outcome = await down.reap(record, MARK, monitor_id=ME, reason="reaped", actor="monitor")
    event = (await events(down))[-1]
    assert outcome == ("removed", event.revision)
    assert (event.type, event.id, event.reason, event.actor) == ("deregistered", "p", "reaped", "monitor")
    assert event.evidence == {"down_at_ms": record.down_at_ms, "down_ms": event.at_ms - record.down_at_ms}
    assert await down.reap(record, MARK, monitor_id=ME) == ("gone", event.revision)


async def test_a_global_that_goes_frees_its_place(store, surveillance):
    await store.register(spec("global", "g"))
    await judge(store, surveillance, "g")
    assert (await store.reap(await known(store, "g"), MARK, monitor_id=ME))[0] == "removed"
    await store.register(spec("global", "g2"))


async def beats(store: InstanceStore) -> None:
    await store.heartbeat("p", ttl_ms=15_000)


async def registers(store: InstanceStore) -> None:
    await store.register(spec("project", "p"))


async def moves(store: InstanceStore) -> None:
    await store.unlink("p")


async def rests(store: InstanceStore) -> None:
    await store.maintain("p", MaintenanceRequest())


async def leaves(store: InstanceStore) -> None:
    await store.leave("p", Departure(children=ChildrenMode.CASCADE))


async def holds(store: InstanceStore) -> None:
    async with contextlib.aclosing(SurveillanceStore(store.settings)) as surveillance:
        await surveillance.start_hold(monitor_id=ME, reason="why", since_ms=1)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        (beats, "alive"),
        (registers, "gone"),
        (moves, "moved"),
        (rests, "spared"),
        (leaves, "leaving"),
        (holds, "spared"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_one_for_which_something_speaks_since_the_look_stays(
    what: Callable[[InstanceStore], Awaitable[None]], outcome: str, down: InstanceStore
) -> None:
    record = await known(down, "p")
    await what(down)
    revision = (await down.position()).revision
    assert await down.reap(record, MARK, monitor_id=ME) == (outcome, revision)
    assert await down.read("p") is not None
    assert (await down.position()).revision == revision


async def test_one_that_came_back_and_went_down_again_stays_until_its_own_time(down, surveillance):
    record = await known(down, "p")
    await revive(down, surveillance, "p")
    await judge(down, surveillance, "p")
    again = await known(down, "p")
    if again.down_at_ms != record.down_at_ms:
        assert (await down.reap(record, MARK, monitor_id=ME))[0] == "alive"
    assert (await down.reap(replace(again, down_at_ms=again.down_at_ms - 1), MARK, monitor_id=ME))[0] == "alive"
    assert await down.read("p") is not None


async def test_one_with_children_is_only_marked_and_goes_when_it_has_none(down):
    await down.register(spec("orchestration", "plain", parent_id="p"))
    await down.register(spec("orchestration", "picky", parent_id="p", wish={"tags": ["eu"]}))
    record = await known(down, "p")
    outcome, revision = await down.reap(record, MARK, monitor_id=ME)
    marked = await known(down, "p")
    assert (outcome, marked.leaving, marked.revision) == ("marked", MARK, revision)
    assert await down.reap(marked, MARK, monitor_id=ME) == ("marked", revision)
    moved = await down.reparent(["plain", "picky"], seen_parent="p", parent_id=None, wish=MARK.wish, keep_wishes=True)
    assert moved == ["moved", "moved"]
    assert (await known(down, "plain")).wish == Wish(name="p")
    assert (await known(down, "picky")).wish == Wish(tags=("eu",))
    assert (await down.reap(marked, MARK))[0] == "removed"


# -- failed by a claim -------------------------------------------------------------------------------------------------


async def claimed(store: InstanceStore, delay_ms: int = 0) -> RestartStore:
    """The restarts in which that of p is claimed."""
    restarts = RestartStore(store.settings, client=store.client)
    await restarts.claim(await restarts.standing("p"), Claim(1, delay_ms, 0), operator=True)
    return restarts


async def test_one_whose_restart_was_claimed_when_it_was_down_goes_as_one_that_is_down(down):
    before = await known(down, "p")
    await claimed(down)
    record = await known(down, "p")
    assert (record.state, record.down_at_ms) == ("failed", before.down_at_ms)
    assert (await down.reap(record, MARK, monitor_id=ME))[0] == "removed"


async def test_one_whose_restart_is_to_come_or_is_carried_out_stays(down):
    restarts = await claimed(down, 60_000)
    record = await known(down, "p")
    assert (await down.reap(record, MARK, monitor_id=ME))[0] == "spared"
    await down.client.hset(down.keys.restarts("p"), mapping={"not_before_ms": 1})
    assert (await restarts.take("p", record.incarnation, executor="e")).outcome == "taken"
    assert (await down.reap(record, MARK, monitor_id=ME))[0] == "spared"
    await restarts.settle("p", record.incarnation, Outcome.SENT, executor="e")
    assert (await down.reap(record, MARK, monitor_id=ME))[0] == "removed"


@pytest.mark.parametrize(
    ("what", "outcome"),
    [(beats, "alive"), (registers, "gone"), (moves, "moved"), (rests, "spared"), (holds, "spared")],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_one_that_failed_by_a_claim_stays_too_where_something_speaks_for_it(what, outcome, down, tampered):
    tampered += ["heartbeat"] if what is beats else []
    await claimed(down)
    record = await known(down, "p")
    await what(down)
    assert (await down.reap(record, MARK, monitor_id=ME))[0] == outcome


async def test_one_that_failed_by_itself_stays(store, surveillance):
    await store.register(spec("project", "p"))
    await store.transition("p", Verb.FAIL)
    await claimed(store)
    assert (await store.reap(await known(store, "p"), MARK, monitor_id=ME))[0] == "alive"


async def test_one_that_was_said_to_have_failed_while_it_was_down_stays(down):
    await down.transition("p", Verb.FAIL)
    assert (await down.reap(await known(down, "p"), MARK, monitor_id=ME))[0] == "alive"


# -- down, and to be restarted by its policy ---------------------------------------------------------------------------

POLICY = {"mode": "on-failure"}


async def test_one_whose_restart_is_due_stays_until_it_is_claimed(down):
    await down.update("p", patching(restart=POLICY))
    record = await known(down, "p")
    assert await down.reap(record, MARK, monitor_id=ME) == ("spared", record.revision)
    await claimed(down)
    assert (await down.reap(await known(down, "p"), MARK, monitor_id=ME))[0] == "removed"


async def test_one_that_its_policy_never_restarts_goes(down):
    await down.update("p", patching(restart={"mode": "never"}))
    assert (await down.reap(await known(down, "p"), MARK, monitor_id=ME))[0] == "removed"


@pytest.mark.parametrize(
    ("delay_ms", "settled", "outcome"),
    [
        (60_000, None, "spared"),
        (0, None, "removed"),
        (0, Outcome.FAILED, "removed"),
        (0, Outcome.SENT, "spared"),
        (0, Outcome.CANCELLED, "spared"),
    ],
    ids=["to come", "taken by nobody", "not carried out", "sent", "given up"],
)
async def test_one_that_has_died_after_a_claim_goes_where_its_policy_claims_no_other(
    delay_ms, settled, outcome, store, surveillance
):
    await store.register(spec("project", "p", restart=POLICY))
    restarts = RestartStore(store.settings, client=store.client)
    await restarts.claim(await restarts.standing("p"), Claim(0, delay_ms, 0), alive=True, operator=True)
    if settled is not None:
        await restarts.take("p", 1, executor="e")
        await restarts.settle("p", 1, settled, executor="e")
    await judge(store, surveillance, "p")
    assert (await store.reap(await known(store, "p"), MARK, monitor_id=ME))[0] == outcome


async def test_one_that_is_marked_goes_though_it_has_a_policy_by_then(down):
    """Nobody restarts what is leaving."""
    await down.register(spec("orchestration", "o", parent_id="p"))
    assert (await down.reap(await known(down, "p"), MARK, monitor_id=ME))[0] == "marked"
    await down.unlink("o")
    await down.update("p", patching(restart=POLICY))
    assert (await down.reap(await known(down, "p"), MARK, monitor_id=ME))[0] == "removed"
