"""A small tree to view, and settings on a server that may be harmed."""

from collections.abc import Callable

import pytest

from hopper.config import Settings
from hopper.store.instances import InstanceStore
from servers import RedisServer
from specs import spec


@pytest.fixture
async def tree(store: InstanceStore) -> InstanceStore:
    """g over p over o; revisions 1 to 3."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "p", parent_id="g"))
    await store.register(spec("orchestration", "o", parent_id="p"))
    return store


@pytest.fixture
def own_settings(private_server: RedisServer, new_settings: Callable[..., Settings]) -> Settings:
    """Settings on a server of this test alone, with a log that answers soon."""
    return new_settings(redis_url=private_server.url, log_block_ms=100)
