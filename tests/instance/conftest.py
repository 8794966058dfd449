"""A registry with its tree and another client, and a monitor with what the log tells."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from hopper import InstanceRegistry, Settings
from hopper.instance.monitor import Monitor
from hopper.store.instances import InstanceStore
from instance.lapses import Story, leading


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[InstanceRegistry]:
    async with InstanceRegistry(settings) as entered:
        yield entered


@pytest.fixture
async def tree(registry: InstanceRegistry) -> InstanceRegistry:
    """g over web and shop, web over run-1 and run-2."""
    await registry.register(scope="global", id="g")
    await registry.register(scope="project", id="web", name="the web", parent_id="g", tags=["eu"])
    await registry.register(scope="project", id="shop", parent_id="g")
    await registry.register(scope="orchestration", id="run-1", parent_id="web")
    await registry.register(scope="orchestration", id="run-2", parent_id="web")
    return registry


@pytest.fixture
async def other(settings: Settings) -> AsyncIterator[InstanceStore]:
    """Another client of the same namespace."""
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store


@pytest.fixture
async def redis_is_left_quiet(client: redis.asyncio.Redis, settings: Settings) -> AsyncIterator[None]:
    """After the test no connection of the registry is left; for `usefixtures`."""
    yield
    blocked = [entry for entry in await client.client_list() if entry["cmd"] == "xread"]
    assert len(blocked) <= 1, "only the registry of the fixture may still read the log"


@pytest.fixture
async def monitor(settings: Settings, store: InstanceStore) -> AsyncIterator[Monitor]:
    async with leading(settings) as monitor:
        yield monitor


@pytest.fixture
async def story(settings: Settings) -> AsyncIterator[Story]:
    async with contextlib.aclosing(Story(settings)) as story:
        yield story
