"""How far the alerts have come: kept by the leader, and by no other."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import orjson
import pytest

from hopper.errors import NotLeader, StoreFault
from hopper.model.alert import AlertPosition, KnownDeath, KnownRelease
from hopper.store.alerting import AlertStore
from hopper.store.surveillance import SurveillanceStore

POSITION = AlertPosition(
    epoch="e-1",
    revision=7,
    told={"down:web": 5},
    deaths={"shop": KnownDeath(revision=4, at_ms=900, spared=True)},
    read=(9, 1000),
    releases={"orphans": KnownRelease(mark="6", revision=6, at_ms=950, reason="why", count=1, left={"web": 5})},
)


@pytest.fixture
async def surveillance(settings) -> AsyncIterator[SurveillanceStore]:
    async with aclosing(SurveillanceStore(settings)) as opened:
        yield opened


async def test_a_position_is_read_as_it_was_noted(store, surveillance):
    positions = AlertStore(store)
    assert await positions.read() is None
    await surveillance.pulse("me")
    await positions.write(POSITION, monitor_id="me")
    await positions.write(POSITION, monitor_id="me")
    assert await positions.read() == POSITION
    kept = orjson.loads(await store.client.get(store.keys.alerts))
    assert kept == {
        "epoch": "e-1",
        "revision": 7,
        "told": {"down:web": 5},
        "deaths": {"shop": {"revision": 4, "at_ms": 900, "spared": True}},
        "read": [9, 1000],
        "releases": {
            "orphans": {
                "mark": "6",
                "revision": 6,
                "at_ms": 950,
                "reason": "why",
                "evidence": {},
                "count": 1,
                "left": {"web": 5},
                "again": False,
            }
        },
    }


async def test_who_does_not_lead_notes_nothing(store, surveillance):
    positions = AlertStore(store)
    with pytest.raises(NotLeader, match="'me' cannot send alerts: '' leads"):
        await positions.write(POSITION, monitor_id="me")
    await surveillance.pulse("other")
    with pytest.raises(NotLeader, match="'me' cannot send alerts: 'other' leads"):
        await positions.write(POSITION, monitor_id="me")
    assert await positions.read() is None


@pytest.mark.parametrize("value", ["17", "{", "[]", '{"epoch": "e"}', '{"epoch": "e", "revision": 1, "told": [1]}'])
async def test_what_is_no_position_is_a_fault_that_names_the_key(value, store):
    await store.client.set(store.keys.alerts, value)
    with pytest.raises(StoreFault, match=f"{store.keys.alerts} holds what Hopper cannot read".replace("{", r"\{")):
        await AlertStore(store).read()
