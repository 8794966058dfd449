"""Failures: who claims a restart for them, and what the log tells of it."""

import time

from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType
from hopper.model.policy import RestartPolicy
from hopper.model.restart import Outcome
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.lapses import Story
from specs import spec
from waiting import wait_until

__all__ = ["POLICY", "RESTART", "SETTLE_S", "kinds", "outcome_of", "passed", "stands", "until_told"]

POLICY = {"mode": "on-failure", "max_restarts": 2, "initial_delay_s": 0, "jitter": 0}
RESTART = RestartPolicy(mode="on-failure", max_restarts=2, initial_delay_s=0, jitter=0)
SETTLE_S = 0.3


async def until_told(story: Story, id: str, kind: EventType, *, count: int = 1, timeout_s: float = 10.0) -> Event:
    """The `count`th event of a type about an instance."""

    async def found() -> Event | None:
        events = [event for event in await story.of(id) if event.type is kind]
        return events[count - 1] if len(events) >= count else None

    return await wait_until(found, timeout_s, f"{id} {kind}")


async def passed(story: Story, store: InstanceStore) -> None:
    """Wait until the monitor has surely looked at all that has happened: another failure has been claimed."""
    id = f"later-{time.monotonic_ns()}"
    await store.register(spec("project", id, restart=POLICY))
    await store.transition(id, Verb.FAIL)
    await until_told(story, id, EventType.RESTART_CLAIMED)


async def kinds(story: Story, id: str) -> list[EventType]:
    return [event.type for event in await story.of(id)]


async def stands(store: InstanceStore, id: str) -> bool:
    standing = await Restarts(store).store.standing(id)
    return standing.record is not None and standing.ledger.stands(standing.record.incarnation)


async def outcome_of(store: InstanceStore, id: str, outcome: Outcome) -> bool:
    return (await Restarts(store).store.standing(id)).ledger.outcome is outcome
