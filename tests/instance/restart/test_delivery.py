"""Claims that are carried out: by webhooks that the leading monitor sends, and by callbacks."""

import asyncio
import time
from typing import Any

import pytest

from hopper import InstanceRegistry, Selector
from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.instance.restart.executor import Executor
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.restart import Outcome, RestartLedger
from hopper.model.scope import Scope
from hopper.model.state import State, Verb
from instance.failures import POLICY, SETTLE_S, outcome_of, passed, stands, until_told
from instance.lapses import gated, leading
from specs import known, spec
from waiting import until_ended, wait_until

HOOK = {**POLICY, "webhook": "http://hook.invalid/start"}
Sent = tuple[str, dict[str, Any], str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": 0.5})


class Hook:
    """A fake sender of webhooks."""

    def __init__(self, *, failures: int = 0) -> None:
        self.sent: list[Sent] = []
        self.failures = failures

    async def __call__(self, url: str, document: dict[str, Any], delivery: str) -> None:
        self.sent.append((url, document, delivery))
        if len(self.sent) <= self.failures:
            raise Unavailable("the hook is away")


async def test_a_webhook_is_sent_once_for_a_claim_with_what_its_receiver_needs(settings, store, story):
    hook = Hook()
    async with leading(settings, send=hook) as monitor:
        await store.register(spec("project", "web", name="the web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        claim = await until_told(story, "web", EventType.RESTART_CLAIMED)
        ((url, document, delivery),) = hook.sent
        assert url == HOOK["webhook"]
        assert delivery == f"{monitor.view.epoch}-web-{claim.record.incarnation}-{claim.at_ms}"
        assert document.pop("record")["state"] == "failed"
        assert document == {
            "namespace": settings.namespace,
            "id": "web", "name": "the web", "scope": "project", "reason": "failed", "count": 1,
            "incarnation": claim.record.incarnation,
            "not_before_ms": claim.evidence["not_before_ms"],
        }  # fmt: skip
        await passed(story, store)
        assert len(hook.sent) == 1


async def test_a_webhook_is_sent_no_sooner_than_its_delay(settings, store, story, client):
    at: list[int] = []

    async def send(url: str, document: dict[str, Any], delivery: str) -> None:
        seconds, microseconds = await client.time()
        at.append(seconds * 1000 + microseconds // 1000)

    async with leading(settings, send=send):
        await store.register(spec("project", "web", restart={**HOOK, "initial_delay_s": 0.5}))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: at)
    assert at[0] >= (await until_told(story, "web", EventType.RESTART_CLAIMED)).evidence["not_before_ms"]


async def test_a_webhook_that_fails_is_sent_again_after_the_lease_with_the_same_id(settings, store):
    hook = Hook(failures=1)
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.FAILED))
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert len({delivery for _, _, delivery in hook.sent}) == 1
    assert len(hook.sent) == 2


async def test_the_next_leader_sends_what_the_last_one_died_over(settings, store):
    hook, hung = Hook(), asyncio.Event()

    async def hangs(url: str, document: dict[str, Any], delivery: str) -> None:
        hung.set()
        await asyncio.Event().wait()

    await store.register(spec("project", "web", restart=HOOK))
    async with leading(settings, send=hangs):
        await store.transition("web", Verb.FAIL)
        await asyncio.wait_for(hung.wait(), 10)
    async with leading(settings, send=hook):
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert len(hook.sent) == 1


async def test_a_receiver_that_hangs_keeps_no_other_waiting_and_is_asked_for_few_at_a_time(settings, store):
    """With more to start than the leader does at a time, as after the loss of a host with its receiver."""
    hung, told = [], []

    async def send(url: str, document: dict[str, Any], delivery: str) -> None:
        if "hung" in url:
            hung.append(document["id"])
            await until_ended()
        told.append(document["id"])

    async with leading(settings, send=send):
        for number in range(80):
            await store.register(
                spec("project", f"p{number}", restart={**HOOK, "webhook": f"http://hung.invalid/{number}"})
            )
            await store.transition(f"p{number}", Verb.FAIL)
        await wait_until(lambda: hung)
        await store.register(spec("project", "web", restart={**HOOK, "webhook": "http://well.invalid:8080/start"}))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        await wait_until(lambda: stands(store, "p79"))
        assert told == ["web"]
        assert len(hung) == 8


async def test_a_slow_webhook_keeps_its_lease(settings, store, story):
    others = Restarts(store).store
    gate, begun = asyncio.Event(), asyncio.Event()

    async def slow(url: str, document: dict[str, Any], delivery: str) -> None:
        begun.set()
        await gate.wait()

    async with leading(settings, send=slow):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await asyncio.wait_for(begun.wait(), 10)
        incarnation = (await known(store, "web")).incarnation
        until = time.monotonic() + 3 * settings.executor_lease_s

        async def is_held_until_then() -> bool:
            assert (await others.take("web", incarnation, executor="other")).outcome == "held"
            return time.monotonic() >= until

        await wait_until(is_held_until_then)
        gate.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))


