"""An executor: one call for a claim at a time, and none again because Redis did not take down what became of it."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from busy import busy
from hopper import InstanceRegistry
from hopper.config import Settings
from hopper.errors import StoreFault, Unavailable
from hopper.instance.restart.executor import Executor
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.restart import Outcome, RestartLedger
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from instance.failures import POLICY, SETTLE_S, outcome_of, stands
from instance.lapses import now_ms
from specs import known, spec
from waiting import wait_until

LEASE_S = 1.0


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": LEASE_S})


class Calls:
    """A callback that waits for its gate, and counts how often it is called, and how often at once."""

    def __init__(self) -> None:
        self.claims: list[int] = []
        self.ids: list[str] = []
        self.gate = asyncio.Event()
        self.at_once: list[int] = []
        self._running = 0

    async def __call__(self, record: Record, claim: RestartLedger) -> None:
        self.ids.append(record.id)
        self.claims.append(claim.claimed_at_ms)
        self._running += 1
        self.at_once.append(self._running)
        await self.gate.wait()
        self._running -= 1


async def claimed(store: InstanceStore, id: str = "web") -> Record:
    """One that has failed, its restart claimed."""
    await store.register(spec("project", id, restart=POLICY))
    await store.transition(id, Verb.FAIL)
    record = await known(store, id)
    await Restarts(store).claim(id, incarnation=record.incarnation, reason="exit")
    return record


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose standing was read, in the order of that: by an executor, or by whoever claims."""
    original, told = RestartStore.standings, []

    async def standings(self: RestartStore, ids: Any) -> Any:
        found = await original(self, ids)
        told.extend(ids)
        return found

    monkeypatch.setattr(RestartStore, "standings", standings)
    return told


def executor_of(registry: InstanceRegistry) -> Executor:
    return registry.restart_callbacks._executor


async def a_second_callback(registry: InstanceRegistry, record: Record) -> None:
    registry.on_restart(lambda *_: None)


async def a_gap_in_the_log(registry: InstanceRegistry, record: Record) -> None:
    event = Event(revision=9, type=EventType.UPDATED, id="web", at_ms=0, record=record, resync=True)
    executor_of(registry).take([event])


@pytest.mark.parametrize("look", [a_second_callback, a_gap_in_the_log], ids=lambda look: look.__name__)
async def test_a_slow_callback_is_not_called_again_meanwhile(look, settings, store, looks):
    calls = Calls()
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(calls)
        record = await claimed(store)
        await wait_until(lambda: calls.ids)
        before = looks.count("web")
        await look(registry, record)
        await wait_until(lambda: looks.count("web") > before and len(executor_of(registry)._agenda) == 0)
        await claimed(store, "other")
        await wait_until(lambda: "other" in calls.ids)
        calls.gate.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert calls.ids == ["web", "other"]


class Losses:
    """Settlements that fail: before they are written down, or after."""

    def __init__(self, count: int, error: Callable[[str], Exception], *, applied: bool) -> None:
        self.left = count
        self.error = error
        self.applied = applied
        self._settle = RestartStore.settle

    async def __call__(self, store: RestartStore, *arguments: Any, **more: Any) -> bool:
        self.left -= 1
        if self.left >= 0:
            if self.applied:
                await self._settle(store, *arguments, **more)
            raise self.error("cut")
        return await self._settle(store, *arguments, **more)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Losses]:
    def lose(count: int, error: Callable[[str], Exception] = Unavailable, *, applied: bool = False) -> Losses:
        lost = Losses(count, error, applied=applied)

        async def settle(self: RestartStore, *arguments: Any, **more: Any) -> bool:
            return await lost(self, *arguments, **more)

        monkeypatch.setattr(RestartStore, "settle", settle)
        return lost

    return lose


@pytest.mark.parametrize("error", [Unavailable, StoreFault, TypeError])
@pytest.mark.parametrize("applied", [False, True], ids=["request", "reply"])
async def test_a_settlement_that_is_lost_calls_nobody_again(applied, error, settings, store, losses):
    calls = Calls()
    calls.gate.set()
    lost = losses(2, error, applied=applied)
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(calls)
        await claimed(store)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT), 20)
        await wait_until(lambda: not executor_of(registry)._done, 20)
    assert calls.ids == ["web"]
    assert lost.left < 2


async def test_a_settlement_that_is_lost_is_made_by_one_that_acts_no_more(settings, store, losses):
    acts, carried_out = True, []

    async def carry_out(record: Record, ledger: RestartLedger) -> None:
        nonlocal acts
        acts = False
        carried_out.append(record.id)

    losses(1, StoreFault)
    async with InstanceRegistry(settings) as registry, asyncio.TaskGroup() as tasks:
        executor = Executor(
            registry.view,
            Restarts(store).store,
            carry_out,
            wants=lambda _: True,
            candidates=lambda: list(registry.view.replica.records.values()),
            acts=lambda: acts,
        )
        record = await claimed(store)
        await registry.view.reach(record.revision)
        running = tasks.create_task(executor.run())
        executor.begin()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        running.cancel()
    assert carried_out == ["web"]


