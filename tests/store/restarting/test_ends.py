"""Claims that have come to an end: their instance was started by hand, or has died after they came to nothing."""

from typing import Any

import pytest

from census import events
from hopper.config import Settings
from hopper.errors import StoreFault
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim, Exhausted, Outcome, RestartLedger
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import Claimed, RestartStore, Taking
from hopper.store.surveillance import SurveillanceStore
from servers import dump
from specs import known, spec
from store.verdicts import judge
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("agrees")

POLICY = {"mode": "on-failure", "max_restarts": 5}


@pytest.fixture
def restarts(store: InstanceStore, settings: Settings) -> RestartStore:
    """Restarts whose time to register is over at once."""
    return RestartStore(settings.model_copy(update={"restart_wait_s": 0.001}), client=store.client)


@pytest.fixture
async def web(store: InstanceStore) -> InstanceStore:
    """A Project `web` that runs."""
    await store.register(spec("project", "web", restart=POLICY))
    return store


async def claim(restarts: RestartStore, decision: Claim | Exhausted, **how: Any) -> Claimed:
    return await restarts.claim(await restarts.standing("web"), decision, **how)


async def settle(restarts: RestartStore, outcome: Outcome) -> None:
    await restarts.take("web", 1, executor="me")
    assert await restarts.settle("web", 1, outcome, executor="me")


async def overdue(restarts: RestartStore) -> bool:
    standing = await restarts.standing("web")
    return standing.now_ms > standing.ledger.register_by_ms


# -- started by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.CLAIMED, Outcome.SENT, Outcome.FAILED, Outcome.CANCELLED], ids=str)
async def test_a_start_ends_the_claim_and_the_next_failure_has_its_own(outcome, web, restarts):
    await web.transition("web", Verb.FAIL)
    await claim(restarts, Claim(2, 0, 0))
    if outcome is not Outcome.CLAIMED:
        await settle(restarts, outcome)
    started = await web.transition("web", Verb.START)
    assert (await restarts.standing("web")).ledger == RestartLedger(count=2, started_revision=started)
    assert await restarts.take("web", 1, executor="me") == Taking("ended", 0)
    await web.transition("web", Verb.FAIL)
    done = await claim(restarts, Claim(3, 0, 0))
    assert (done.outcome, done.count) == ("claimed", 3)
    assert (await restarts.take("web", 1, executor="other")).outcome == "taken"


async def test_a_start_of_one_whose_restarts_were_used_up_begins_a_new_count(web, restarts):
    await web.client.hset(web.keys.restarts("web"), mapping={"count": "5", "flaps": "[1]"})
    await web.transition("web", Verb.FAIL)
    assert (await claim(restarts, Exhausted(5))).outcome == "exhausted"
    started = await web.transition("web", Verb.START)
    assert (await restarts.standing("web")).ledger == RestartLedger(started_revision=started)
    assert (await web.client.hgetall(web.keys.restarts("web"))).keys() == {b"count", b"flaps", b"started_revision"}
    await web.transition("web", Verb.FAIL)
    assert (await claim(restarts, Claim(1, 0, 0))).outcome == "claimed"


async def test_an_executor_that_is_busy_while_it_is_started_settles_nothing(web, restarts):
    await web.transition("web", Verb.FAIL)
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    await web.transition("web", Verb.START)
    assert not await restarts.settle("web", 1, Outcome.SENT, executor="me")
    assert not (await restarts.standing("web")).ledger.stands(1)


async def test_an_operators_claim_of_one_that_is_stopped_ends_with_its_start_too(store, restarts):
    await store.register(spec("project", "web", state="stopped"))
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True)
    await store.transition("web", Verb.START)
    assert await restarts.take("web", 1, executor="me") == Taking("ended", 0)


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.FAIL], ids=str)
async def test_no_other_verb_but_stop_ends_a_claim(verb, web, restarts):
    await claim(restarts, Claim(1, 0, 0), alive=True)
    await web.transition("web", verb)
    assert (await restarts.standing("web")).ledger.is_open(1)


async def nobody_has_it(restarts: RestartStore) -> None:
    await claim(restarts, Claim(1, 0, 0), alive=True)


async def it_is_reserved(restarts: RestartStore) -> None:
    await claim(restarts, Claim(1, 60_000, 0), alive=True)
    assert (await restarts.take("web", 1, executor="me", early=True)).outcome == "taken"


async def it_could_not_be_carried_out(restarts: RestartStore) -> None:
    await claim(restarts, Claim(1, 0, 0), alive=True)
    await settle(restarts, Outcome.FAILED)


async def it_is_reserved_in_maintenance(restarts: RestartStore) -> None:
    await claim(restarts, Claim(1, 0, 0), alive=True)
    await InstanceStore(restarts.settings, client=restarts.client).maintain("web", MaintenanceRequest())
    assert (await restarts.take("web", 1, executor="me", early=True)).left_ms > 0


async def its_executor_died(restarts: RestartStore) -> None:
    await claim(restarts, Claim(1, 0, 0), alive=True)
    short = RestartStore(restarts.settings.model_copy(update={"executor_lease_s": 0.001}), client=restarts.client)
    await short.take("web", 1, executor="dead")
    until_ms = (await restarts.standing("web")).ledger.executor_until_ms
    await wait_until(lambda: later(restarts, until_ms))


