"""Claims: one for each incarnation, until its restarts are used up."""

import asyncio
from dataclasses import replace

import pytest

from hopper.errors import Conflict, IllegalTransition
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import encode_field
from hopper.model.restart import Claim, Exhausted, Outcome, RestartLedger
from hopper.model.state import State, Verb
from hopper.store.restarting import Taking
from servers import dump
from specs import known, spec
from store.restarting.claiming import FIRST, POLICY, claim, down, last_event

pytestmark = pytest.mark.usefixtures("agrees")


async def test_a_claim_is_one_event_and_stands_in_the_record_and_in_the_ledger(failed, restarts):
    done = await claim(restarts, reason="exit", actor="me")
    assert (done.outcome, done.count) == ("claimed", 1)
    event = await last_event(failed)
    assert (event.type, event.reason, event.actor, event.revision) == (
        EventType.RESTART_CLAIMED, "exit", "me", done.revision)  # fmt: skip
    assert event.previous == {"restarts": 0}
    assert event.evidence == {
        "count": 1, "max_restarts": 5, "delay_ms": 2000, "not_before_ms": event.at_ms + 2000, "incarnation": 1,
        "mode": "on-failure",
    }  # fmt: skip
    standing = await restarts.standing("web")
    assert (standing.record.state, standing.record.restarts) == (State.FAILED, 1)
    assert standing.ledger == RestartLedger(
        count=1, incarnation=1, revision=event.revision, claimed_at_ms=event.at_ms,
        not_before_ms=event.at_ms + 2000, reason="exit", outcome=Outcome.CLAIMED,
    )  # fmt: skip
    assert done.not_before_ms == event.at_ms + 2000


async def test_a_second_claim_of_an_incarnation_is_answered_by_the_first_and_changes_nothing(failed, restarts):
    first = await claim(restarts)
    before = await dump(failed.client, failed.settings.namespace)
    again = await claim(restarts, Claim(2, 9_000, 0))
    assert replace(again, outcome="claimed") == first
    assert again.outcome == "repeat"
    after = await dump(failed.client, failed.settings.namespace)
    assert {key for key in after if ":request:" not in key} == {key for key in before if ":request:" not in key}
    assert (await failed.position()).revision == first.revision


@pytest.mark.parametrize("decision", [FIRST, Exhausted(5)])
async def test_whether_a_claim_stands_for_an_incarnation_is_told_by_the_ledger_alone(decision, failed, restarts):
    incarnation = (await known(failed, "web")).incarnation
    assert not await restarts.stands("web", incarnation)
    await claim(restarts, decision)
    assert await restarts.stands("web", incarnation)
    assert not await restarts.stands("web", incarnation + 1)


async def test_many_claim_at_once_and_there_is_one(failed, restarts):
    standing = await restarts.standing("web")
    done = await asyncio.gather(*(restarts.claim(standing, FIRST) for _ in range(20)))
    assert sorted(one.outcome for one in done) == ["claimed"] + ["repeat"] * 19
    assert len({(one.count, one.not_before_ms) for one in done}) == 1


async def test_a_new_incarnation_has_a_claim_of_its_own_and_the_ledger_goes_on(failed, restarts):
    await claim(restarts)
    seen = await restarts.standing("web")
    await failed.register(spec("project", "web", restart=POLICY))
    await failed.transition("web", Verb.FAIL)
    with pytest.raises(Conflict):
        await restarts.claim(replace(await restarts.standing("web"), ledger=RestartLedger()), FIRST)
    assert (await claim(restarts, Claim(2, 0, 0))).outcome == "claimed"
    standing = await restarts.standing("web")
    assert (standing.ledger.count, standing.record.restarts) == (2, 2)
    assert standing.ledger.incarnation == standing.record.incarnation > seen.ledger.incarnation


async def test_a_claim_of_a_down_one_makes_it_failed_and_its_heartbeat_counts_no_more(store, restarts):
    await store.register(spec("project", "web", restart=POLICY))
    await down(store)
    await claim(restarts, monitor_id="me")
    record = await known(store, "web")
    assert (record.state, record.health) == (State.FAILED, Health.UNKNOWN)
    assert record.stopped_at_ms == record.updated_at_ms
    assert await store.client.scard(store.keys.down) == 0
    assert (await last_event(store)).previous.keys() == {"state", "health", "stopped_at_ms", "restarts"}


