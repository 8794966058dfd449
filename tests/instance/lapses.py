"""Lapses: how a test brings one about under a monitor of its own, and what the log tells of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio

from background import in_background
from hopper.config import Settings
from hopper.instance.monitor import Monitor
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from waiting import wait_until

__all__ = ["PROMPT_MS", "TTL_MS", "Story", "gated", "leading", "now_ms", "passes", "registered", "standing_by"]

TTL_MS = 1_000
PROMPT_MS = 250
"""Lateness that no test exceeds on a busy machine; `benchmarks/` measures it on an idle one."""


@contextlib.asynccontextmanager
async def leading(settings: Settings, **parts: Any) -> AsyncIterator[Monitor]:
    """A monitor, with these parts, that leads, no hold in force, in this process."""
    monitor = Monitor(settings, **parts)
    async with in_background(monitor.run()) as task:
        await wait_until(lambda: task.done() or (monitor.pulse.leads and not monitor.pulse.holds.open))
        assert not task.done(), task.exception()
        yield monitor


@contextlib.asynccontextmanager
async def standing_by(settings: Settings) -> AsyncIterator[Monitor]:
    """A monitor beside the one that leads, which knows all records, in this process."""
    monitor = Monitor(settings)
    async with in_background(monitor.run()):
        await wait_until(monitor.view.loaded.is_set)
        yield monitor


class Story:
    """What the log tells of one namespace."""

    def __init__(self, settings: Settings) -> None:
        self._log = ChangeLog(settings)

    async def all(self) -> list[Event]:
        return await self._log.between(1, 10_000)

    async def of(self, id: str) -> list[Event]:
        return [event for event in await self.all() if event.id == id]

    async def verdicts(self, id: str) -> list[str]:
        """`health/reason` of each change of an instance's health or state."""
        kinds = {EventType.HEALTH_CHANGED, EventType.STATE_CHANGED}
        return [
            f"{event.record.health if event.type is EventType.HEALTH_CHANGED else event.record.state}/{event.reason}"
            for event in await self.of(id)
            if event.type in kinds and event.record is not None
        ]

    async def until(self, id: str, health: Health | State, *, count: int = 1, timeout_s: float = 5.0) -> Event:
        """The event by which an instance came to a health or state, for the `count`th time."""

        async def found() -> Event | None:
            events = [
                event
                for event in await self.of(id)
                if event.record is not None
                and (
                    (event.type is EventType.HEALTH_CHANGED and event.record.health is health)
                    or (event.type is EventType.STATE_CHANGED and event.record.state is health)
                )
            ]
            return events[count - 1] if len(events) >= count else None

        return await wait_until(found, timeout_s, f"{id} {health}")

    async def aclose(self) -> None:
        await self._log.aclose()


async def registered(store: InstanceStore, id: str = "web", **values: Any) -> int:
    """Register an instance that then says nothing; answers the deadline of its first heartbeat in Redis' time."""
    await store.register(InstanceSpec(**{"id": id, "scope": Scope.PROJECT, "ttl_ms": TTL_MS, **values}))
    record = await store.read(id)
    assert record is not None
    return record.updated_at_ms + record.ttl_ms


def gated(monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> asyncio.Event:
    """Let every call of a coroutine method wait until the event that is answered is set."""
    gate, original = asyncio.Event(), getattr(target, name)

    async def waits(*args: Any, **kwargs: Any) -> Any:
        await gate.wait()
        return await original(*args, **kwargs)

    monkeypatch.setattr(target, name, waits)
    return gate


async def passes(client: redis.asyncio.Redis, ms: float) -> None:
    """Wait until so much of Redis' time has passed."""
    until_ms = await now_ms(client) + ms

    async def passed() -> bool:
        return await now_ms(client) >= until_ms

    await wait_until(passed, ms / 1000 + 10)


async def now_ms(client: redis.asyncio.Redis) -> int:
    seconds, microseconds = await client.time()
    return seconds * 1000 + microseconds // 1000