async def test_an_operators_restart_of_one_that_is_well_is_sent_too(settings, store):
    hook = Hook()
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", restart={**HOOK, "mode": "never"}))
        await Restarts(store).request("web", actor="me")
        await wait_until(lambda: hook.sent)
    assert hook.sent[0][1]["reason"] == "operator"


async def test_an_operators_restart_after_the_policys_is_another_delivery(settings, store):
    hook = Hook()
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        await Restarts(store).request("web", actor="me")
        await wait_until(lambda: len(hook.sent) == 2)
    (_, first, one), (_, second, other) = hook.sent
    assert (first["reason"], second["reason"]) == ("failed", "operator")
    assert first["incarnation"] == second["incarnation"]
    assert one != other


async def test_a_webhook_after_which_nobody_registers_is_tried_again_until_the_budget_is_used_up(
    settings, store, story
):
    hook, settings = Hook(), settings.model_copy(update={"restart_wait_s": 0.2})
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        gave_up = await until_told(story, "web", EventType.RESTART_EXHAUSTED)
    claims = [event for event in await story.of("web") if event.type is EventType.RESTART_CLAIMED]
    assert [(event.reason, event.evidence["count"]) for event in claims] == [("failed", 1), ("not-registered", 2)]
    assert (gave_up.reason, gave_up.evidence["count"]) == ("not-registered", 2)
    for event in (claims[1], gave_up):
        assert event.at_ms >= event.evidence["register_by_ms"] == event.evidence["sent_at_ms"] + 200
    assert [document["count"] for _, document, _ in hook.sent] == [1, 2]
    assert len({delivery for _, _, delivery in hook.sent}) == 2


async def test_a_clock_that_is_set_back_does_not_make_a_restart_wait_for_nobody(settings, store, story):
    hook, settings = Hook(), settings.model_copy(update={"restart_wait_s": 0.3})
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        for field in ("claimed_at_ms", "not_before_ms", "settled_at_ms", "register_by_ms"):
            await store.client.hincrby(store.keys.restarts("web"), field, 3_600_000)  # as an hour before now has it
        second = await until_told(story, "web", EventType.RESTART_CLAIMED, count=2)
    assert second.reason == "not-registered"


async def test_the_next_leader_finds_a_restart_after_which_nobody_registers(settings, store, story):
    settings = settings.model_copy(update={"restart_wait_s": 0.2})
    async with leading(settings.model_copy(update={"restart_wait_s": 0.5}), send=Hook()):
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    async with leading(settings, send=Hook()):
        second = await until_told(story, "web", EventType.RESTART_CLAIMED, count=2)
    assert second.reason == "not-registered"


async def test_a_webhook_after_which_the_instance_registers_is_not_tried_again(settings, store, story):
    settings = settings.model_copy(update={"restart_wait_s": 0.3})

    async def starts_web(url: str, document: dict[str, Any], delivery: str) -> None:
        if document["id"] == "web":
            await store.register(spec("project", "web", restart=HOOK))

    async with leading(settings, send=starts_web):
        for id in ("web", "later"):
            await store.register(spec("project", id, restart=HOOK))
            await store.transition(id, Verb.FAIL)
        await until_told(story, "web", EventType.SUPERSEDED)
        await until_told(story, "later", EventType.RESTART_EXHAUSTED)
    claims = [event for event in await story.of("web") if event.type is EventType.RESTART_CLAIMED]
    assert len(claims) == 1


# -- callbacks --------------------------------------------------------------------------------------------------------


async def test_a_callback_starts_what_was_claimed_and_another_process_does_not(settings, store, story, monitor):
    calls: list[tuple[str, int, str]] = []
    async with InstanceRegistry(settings) as one, InstanceRegistry(settings) as other:

        async def start(record: Record, claim: RestartLedger) -> None:
            calls.append((record.id, claim.count, claim.reason))
            await store.register(spec("project", record.id, restart=POLICY))

        one.on_restart(start)
        other.on_restart(start)
        await store.register(spec("project", "web", restart=POLICY))
        await store.transition("web", Verb.FAIL)
        await until_told(story, "web", EventType.SUPERSEDED)
        await passed(story, store)
        await wait_until(lambda: len(calls) == 2)
        assert sorted(calls)[1] == ("web", 1, "failed")
        assert (await known(store, "web")).state is State.RUNNING


