"""Restarts in Redis: claimed once for each incarnation, carried out by one executor at a time."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from census import events
from hopper.config import Settings
from hopper.errors import Conflict, IllegalTransition, StaleIncarnation, StoreFault
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.record import encode_field
from hopper.model.restart import Claim, Exhausted, Outcome, RestartLedger
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore, Taking
from hopper.store.surveillance import Lapse, SurveillanceStore
from servers import dump
from specs import known, spec
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("agrees")

POLICY = {"mode": "on-failure", "max_restarts": 5}
FIRST = Claim(1, 2_000, 0)


@pytest.fixture
def restarts(store: InstanceStore) -> RestartStore:
    return RestartStore(store.settings, client=store.client)


@pytest.fixture
async def failed(store: InstanceStore) -> InstanceStore:
    """A Project `web` that has failed."""
    await store.register(spec("project", "web", restart=POLICY))
    await store.transition("web", Verb.FAIL)
    return store


async def claim(restarts: RestartStore, decision: Claim | Exhausted = FIRST, id: str = "web", **how: Any) -> Any:
    return await restarts.claim(await restarts.standing(id), decision, **how)


async def last_event(store: InstanceStore) -> Event:
    return (await events(store))[-1]


async def down(store: InstanceStore, id: str = "web") -> None:
    """Have an instance judged down."""
    await store.client.delete(store.keys.heartbeat(id))
    record = await known(store, id)
    async with aclosing(SurveillanceStore(store.settings)) as surveillance:
        await surveillance.pulse("me")
        seconds, _ = await store.client.time()
        lapse = Lapse(id, record.incarnation, "down", "lapsed", seconds * 1000, 1, 1, 5_000)
        ((outcome, *_),) = await surveillance.expire([lapse], monitor_id="me", expected_ms=seconds * 1000)
    assert outcome == "down"


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


# -- executors -------------------------------------------------------------------------------------------------------


async def test_one_executor_at_a_time_has_a_restart(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    taken = await asyncio.gather(*(restarts.take("web", 1, executor=f"e{n}") for n in range(20)))
    assert sorted(one.outcome for one in taken) == ["held"] * 19 + ["taken"]
    holder = (await restarts.standing("web")).ledger.executor
    assert await restarts.take("web", 1, executor=holder) == Taking("taken", 0)
    assert all(9_000 < one.left_ms <= 10_000 for one in taken if one.outcome == "held")


async def test_a_restart_whose_executor_died_is_taken_by_another_when_the_lease_ends(
    failed, new_settings: Callable[..., Settings]
):
    short = failed.settings.model_copy(update={"executor_lease_s": 0.05})
    restarts = RestartStore(short, client=failed.client)
    await claim(restarts, Claim(1, 0, 0))
    assert (await restarts.take("web", 1, executor="dead")).outcome == "taken"

    async def taken() -> bool:
        return (await restarts.take("web", 1, executor="other")).outcome == "taken"

    await wait_until(taken, 5)


async def test_nobody_restarts_before_the_time_but_who_reserves_it_has_it_until_then(failed, restarts):
    await claim(restarts, Claim(1, 60_000, 0))
    early = await restarts.take("web", 1, executor="a")
    assert early.outcome == "early"
    assert 59_000 < early.left_ms <= 60_000
    assert (await restarts.take("web", 1, executor="b", early=True)).outcome == "taken"
    held = await restarts.take("web", 1, executor="a", early=True)
    assert held.outcome == "held"
    assert 69_000 < held.left_ms <= 70_000


async def set_back(store: InstanceStore, by_ms: int = 3_600_000) -> None:
    """Let the ledger be as if Redis' clock had been set back since it was written."""
    key, names = store.keys.restarts("web"), ["claimed_at_ms", "not_before_ms", "executor_until_ms"]
    values = [int(value or 0) for value in await store.client.hmget(key, names)]
    moved = {name: value + by_ms for name, value in zip(names, values, strict=True) if value}
    await store.client.hset(key, mapping=moved)


async def test_a_clock_that_is_set_back_delays_a_restart_by_no_more_than_its_delay(failed, restarts):
    await claim(restarts, Claim(1, 300, 0))
    claimed_at_ms = (await restarts.standing("web")).ledger.claimed_at_ms
    await set_back(failed)
    assert await restarts.take("web", 1, executor="a") == Taking("early", 300)

    async def taken() -> bool:
        return (await restarts.take("web", 1, executor="a")).outcome == "taken"

    await wait_until(taken, 10)
    assert (await restarts.standing("web")).ledger.claimed_at_ms == claimed_at_ms + 3_600_000


async def test_a_ledger_of_before_is_not_delayed_by_a_clock_that_is_set_back_either(failed, restarts):
    await claim(restarts, Claim(1, 300, 0))
    await failed.client.hdel(failed.keys.restarts("web"), "delay_ms")
    await set_back(failed)
    assert await restarts.take("web", 1, executor="a") == Taking("early", 300)

    async def taken() -> bool:
        return (await restarts.take("web", 1, executor="a")).outcome == "taken"

    await wait_until(taken, 10)


async def test_the_lease_of_a_dead_executor_ends_though_the_clock_is_set_back(failed):
    short = failed.settings.model_copy(update={"executor_lease_s": 0.2})
    restarts = RestartStore(short, client=failed.client)
    await claim(restarts, Claim(1, 100, 0))
    assert (await restarts.take("web", 1, executor="dead", early=True)).outcome == "taken"
    await set_back(failed)
    assert await restarts.take("web", 1, executor="other", early=True) == Taking("held", 300)

    async def taken() -> bool:
        return (await restarts.take("web", 1, executor="other")).outcome == "taken"

    await wait_until(taken, 10)