async def test_a_down_one_that_heartbeats_again_is_not_claimed(store, restarts):
    await store.register(spec("project", "web", restart=POLICY))
    await down(store)
    await store.heartbeat("web", ttl_ms=15_000)
    with pytest.raises(IllegalTransition, match="it is running and down"):
        await claim(restarts)


async def test_one_that_stopped_is_claimed_where_its_mode_is_always(store, restarts):
    await store.register(spec("project", "web", state="stopped", restart={"mode": "always"}))
    assert (await claim(restarts)).outcome == "claimed"
    assert (await known(store, "web")).state is State.STOPPED


@pytest.mark.parametrize("state", ["failed", "stopped", "down"])
async def test_restarts_that_are_used_up_are_told_once_and_it_stays_failed(store, restarts, state):
    await store.register(spec("project", "web", restart={**POLICY, "mode": "always"}))
    for verb in {"failed": [Verb.FAIL], "stopped": [Verb.STOP, Verb.STOPPED], "down": []}[state]:
        await store.transition("web", verb)
    if state == "down":
        await down(store)
    done = await claim(restarts, Exhausted(0), reason="exit")
    assert (done.outcome, (await claim(restarts)).outcome) == ("exhausted", "repeat")
    event = await last_event(store)
    assert (event.type, event.reason, event.revision) == (EventType.RESTART_EXHAUSTED, "exit", done.revision)
    standing = await restarts.standing("web")
    assert (standing.record.state, standing.record.health, standing.record.restarts) == ("failed", "unknown", 0)
    assert standing.ledger.is_exhausted(standing.record.incarnation)
    assert await store.client.scard(store.keys.down) == 0


async def test_restarts_of_one_that_lives_are_never_used_up(store, restarts):
    await store.register(spec("project", "web", restart=POLICY))
    with pytest.raises(IllegalTransition, match="it is running and healthy"):
        await claim(restarts, Exhausted(5), alive=True, reason="children")
    assert not (await restarts.standing("web")).ledger.stands(1)
    await store.transition("web", Verb.FAIL)
    assert (await claim(restarts, Exhausted(5), alive=True)).outcome == "exhausted"


@pytest.mark.parametrize(
    ("until", "allowed"), [(None, False), (60_000, False), (-60_000, True)], ids=["for good", "still", "no longer"]
)
async def test_nobody_is_restarted_by_policy_in_maintenance_but_by_an_operator(
    failed, restarts, tampered, until, allowed
):
    tampered.append("maintenance")
    seconds, _ = await failed.client.time()
    mark = Maintenance("works", None if until is None else seconds * 1000 + until)
    await failed.client.hset(failed.keys.record("web"), "maintenance", encode_field("maintenance", mark))
    if not allowed:
        with pytest.raises(IllegalTransition, match="'web' cannot be restarted by its policy: it is in maintenance"):
            await claim(restarts)
        assert (await claim(restarts, alive=True, operator=True)).outcome == "claimed"
    else:
        assert (await claim(restarts)).outcome == "claimed"


async def test_an_operator_restarts_one_that_is_well_and_leaves_it_as_it_is(store, restarts):
    await store.register(spec("project", "web"))
    done = await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    record = await known(store, "web")
    assert (record.state, record.health, record.restarts) == (State.RUNNING, Health.HEALTHY, 1)
    event = await last_event(store)
    assert (event.evidence["mode"], event.evidence["not_before_ms"]) == ("never", event.at_ms)
    assert (await store.read_heartbeat("web"))[1] > 0
    repeat = await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    assert (repeat.outcome, repeat.revision) == ("repeat", done.revision)


@pytest.mark.parametrize("earlier", ["claimed", "exhausted", "sent"])
async def test_an_operators_claim_takes_the_place_of_another_and_the_count_begins_anew(failed, restarts, earlier):
    await claim(restarts, Exhausted(0) if earlier == "exhausted" else Claim(3, 60_000, 0))
    if earlier == "sent":
        await restarts.take("web", 1, executor="a", early=True)
        await restarts.settle("web", 1, Outcome.SENT, executor="a")
    done = await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    assert (done.outcome, done.count) == ("claimed", 0)
    assert await restarts.take("web", 1, executor="b") == Taking("taken", 0)
