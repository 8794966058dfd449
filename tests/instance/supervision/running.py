"""Supervisors that run, and what is told of them."""

import asyncio
from collections.abc import Awaitable, Callable

from hopper.instance.supervisor import Supervisor
from hopper.model.event import Event, EventType
from hopper.model.policy import RestartPolicy
from hopper.model.record import Record
from hopper.model.state import State
from hopper.store.instances import InstanceStore
from instance.lapses import Story

__all__ = ["FOREVER", "POLICY", "ROUND", "TELLING", "Run", "Running", "told", "until"]

POLICY = RestartPolicy(mode="on-failure", max_restarts=2, initial_delay_s=0.05, jitter=0)
FOREVER = "while :; do sleep 0.02; done"
TELLING = "sleep 0.3; exit 3"
"""Lives long enough to be told of as running."""

Run = Callable[..., "Running"]


class Running:
    """A supervisor with its task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.task = asyncio.create_task(supervisor.run())

    async def code(self) -> int:
        return await asyncio.wait_for(asyncio.shield(self.task), 30)

    @property
    def pid(self) -> int:
        assert self.supervisor._group is not None
        return self.supervisor._group.process.pid


def until(store: InstanceStore, state: State, above: int = 0) -> Callable[[], Awaitable[Record | None]]:
    """The record once it is in a state, in an incarnation above another."""

    async def read() -> Record | None:
        record = await store.read("x")
        return record if record is not None and record.state is state and record.incarnation > above else None

    return read


async def told(story: Story) -> list[str]:
    """The story of `x` in a word for each event, without its becoming `running`."""
    return [_word(event) for event in await story.of("x") if not _runs(event)]


def _runs(event: Event) -> bool:
    return event.type is EventType.STATE_CHANGED and event.record is not None and event.record.state is State.RUNNING


def _word(event: Event) -> str:
    assert event.record is not None
    if event.type is EventType.STATE_CHANGED:
        return f"{event.record.state}/{event.reason}"
    return f"{event.record.health}/{event.reason}" if event.type is EventType.HEALTH_CHANGED else event.type


ROUND = ["failed/exit", "restart_claimed", "superseded"]
