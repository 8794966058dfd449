"""Graves: who is gone, who stays, and what a monitor knows of those that are down."""

from typing import Any

from hopper.instance.duties.reaping import Reaping
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from instance.lapses import Story, registered
from specs import known
from waiting import wait_until

__all__ = [
    "AT_ONCE",
    "CLAIMS",
    "HOUR_MS",
    "gone",
    "is_gone",
    "parent_of",
    "reaping_of",
    "stays_healthy_while_another_goes",
    "stays_while_another_goes",
]

AT_ONCE: dict[str, Any] = {"deregister_after_ms": 0}
HOUR_MS = 3_600_000
CLAIMS = {EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED}


async def is_gone(store: InstanceStore, id: str = "web") -> bool:
    return await store.read(id) is None


async def gone(story: Story, id: str = "web") -> Event:
    (event,) = [event for event in await story.of(id) if event.type is EventType.DEREGISTERED]
    return event


def reaping_of(monitor: Monitor) -> Reaping:
    return next(duty for duty in monitor._duties if isinstance(duty, Reaping))


async def stays_while_another_goes(store: InstanceStore, id: str = "web") -> None:
    """An instance that is down is not reaped, though one that goes down after it is."""
    await registered(store, "witness", **AT_ONCE)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, id)).health is Health.DOWN


async def stays_healthy_while_another_goes(store: InstanceStore, id: str) -> None:
    await registered(store, "witness", deregister_after_ms=2_500)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, id)).health is Health.HEALTHY


async def parent_of(store: InstanceStore, id: str) -> str | None:
    return (await known(store, id)).parent_id
