"""Sending to Redis can be cancelled at any moment."""

import asyncio
from collections.abc import Callable

import pytest

from hopper.config import Settings
from hopper.store.client import command_client
from servers import RedisServer


@pytest.mark.parametrize("url", [lambda server: server.url, lambda server: server.socket_url], ids=["tcp", "unix"])
async def test_a_command_that_is_cancelled_before_its_end_is_cancelled(
    server: RedisServer, new_settings: Callable[..., Settings], url: Callable[[RedisServer], str]
) -> None:
    client = command_client(new_settings(redis_url=url(server)))
    try:
        await client.ping()
        for steps in range(12):
            task = asyncio.create_task(client.ping())
            for _ in range(steps):
                await asyncio.sleep(0)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                assert task.cancelled(), f"cancelled after {steps} steps, and it ended with {task.result()!r}"
            assert await client.ping() is True
    finally:
        await client.aclose()
