"""A server that is busy with a script: it answers BUSY to everybody until that is killed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import redis

from servers import RedisServer
from waiting import wait_until

__all__ = ["busy"]


@contextlib.asynccontextmanager
async def busy(server: RedisServer) -> AsyncIterator[None]:
    """Let a server that is a test's own be so for as long as the block lasts."""
    with server.connect() as direct:
        direct.config_set("busy-reply-threshold", 1)
    script = asyncio.create_task(asyncio.to_thread(_occupy, server))
    try:
        await wait_until(lambda: asyncio.to_thread(_is_busy, server))
        yield
    finally:
        with server.connect() as direct:
            direct.script_kill()
        await script


def _occupy(server: RedisServer) -> None:
    with redis.Redis(port=server.port, retry=None) as client, contextlib.suppress(redis.ResponseError):
        client.eval("while true do end", 0)


def _is_busy(server: RedisServer) -> bool:
    try:
        with redis.Redis(port=server.port, retry=None, socket_timeout=10) as client:
            client.ping()
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False
