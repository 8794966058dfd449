"""Receivers: one that is dead or hangs loses no alert and delays no verdict."""

from hopper.model.health import Health
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.alerting.alerts.telling import alerting, arrive, until_noted
from instance.lapses import TTL_MS, registered
from specs import spec
from waiting import wait_until


async def test_what_happens_while_the_receiver_is_dead_is_delivered_in_order_when_it_is_back(settings, store, receiver):
    await receiver.close()
    async with alerting(settings, store):
        for number in range(5):
            await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
            await store.transition(f"web-{number}", Verb.FAIL)
        await wait_until(lambda: _is_down_or_failed(store, "web-4"))
        await receiver.open()
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(5)))
        await until_noted(store)


async def _is_down_or_failed(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and not record.monitored


async def test_a_receiver_that_hangs_delays_no_verdict(settings, store, story, receiver):
    receiver.always = None
    async with alerting(settings.model_copy(update={"webhook_timeout_s": 60}), store):
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await store.transition("shop", Verb.FAIL)
        await wait_until(lambda: receiver.deliveries)
        deadline_ms = await registered(store, "web")
        event = await story.until("web", Health.DOWN)
        assert event.at_ms - deadline_ms < TTL_MS
    assert len(receiver.deliveries) == 1
