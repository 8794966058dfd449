"""Leaders: a new one goes on where the one before it ended, and a standby tells nothing."""

from typing import Any

import pytest

from hopper.model.alert import AlertPosition
from hopper.model.event import Event
from hopper.model.health import Health
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from instance.alerting.alerts.telling import alerting, arrive, deliveries, noted, until_noted
from instance.lapses import leading, registered, standing_by
from specs import spec
from waiting import wait_until


async def test_a_new_leader_goes_on_where_the_one_before_ended(settings, store, story, receiver, client):
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")
        position = await until_noted(store)
        assert set(position.told) == {"down:web"}
    # While nobody alerts: one fails, and the dead one is back.
    await store.register(spec("project", "shop", ttl_ms=60_000))
    await store.transition("shop", Verb.FAIL)
    await client.set(store.keys.heartbeat("web"), "{}", ex=60)
    async with leading(settings.model_copy(update={"alert_webhook": None})):
        await story.until("web", Health.HEALTHY)
    async with alerting(settings, store):
        await arrive(receiver, "down firing web", "failed firing shop", "down resolved web")
        position = await until_noted(store)
        assert set(position.told) == {"failed:shop"}


async def test_what_a_leader_could_not_deliver_is_delivered_by_the_next_under_the_same_name(
    settings, store, story, receiver
):
    receiver.always = 503
    async with alerting(settings, store):
        await registered(store, "web")
        down = await story.until("web", Health.DOWN)
        await wait_until(lambda: deliveries(receiver))
        assert (await noted(store)).revision < down.revision
    first = deliveries(receiver)[0]
    receiver.always = 204
    async with alerting(settings, store):
        await wait_until(lambda: deliveries(receiver)[-1].document["at_ms"] == down.at_ms)
        await until_noted(store, down.revision)
    last = deliveries(receiver)[-1]
    assert (last.delivery, last.document["evidence"]) == (first.delivery, first.document["evidence"])


async def test_a_death_in_maintenance_is_told_by_the_next_leader_as_the_log_has_it(settings, store, story, receiver):
    async with alerting(settings, store):
        await registered(store, "web")
        await store.maintain("web", MaintenanceRequest())
        down = await story.until("web", Health.DOWN)
        position = await until_noted(store, down.revision)
        assert (position.told, position.deaths["web"].revision) == ({}, down.revision)
    async with alerting(settings, store):
        await store.end_maintenance("web")
        await arrive(receiver, "down firing web")
        await until_noted(store)
    (got,) = deliveries(receiver)
    assert got.delivery == f"{got.document['epoch']}-{down.revision}-down-firing"
    assert (got.document["reason"], got.document["evidence"]) == ("lapsed", dict(down.evidence))


async def test_a_standby_alerts_nobody(settings, store, receiver):
    async with alerting(settings, store) as monitor, standing_by(settings) as standby:
        for number in range(20):
            await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
            await store.transition(f"web-{number}", Verb.FAIL)
            await wait_until(lambda: standby.view.revision == monitor.view.revision)
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(20)))
        await until_noted(store)
        assert len(deliveries(receiver)) == 20


BEHIND = {
    "another epoch": AlertPosition(epoch="other", revision=0, told={"down:gone": 3}),
    "a log that was trimmed": AlertPosition(epoch="", revision=0, told={"down:gone": 3}),
}


@pytest.mark.parametrize("position", BEHIND.values(), ids=BEHIND.keys())
async def test_where_the_log_cannot_tell_it_tells_what_is_so_and_ends_what_is_over(position, settings, store, receiver):
    await store.register(spec("project", "cafe", ttl_ms=60_000))
    await store.transition("cafe", Verb.FAIL)
    await store.transition("cafe", Verb.START)
    epoch = (await store.position()).epoch
    await store.register(spec("project", "shop", ttl_ms=60_000))
    await store.transition("shop", Verb.FAIL)
    await store.client.xtrim(store.keys.events, maxlen=1, approximate=False)
    await store.client.set(
        store.keys.alerts, AlertPosition(epoch=position.epoch or epoch, revision=0, told=position.told).to_json()
    )
    async with alerting(settings, store):
        await arrive(receiver, "down resolved gone", "failed firing shop")
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.transition("web", Verb.FAIL)
        await arrive(receiver, "down resolved gone", "failed firing shop", "failed firing web")
        position = await until_noted(store)
        assert set(position.told) == {"failed:shop", "failed:web"}


async def test_what_was_found_and_could_not_be_delivered_is_found_again_by_the_next_leader(settings, store, receiver):
    await store.register(spec("project", "shop", ttl_ms=60_000))
    await store.transition("shop", Verb.FAIL)
    await store.client.set(store.keys.alerts, AlertPosition(epoch="other", revision=0, told={"down:gone": 3}).to_json())
    receiver.always = 503
    async with alerting(settings, store):
        await wait_until(lambda: deliveries(receiver))
        await until_noted(store)
    first = deliveries(receiver)[0]
    receiver.deliveries.clear()
    receiver.always = 204
    async with leading(settings):
        await arrive(receiver, "down resolved gone", "failed firing shop")
    assert deliveries(receiver)[0].delivery == first.delivery


async def test_what_was_so_before_there_were_alerts_is_told_by_no_later_leader(settings, store, story, receiver):
    async with leading(settings.model_copy(update={"alert_webhook": None})):
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await store.transition("shop", Verb.FAIL)
        await registered(store, "old")
        await story.until("old", Health.DOWN)
    async with alerting(settings, store):
        await until_noted(store)
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")
        position = await until_noted(store)
    assert (set(position.told), position.deaths["old"].spared) == ({"failed:shop", "down:web"}, True)


async def test_a_long_log_is_read_a_hundred_events_at_a_time_and_all_of_it_is_told(
    settings, store, receiver, monkeypatch
):
    epoch = (await store.position()).epoch
    for number in range(85):
        await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
        await store.transition(f"web-{number}", Verb.FAIL)
        await store.transition(f"web-{number}", Verb.START)
    await store.client.set(store.keys.alerts, AlertPosition(epoch=epoch, revision=0).to_json())
    sizes: list[int] = []
    between = ChangeLog.between

    async def counted(log: ChangeLog, first: int, last: int, **more: Any) -> list[Event]:
        events = await between(log, first, last, **more)
        sizes.append(len(events))
        return events

    monkeypatch.setattr(ChangeLog, "between", counted)
    async with alerting(settings, store):
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(85)))
    assert sum(sizes) >= 255
    assert max(sizes) == 100


async def test_a_position_that_somebody_spoiled_is_replaced(settings, store, receiver):
    await store.client.set(store.keys.alerts, "rubbish")
    async with leading(settings):
        await wait_until(lambda: _readable(store))
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.transition("web", Verb.FAIL)
        await arrive(receiver, "failed firing web")


async def _readable(store: InstanceStore) -> bool:
    return await store.client.get(store.keys.alerts) != b"rubbish"
