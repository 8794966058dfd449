"""Guards: the alert of one goes on while those are silent whom it left, whoever leads."""

from hopper.model.event import EventType
from hopper.model.health import Health
from instance.alerting.alerts.telling import alerting, arrive, deliveries, noted, until_noted
from instance.detection.guarding import all_are, beat, guard_events, populate
from instance.lapses import TTL_MS, leading, passes
from waiting import wait_until

IDS = [f"p0-{number}" for number in range(25)]


async def test_a_guard_that_ends_by_time_is_over_when_those_it_left_are_back_under_the_next_leader_too(
    settings, store, story, receiver
):
    settings = settings.model_copy(update={"guard_ttls": 2})
    async with alerting(settings, store):
        await populate(store, {"p0": 25}, silent=IDS)
        await wait_until(all_are(store, IDS, Health.DOWN), 20.0)
        raised, released = await guard_events(story)
        assert (released.type, released.reason) == (EventType.GUARD_RELEASED, "it has stood for 2 TTLs")
        position = await until_noted(store)
        assert set(position.told) == {"guard:project:p0"}
        assert set(position.releases["project:p0"].left) == set(IDS)
    async with leading(settings):
        await passes(store.client, 2 * TTL_MS)
        await beat(store, IDS[1:])
        await wait_until(all_are(store, IDS[1:], Health.HEALTHY))
        await until_noted(store)
        await arrive(receiver, "guard firing")
        await beat(store, IDS[:1])
        await arrive(receiver, "guard firing", "guard resolved")
        await until_noted(store)
        assert (await noted(store)).releases == {}
    (got,) = [one for one in deliveries(receiver) if one.document["status"] == "resolved"]
    assert got.delivery.endswith(f"-{released.revision}-guard-resolved")
    assert got.document["evidence"]["left_down"] == 25
    assert got.document["evidence"]["since_ms"] == raised.evidence["since_ms"]
    assert got.document["text"].endswith("it has stood for 2 TTLs; the 25 that it left silent are back or gone")
