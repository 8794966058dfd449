"""News: what a reader is told of deaths, failures and holds."""

import contextlib

from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.state import State, Verb
from hopper.model.webhook import signature
from hopper.store.instances import InstanceStore
from instance.alerting.alerts.telling import alerting, arrive, deliveries, holds, told, until_noted
from instance.lapses import leading, registered
from specs import spec
from waiting import wait_until


async def test_a_death_and_its_end_are_told_with_what_a_reader_wants_to_know(settings, store, story, receiver, client):
    async with alerting(settings, store):
        await registered(store, "web", name="the web")
        down = await story.until("web", Health.DOWN)
        await arrive(receiver, "down firing web")
        await client.set(store.keys.heartbeat("web"), "{}", ex=60)
        up = await story.until("web", Health.HEALTHY)
        await arrive(receiver, "down firing web", "down resolved web")
    epoch = (await store.position()).epoch
    first, last = deliveries(receiver)
    document = first.document
    assert "project 'web' (the web) is down since" in document.pop("text")
    assert document == {
        "namespace": settings.namespace,
        "alert": "down",
        "status": "firing",
        "id": "web",
        "name": "the web",
        "scope": "project",
        "parent_id": None,
        "reason": "lapsed",
        "evidence": dict(down.evidence),
        "at_ms": down.at_ms,
        "revision": down.revision,
        "epoch": epoch,
    }
    assert first.delivery == f"{epoch}-{down.revision}-down-firing"
    assert last.delivery == f"{epoch}-{up.revision}-down-resolved"
    assert first.headers["hopper-signature"] == signature("the key", first.headers["hopper-timestamp"], first.body)
    assert (last.document["reason"], last.document["at_ms"]) == ("heartbeat", up.at_ms)


async def test_the_death_of_one_that_is_restarted_is_told_and_over_when_it_is_registered_again(
    settings, store, story, receiver
):
    async with alerting(settings.model_copy(update={"guard_settle_s": 0.5}), store):
        await registered(store, "web", restart={"mode": "on-failure"})
        await story.until("web", Health.DOWN)
        await arrive(receiver, "down firing web")
        await wait_until(lambda: _is_failed(store, "web"))
        await store.register(spec("project", "web", ttl_ms=60_000))
        await arrive(receiver, "down firing web", "down resolved web")


async def _is_failed(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and record.state is State.FAILED


async def test_a_failure_is_told_and_a_proper_end_is_not(settings, store, receiver):
    async with alerting(settings, store):
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await store.transition("shop", Verb.STOP)
        await store.transition("shop", Verb.STOPPED)
        await store.transition("web", Verb.FAIL, reason="exit 3")
        await arrive(receiver, "failed firing web")
        await until_noted(store)
    assert told(receiver) == ["failed firing web"]
    assert deliveries(receiver)[0].document["text"] == "project 'web' has failed: exit 3"


async def test_a_hold_is_told_and_that_of_the_leadership_is_not(settings, store, receiver):
    async with alerting(settings, store) as monitor:
        await until_noted(store)
        assert not any("leadership" in one["text"] for one in receiver.documents)
        receiver.deliveries.clear()
        monitor.pulse.hold("somebody asked for it")
        await wait_until(lambda: holds(receiver) == ["hold firing", "hold resolved"])
    assert "somebody asked for it" in receiver.documents[0]["text"]


async def test_those_below_one_that_died_are_in_its_alert(settings, store, receiver):
    async with alerting(settings.model_copy(update={"guard_settle_s": 0.6}), store):
        await registered(store, "web")
        for number in range(3):
            await registered(store, f"run-{number}", scope=Scope.ORCHESTRATION, parent_id="web")
        await arrive(receiver, "down firing web")
        await until_noted(store)
    assert told(receiver) == ["down firing web"]
    assert deliveries(receiver)[0].document["evidence"]["descendants_down"] == 3


async def test_without_a_webhook_there_is_no_work_and_no_key(new_settings, receiver):
    settings = new_settings()
    async with contextlib.aclosing(InstanceStore(settings)) as store, leading(settings) as monitor:
        (duty,) = [duty for duty in monitor._duties if duty.name == "alerts"]
        await registered(store)
        await wait_until(lambda: _is_down(store, "web"))
        assert await store.client.exists(store.keys.alerts) == 0
        assert duty._revision == 0


async def _is_down(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and record.health is Health.DOWN


async def test_the_first_run_begins_at_now(settings, new_settings, store, story, receiver):
    quiet = settings.model_copy(update={"alert_webhook": None})
    async with leading(quiet):
        await registered(store, "old")
        await story.until("old", Health.DOWN)
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")
