"""Claims as a test makes them, and what they leave behind."""

from contextlib import aclosing
from typing import Any

from census import events
from hopper.model.event import Event
from hopper.model.restart import Claim, Exhausted
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from hopper.store.surveillance import Lapse, SurveillanceStore
from specs import known

__all__ = ["FIRST", "POLICY", "claim", "down", "last_event"]

POLICY = {"mode": "on-failure", "max_restarts": 5}
FIRST = Claim(1, 2_000, 0)


async def claim(restarts: RestartStore, decision: Claim | Exhausted = FIRST, id: str = "web", **how: Any) -> Any:
    return await restarts.claim(await restarts.standing(id), decision, **how)


async def last_event(store: InstanceStore) -> Event:
    return (await events(store))[-1]


async def down(store: InstanceStore, id: str = "web") -> None:
    """Have an instance judged down."""
    await store.client.delete(store.keys.heartbeat(id))
    record = await known(store, id)
    async with aclosing(SurveillanceStore(store.settings)) as surveillance:
        await surveillance.pulse("me")
        seconds, _ = await store.client.time()
        lapse = Lapse(id, record.incarnation, "down", "lapsed", seconds * 1000, 1, 1, 5_000)
        ((outcome, *_),) = await surveillance.expire([lapse], monitor_id="me", expected_ms=seconds * 1000)
    assert outcome == "down"
