"""The service manager: what systemd is told of a `Type=notify` service, on the socket that it named."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import structlog

__all__ = ["ServiceManager"]

_VARIABLE = "NOTIFY_SOCKET"
_WATCHDOG, _WATCHED = "WATCHDOG_USEC", "WATCHDOG_PID"


class ServiceManager:
    """Tells lines such as `READY=1` to whoever started us, and to nobody where that named no socket."""

    def __init__(self) -> None:
        """Take the socket's name and the watchdog's time out of the environment: they are ours, not a child's."""
        self._path = os.environ.pop(_VARIABLE, "")
        time_us, watched = os.environ.pop(_WATCHDOG, ""), os.environ.pop(_WATCHED, "")
        ours = time_us.isdecimal() and watched in ("", str(os.getpid()))
        self._watchdog_s = int(time_us) / 1_000_000 if ours and self._path else 0.0

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Say `WATCHDOG=1` from the event loop meanwhile, twice in the time in which it is waited for, if it is."""
        telling = asyncio.create_task(self._keep_telling()) if self._watchdog_s else None
        try:
            yield
        finally:
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _keep_telling(self) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def tell(self, lines: str) -> None:
        """Send some lines. A manager that does not listen costs the lines and nothing else."""
        if not self._path:
            return
        # A name that begins with `@` is in Linux' abstract namespace.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
                door.connect(address)
                door.sendall(lines.encode())
        except OSError as error:
            structlog.get_logger().warning("run.not_notified", lines=lines, detail=error.strerror)
