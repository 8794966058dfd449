"""Connections whose sending can be cancelled.

redis-py sends through `asyncio.wait_for`, and that of Python 3.11 forgets a cancellation that comes in the moment in
which the sending ends (python/cpython#86296, gone in 3.12). The task would run on as if nobody had cancelled it, and
whoever waits for its end would wait for ever.
"""

import asyncio
from collections.abc import Iterable

import redis.exceptions
from redis.asyncio.connection import AbstractConnection

__all__ = ["cancellable"]


class _Cancellable(AbstractConnection):
    """Sends under `asyncio.timeout`, which forgets no cancellation."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        limit_s, self.socket_timeout = self.socket_timeout, None  # without one, redis-py sends without wait_for
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health=check_health)
        except TimeoutError:
            raise redis.exceptions.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s


def cancellable(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection, with a sending that can be cancelled."""
    return type(f"Cancellable{kind.__name__}", (_Cancellable, kind), {})