async def test_a_new_registration_ends_the_claim(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await failed.register(spec("project", "web"))
    assert await restarts.take("web", 1, executor="a") == Taking("ended", 0)
    assert await restarts.take("web", (await known(failed, "web")).incarnation, executor="a") == Taking("ended", 0)


@pytest.mark.parametrize(
    ("outcome", "then"),
    [(Outcome.SENT, "ended"), (Outcome.CANCELLED, "ended"), (Outcome.FAILED, "taken")],
)
async def test_what_is_settled_is_taken_no_more_unless_it_failed(failed, restarts, outcome, then):
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="a")
    assert not await restarts.settle("web", 1, outcome, executor="b")
    assert not await restarts.settle("web", 2, outcome, executor="a")
    assert await restarts.settle("web", 1, outcome, executor="a")
    assert (await restarts.standing("web")).ledger.outcome is outcome
    assert (await restarts.take("web", 1, executor="a")).outcome == then


async def test_nothing_is_taken_nor_settled_where_nothing_was_claimed_and_no_ledger_is_made(failed, restarts):
    assert await restarts.take("web", 1, executor="a") == Taking("ended", 0)
    assert not await restarts.settle("web", 1, Outcome.SENT, executor="a")
    assert not await failed.client.exists(failed.keys.restarts("web"))


async def test_flap_history_in_the_same_hash_is_left_alone(failed, restarts):
    await failed.client.hset(failed.keys.restarts("web"), "flaps", "[1]")
    await claim(restarts)
    assert await failed.client.hget(failed.keys.restarts("web"), "flaps") == b"[1]"


async def test_a_ledger_that_cannot_be_read_costs_no_other_its_own(failed, restarts, tampered):
    tampered.append("restarts")
    await failed.register(spec("project", "api"))
    await failed.register(spec("project", "shop"))
    await failed.client.set(failed.keys.restarts("api"), "nonsense")
    await failed.client.hset(failed.keys.restarts("shop"), "count", "many")
    web, api, shop, nobody = await restarts.standings(["web", "api", "shop", "nobody"])
    assert web.record.id == "web"
    assert nobody.record is None
    assert isinstance(api, StoreFault)
    assert isinstance(shop, StoreFault)
    await failed.client.delete(failed.keys.restarts("api"))


async def test_an_exit_code_is_in_the_event_of_the_failure(store):
    await store.register(spec("project", "web"))
    await store.transition("web", Verb.FAIL, reason="exit", evidence={"exit_code": 3})
    assert (await last_event(store)).evidence == {"exit_code": 3}


# -- a restart that was sent, and after which nobody registers ---------------------------------------------------------


@pytest.fixture
async def sent(failed: InstanceStore, settings: Settings) -> RestartStore:
    """The restarts of a Project `web` that has failed: one was sent, and its time to register is over."""
    restarts = RestartStore(settings.model_copy(update={"restart_wait_s": 0.001}), client=failed.client)
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    assert await restarts.settle("web", 1, Outcome.SENT, executor="me")
    await wait_until(lambda: overdue(restarts))
    return restarts


async def overdue(restarts: RestartStore) -> bool:
    standing = await restarts.standing("web")
    return standing.record is not None and standing.ledger.in_vain(standing.record, standing.now_ms)


async def test_a_restart_in_vain_is_claimed_anew_and_the_event_says_so(failed, sent):
    ledger = (await sent.standing("web")).ledger
    done = await claim(sent, Claim(2, 0, 0), reason="not-registered")
    assert (done.outcome, done.count) == ("claimed", 2)
    evidence = (await last_event(failed)).evidence
    assert (evidence["count"], evidence["sent_at_ms"]) == (2, ledger.settled_at_ms)
    assert evidence["register_by_ms"] == ledger.register_by_ms == ledger.settled_at_ms + 1
    renewed = (await sent.standing("web")).ledger
    assert (renewed.outcome, renewed.settled_at_ms, renewed.register_by_ms) == (Outcome.CLAIMED, 0, 0)


async def test_many_claim_a_restart_in_vain_anew_and_there_is_one(sent):
    standing = await sent.standing("web")
    done = await asyncio.gather(*(sent.claim(standing, Claim(2, 0, 0)) for _ in range(20)))
    assert sorted(one.outcome for one in done) == ["claimed"] + ["repeat"] * 19


async def test_a_restart_that_was_sent_is_not_claimed_anew_before_its_time(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.SENT, executor="me")
    assert (await claim(restarts, Claim(2, 0, 0))).outcome == "repeat"


async def test_one_that_has_registered_is_not_claimed_anew(failed, sent):
    seen = await sent.standing("web")
    await failed.register(spec("project", "web", restart=POLICY))
    with pytest.raises(StaleIncarnation):
        await sent.claim(seen, Claim(2, 0, 0))


async def test_a_restart_of_one_that_lives_is_never_in_vain(store, settings):
    restarts = RestartStore(settings.model_copy(update={"restart_wait_s": 0.001}), client=store.client)
    await store.register(spec("project", "web", restart=POLICY))
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.SENT, executor="me")
    standing = await restarts.standing("web")
    assert not standing.ledger.in_vain(standing.record, standing.now_ms + 60_000)


async def test_the_ledger_says_why_a_restart_failed(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.FAILED, executor="me", detail="nobody listens")
    ledger = (await restarts.standing("web")).ledger
    assert (ledger.outcome, ledger.detail, ledger.register_by_ms) == (Outcome.FAILED, "nobody listens", 0)
    assert ledger.settled_at_ms >= ledger.claimed_at_ms > 0
