"""Gaps: what happens where the log is trimmed before it is read, or cannot be read, mutes nobody."""

import contextlib

import pytest

from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.surveillance import SurveillanceStore
from instance.alerting.alerts.telling import alerting, arrive, deliveries, until_noted
from instance.lapses import gated, registered
from specs import spec
from waiting import wait_until


async def test_a_guard_that_is_released_in_a_gap_is_told_as_over_and_hides_nobody_after_it(
    settings, store, story, receiver, monkeypatch
):
    await store.register(spec("project", "web", ttl_ms=60_000))
    async with alerting(settings, store) as monitor, contextlib.aclosing(SurveillanceStore(settings)) as guards:
        evidence = {"group": "project:web", "lapsed": 9, "group_size": 40, "since_ms": 1, "until_ms": 2, "ttl_ms": 1000}
        await guards.raise_guard("project:web", monitor_id=monitor.id, reason="many lapsed", evidence=evidence)
        await arrive(receiver, "guard firing")
        with monkeypatch.context() as slow:
            gate = gated(slow, ChangeLog, "between")
            await guards.release_guard("project:web", monitor_id=monitor.id, reason="settled")
            await wait_until(lambda: not monitor.view.replica.guards)
            await store.client.xtrim(store.keys.events, maxlen=0, approximate=False)
            gate.set()
            await arrive(receiver, "guard firing", "guard resolved")
        await registered(store, "run", scope=Scope.ORCHESTRATION, parent_id="web")
        await story.until("run", Health.DOWN)
        await arrive(receiver, "guard firing", "guard resolved", "down firing run")
        await until_noted(store)


async def add_entry(store: InstanceStore, **fields: str) -> int:
    """An entry of the log by somebody else, at the next revision."""
    revision = (await store.position()).revision + 1
    await store.client.xadd(store.keys.events, {"id": "", "at_ms": "1", **fields}, id=f"{revision}-0")
    await store.client.set(store.keys.revision, revision)
    return revision


FOREIGN = {
    "of a type of tomorrow": {"type": "of_tomorrow"},
    "without a time": {"type": "updated", "at_ms": ""},
    "with evidence that is none": {"type": "guard_released", "evidence": "[]"},
}


@pytest.mark.parametrize("fields", FOREIGN.values(), ids=FOREIGN.keys())
async def test_what_comes_before_and_after_an_entry_that_cannot_be_read_is_told(fields, settings, store, receiver):
    async with alerting(settings, store) as monitor:
        for id in ("web", "shop"):
            await store.register(spec("project", id, ttl_ms=60_000))
        await until_noted(store)
        await store.transition("web", Verb.FAIL)
        await store.transition("web", Verb.START)
        revision = await add_entry(store, **fields)
        await wait_until(lambda: monitor.view.complete and monitor.view.revision >= revision)
        await store.transition("shop", Verb.FAIL)
        await arrive(receiver, "failed firing web", "failed firing shop")
        await until_noted(store)
    assert [got.document["reason"] for got in deliveries(receiver)] == ["", ""]


async def test_what_an_entry_says_that_cannot_be_read_is_found_in_the_view(settings, store, receiver):
    async with alerting(settings, store):
        await store.register(spec("project", "web", ttl_ms=60_000))
        await until_noted(store)
        values = {"state": "failed", "health": "unknown", "stopped_at_ms": "1700000000000"}
        await store.client.hset(store.keys.record("web"), mapping=values)
        await store.client.delete(store.keys.heartbeat("web"))
        revision = await add_entry(store, type="of_tomorrow")
        await arrive(receiver, "failed firing web")
        await until_noted(store, revision)
    (got,) = deliveries(receiver)
    assert (got.document["reason"], got.document["at_ms"]) == ("resync", 1_700_000_000_000)
