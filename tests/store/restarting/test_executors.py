"""Executors: one at a time carries a restart out, at its time, whatever the clock does."""

import asyncio
from collections.abc import Callable

import pytest

from hopper.config import Settings
from hopper.errors import StoreFault
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim, Outcome
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore, Taking
from specs import known, spec
from store.restarting.claiming import claim, last_event
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("agrees")

LEASE_MS = 10_000


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


@pytest.fixture
async def in_maintenance(failed: InstanceStore, restarts: RestartStore) -> InstanceStore:
    """The failed Project, in maintenance since its restart was claimed."""
    await claim(restarts, Claim(1, 0, 0))
    await failed.maintain("web", MaintenanceRequest(reason="works"))
    return failed


async def test_nobody_begins_a_restart_in_maintenance(in_maintenance, restarts):
    assert await restarts.take("web", 1, executor="a") == Taking("early", LEASE_MS)
    assert await restarts.take("web", 1, executor="a", early=True) == Taking("taken", LEASE_MS)
    assert (await restarts.take("web", 1, executor="b", early=True)).outcome == "held"
    await in_maintenance.end_maintenance("web")
    assert await restarts.take("web", 1, executor="a", early=True) == Taking("taken", 0)


async def test_a_maintenance_whose_time_has_come_delays_no_restart_though_nobody_has_ended_it(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await failed.maintain("web", MaintenanceRequest(for_ms=300))
    early = await restarts.take("web", 1, executor="a")
    assert early.outcome == "early"
    assert 0 < early.left_ms <= 300

    async def taken() -> bool:
        return await restarts.take("web", 1, executor="a") == Taking("taken", 0)

    await wait_until(taken)
    assert (await known(failed, "web")).maintenance is not None


async def test_who_has_begun_when_a_maintenance_begins_goes_on(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    assert await restarts.take("web", 1, executor="a") == Taking("taken", 0)
    await failed.maintain("web", MaintenanceRequest())
    assert await restarts.take("web", 1, executor="a") == Taking("taken", 0)
    assert (await restarts.take("web", 1, executor="b")).outcome == "early"


async def test_an_operators_restart_is_carried_out_in_maintenance(failed, restarts):
    await failed.maintain("web", MaintenanceRequest())
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    assert await restarts.take("web", 1, executor="a") == Taking("taken", 0)


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