async def test_one_whom_another_has_taken_the_claim_from_and_died_over_does_not_call_again(settings, store, losses):
    calls = Calls()
    losses(1, StoreFault)
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(calls)
        await claimed(store)
        await wait_until(lambda: calls.ids)
        until_ms = await now_ms(store.client) + 500
        taken = {"executor": "other", "executor_until_ms": until_ms}
        await store.client.hset(store.keys.restarts("web"), mapping=taken)
        calls.gate.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        assert await now_ms(store.client) >= until_ms
    assert calls.ids == ["web"]


async def test_another_claim_of_the_same_incarnation_has_a_call_and_an_outcome_of_its_own(settings, store):
    calls = Calls()
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(calls)
        await claimed(store)
        await wait_until(lambda: len(calls.ids) == 1)
        await Restarts(store).request("web")
        await wait_until(lambda: len(calls.ids) == 2)
        assert await outcome_of(store, "web", Outcome.CLAIMED)
        calls.gate.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert calls.claims == sorted(set(calls.claims))


async def test_the_end_of_a_call_settles_no_later_claim(settings, store):
    """Its instance was started by hand and has failed again before the call has ended."""
    first, second = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def start(record: Record, claim: RestartLedger) -> None:
        calls.append(claim.reason)
        await (first if len(calls) == 1 else second).wait()

    async with InstanceRegistry(settings) as registry:
        registry.on_restart(start)
        record = await claimed(store)
        await wait_until(lambda: len(calls) == 1)
        await store.transition("web", Verb.START)
        await store.transition("web", Verb.FAIL)
        await Restarts(store).claim("web", incarnation=record.incarnation, reason="again")
        await wait_until(lambda: len(calls) == 2)
        first.set()
        await wait_until(lambda: len(executor_of(registry)._busy) == 1)
        assert await outcome_of(store, "web", Outcome.CLAIMED)
        second.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        await wait_until(lambda: not executor_of(registry)._done)
    assert calls == ["exit", "again"]


async def test_one_that_was_started_by_hand_just_before_its_call_is_not_called_for(settings, store, monkeypatch):
    original, calls = RestartStore.take, Calls()

    async def take(self: RestartStore, id: str, incarnation: int, **more: Any) -> Any:
        taken = await original(self, id, incarnation, **more)
        if taken.outcome == "taken":
            await store.transition(id, Verb.START)
        return taken

    monkeypatch.setattr(RestartStore, "take", take)
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(calls)
        await claimed(store)
        await wait_until(lambda: no_claim(store))
        await wait_until(lambda: not executor_of(registry)._busy and len(executor_of(registry)._agenda) == 0)
    assert calls.ids == []


async def no_claim(store: InstanceStore) -> bool:
    return not await stands(store, "web")


async def test_a_server_that_is_busy_ends_no_registry_and_the_callback_is_called_afterwards(private_server, tmp_path):
    calls = Calls()
    calls.gate.set()
    settings = Settings(redis_url=private_server.url, data_dir=tmp_path, command_timeout_s=5)
    async with contextlib.aclosing(InstanceStore(settings)) as store, InstanceRegistry(settings) as registry:
        record = await claimed(store)
        await registry.view.reach(record.revision + 1)
        with capture_logs() as logs:
            async with busy(private_server):
                registry.on_restart(calls)
                await wait_until(lambda: any(entry["event"] == "executor.not_looked" for entry in logs))
            await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert calls.ids == ["web"]


async def test_one_that_failed_is_not_called_again_before_its_lease_has_ended_though_all_is_looked_at_anew(
    settings, store, looks
):
    at: list[int] = []

    async def fails(record: Record, claim: RestartLedger) -> None:
        at.append(await now_ms(store.client))
        raise ZeroDivisionError("a fault of the callback")

    async with InstanceRegistry(settings.model_copy(update={"executor_lease_s": 5.0})) as registry:
        registry.on_restart(fails)
        record = await claimed(store)
        await wait_until(lambda: outcome_of(store, "web", Outcome.FAILED))
        until_ms = (await Restarts(store).store.ledger("web")).executor_until_ms
        before = looks.count("web")
        await a_gap_in_the_log(registry, record)
        await wait_until(lambda: looks.count("web") > before)
        await wait_until(lambda: len(at) == 2, 20)
    assert at[1] >= until_ms > at[0]


async def test_a_callback_is_called_once_the_maintenance_has_ended_in_which_its_restart_was_due(settings, store):
    calls = Calls()
    calls.gate.set()
    async with InstanceRegistry(settings.model_copy(update={"executor_lease_s": 60})) as registry:
        registry.on_restart(calls)
        await registry.register(scope="project", id="web", restart={**POLICY, "initial_delay_s": 0.3})
        await registry.lifecycle.fail("web")
        await Restarts(store).claim("web", incarnation=(await known(store, "web")).incarnation, reason="exit")
        await registry.maintenance("web", reason="new disks")
        await wait_until(lambda: is_due(store))
        await claimed(store, "other")
        await wait_until(lambda: calls.ids)
        told = (await registry.health("web")).restart
        assert told.text.endswith("has been taken by nobody yet; it waits for the end of its maintenance")
        await registry.end_maintenance("web")
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert calls.ids == ["other", "web"]


async def is_due(store: InstanceStore, id: str = "web") -> bool:
    standing = await Restarts(store).store.standing(id)
    return standing.now_ms >= standing.ledger.not_before_ms