@pytest.mark.parametrize(
    "so_far",
    [nobody_has_it, it_is_reserved, it_is_reserved_in_maintenance, it_could_not_be_carried_out, its_executor_died],
    ids=lambda so_far: so_far.__name__,
)
async def test_who_is_asked_to_stop_is_not_restarted_after_that(so_far, web, restarts):
    await so_far(restarts)
    await web.transition("web", Verb.STOP)
    assert not (await restarts.standing("web")).ledger.stands(1)
    assert await restarts.take("web", 1, executor="me") == Taking("ended", 0)


async def test_who_stops_since_it_is_being_restarted_is(web, restarts):
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    await restarts.take("web", 1, executor="me")
    await web.transition("web", Verb.STOP)
    await web.transition("web", Verb.STOPPED)
    assert await restarts.settle("web", 1, Outcome.SENT, executor="me")


async def test_who_stops_since_it_is_being_restarted_is_also_where_that_has_failed_before(web, restarts):
    await it_could_not_be_carried_out(restarts)
    await restarts.take("web", 1, executor="me")
    await web.transition("web", Verb.STOP)
    assert await restarts.settle("web", 1, Outcome.SENT, executor="me")


async def test_a_start_of_one_that_never_had_a_claim_makes_no_ledger(store):
    await store.register(spec("orchestration", "job", state="created"))
    await store.transition("job", Verb.START)
    assert not await store.client.exists(store.keys.restarts("job"))


async def test_a_start_changes_nothing_where_the_ledger_cannot_be_read(web, tampered):
    tampered.append("restarts")
    await web.transition("web", Verb.FAIL)
    await web.client.set(web.keys.restarts("web"), "nonsense")
    before = await dump(web.client, web.settings.namespace)
    with pytest.raises(StoreFault, match="WRONGTYPE"):
        await web.transition("web", Verb.START)
    assert await dump(web.client, web.settings.namespace) == before
    await web.client.delete(web.keys.restarts("web"))


async def test_who_means_an_earlier_claim_of_an_incarnation_neither_takes_nor_settles_a_later_one(web, restarts):
    await web.transition("web", Verb.FAIL)
    await claim(restarts, Claim(1, 0, 0))
    first = (await restarts.standing("web")).ledger.claimed_at_ms
    await wait_until(lambda: later(restarts, first))
    await claim(restarts, Claim(0, 0, 0), operator=True, reason="operator")
    second = (await restarts.standing("web")).ledger.claimed_at_ms
    assert await restarts.take("web", 1, executor="me", claimed_at_ms=first) == Taking("ended", 0)
    assert (await restarts.take("web", 1, executor="me", claimed_at_ms=second)).outcome == "taken"
    assert not await restarts.settle("web", 1, Outcome.SENT, executor="me", claimed_at_ms=first)
    assert (await restarts.standing("web")).ledger.is_open(1)
    assert await restarts.settle("web", 1, Outcome.SENT, executor="me", claimed_at_ms=second)


async def later(restarts: RestartStore, at_ms: int) -> bool:
    return (await restarts.standing("web")).now_ms > at_ms


# -- claimed while it lived --------------------------------------------------------------------------------------------


async def died(store: InstanceStore, surveillance: SurveillanceStore, how: str) -> None:
    if how == "failed":
        await store.transition("web", Verb.FAIL)
    else:
        await judge(store, surveillance, "web")


@pytest.mark.parametrize("how", ["failed", "down"])
async def test_a_restart_of_one_that_lived_and_came_to_nothing_is_none_for_its_death(how, web, restarts, surveillance):
    await claim(restarts, Claim(1, 0, 0), alive=True, reason="children")
    assert (await restarts.standing("web")).ledger.alive
    await settle(restarts, Outcome.SENT)
    await wait_until(lambda: overdue(restarts))
    assert (await claim(restarts, Claim(2, 0, 0), alive=True)).outcome == "repeat"
    await died(web, surveillance, how)
    assert (await claim(restarts, Claim(2, 0, 0), reason="lapsed")).outcome == "claimed"
    assert "register_by_ms" not in (await events(web))[-1].evidence
    assert (await known(web, "web")).state is State.FAILED
    ledger = (await restarts.standing("web")).ledger
    assert (ledger.alive, ledger.count, ledger.outcome) == (False, 2, Outcome.CLAIMED)


@pytest.mark.parametrize("how", ["failed", "down"])
async def test_the_death_within_the_time_to_register_is_that_of_the_restart(how, web, store, surveillance):
    """Whoever restarts an instance ends it before: that is no failure."""
    patient = RestartStore(store.settings, client=store.client)
    await claim(patient, Claim(0, 0, 0), alive=True, operator=True)
    await settle(patient, Outcome.SENT)
    await died(web, surveillance, how)
    assert (await claim(patient, Claim(1, 0, 0))).outcome == "repeat"


@pytest.mark.parametrize("how", ["failed", "down"])
async def test_a_restart_that_was_given_up_while_it_lived_is_none_for_its_death(how, web, restarts, surveillance):
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True)
    await settle(restarts, Outcome.CANCELLED)
    assert (await claim(restarts, Claim(1, 0, 0), alive=True)).outcome == "repeat"
    await died(web, surveillance, how)
    assert (await claim(restarts, Claim(1, 0, 0))).outcome == "claimed"


@pytest.mark.parametrize("how", ["failed", "down"])
async def test_a_restart_that_is_to_come_is_that_of_its_death_too(how, web, restarts, surveillance):
    await claim(restarts, Claim(0, 60_000, 0), alive=True, operator=True)
    await died(web, surveillance, how)
    assert (await claim(restarts, Claim(1, 0, 0))).outcome == "repeat"
