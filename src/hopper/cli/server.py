"""The HTTP server: uvicorn on a socket that is there already, ended by its owner rather than by signals."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

__all__ = ["GRACE_S", "Server"]

GRACE_S = 3
"""Seconds that open requests and event streams have to end."""


class Server(uvicorn.Server):
    """Serves an application until `should_exit`; calls `announce` once it answers."""

    def __init__(self, app: Any, *, announce: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, and say so."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the command, which ends more than this server."""
        yield