async def test_a_callback_that_raises_is_called_again_and_one_that_comes_late_hears_of_it(settings, store, monitor):
    called: list[str] = []
    await store.register(spec("project", "web", restart=POLICY))
    await store.transition("web", Verb.FAIL)
    await wait_until(lambda: stands(store, "web"))

    def raises_once(record: Record, claim: RestartLedger) -> None:
        called.append(record.id)
        if len(called) == 1:
            raise ZeroDivisionError("a fault of the callback")

    async with InstanceRegistry(settings) as registry:
        registry.on_restart(raises_once, selector=Selector(scope=frozenset({Scope.PROJECT})))
        registry.on_restart(raises_once)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert called == ["web", "web"]


@pytest.mark.parametrize("state", ["running", "failed", "stopped"])
async def test_a_callback_that_comes_late_hears_of_an_operators_restart_in_any_state(state, settings, store):
    await store.register(spec("project", "web", restart={**POLICY, "mode": "never"}))
    for verb in {"running": [], "failed": [Verb.FAIL], "stopped": [Verb.STOP, Verb.STOPPED]}[state]:
        await store.transition("web", verb)
    await Restarts(store).request("web", actor="me")
    called: list[tuple[str, str]] = []
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(lambda record, claim: called.append((record.id, claim.reason)))
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert called == [("web", "operator")]


async def test_a_callback_hears_of_a_restart_of_a_living_one_that_a_gap_in_the_log_hid(settings, store, monkeypatch):
    called: list[str] = []
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(lambda record, _: called.append(record.id))
        gate = gated(monkeypatch, registry.view._log, "follow")
        await registry.register(spec("project", "web"))  # ends the read under way
        claimed = await Restarts(store).request("web")
        await store.client.xdel(store.keys.events, f"{claimed.revision}-0")
        await store.register(spec("project", "later"))
        gate.set()
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        assert registry.view.reloads == 2
    assert called == ["web"]


async def test_a_callback_is_not_called_for_what_its_selector_does_not_match(settings, store, story, monitor):
    called: list[str] = []
    async with InstanceRegistry(settings) as registry:
        registry.on_restart(lambda record, _: called.append(record.id), selector=Selector(tags=frozenset({"mine"})))
        await store.register(spec("project", "theirs", restart=POLICY))
        await store.register(spec("project", "mine", tags=["mine"], restart=POLICY))
        for id in ("theirs", "mine"):
            await store.transition(id, Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "mine", Outcome.SENT))
    assert called == ["mine"]


# -- an executor by itself ---------------------------------------------------------------------------------------------


async def test_a_claim_that_a_gap_in_the_log_hid_is_carried_out_all_the_same(settings, store):
    carried_out: list[str] = []

    async def carry_out(record: Record, ledger: RestartLedger) -> None:
        carried_out.append(record.id)

    async with InstanceRegistry(settings) as registry:
        restarts = Restarts(store)
        executor = Executor(
            registry.view,
            restarts.store,
            carry_out,
            wants=lambda _: True,
            candidates=lambda: list(registry.view.replica.records.values()),
        )
        task = asyncio.create_task(executor.run())
        web = await registry.register(spec("project", "web"))
        await restarts.request("web")
        await asyncio.sleep(0)
        assert carried_out == []
        executor.take([Event(revision=2, type=EventType.UPDATED, id="web", at_ms=0, record=web, resync=True)])
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        task.cancel()
    assert carried_out == ["web"]


async def test_a_fault_of_an_executor_costs_one_attempt(settings, store, monkeypatch):
    hook = Hook()
    async with leading(settings, send=hook) as monitor:
        (delivery,) = [duty for duty in monitor._duties if duty.name == "delivery"]
        store_of_executor = delivery._executor._store
        original, failures = store_of_executor.standing, []

        async def fails_once(id: str) -> Any:
            if not failures:
                failures.append(id)
                raise ZeroDivisionError("a fault of Hopper")
            return await original(id)

        monkeypatch.setattr(delivery._executor, "_store", Stubborn(store_of_executor, fails_once))
        await store.register(spec("project", "web", restart=HOOK))
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
    assert failures == ["web"]
    assert len(hook.sent) == 1


class Stubborn:
    """A store of restarts whose `standing` is another."""

    def __init__(self, store: Any, standing: Any) -> None:
        self._store = store
        self.standing = standing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
