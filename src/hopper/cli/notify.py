"""The service manager: what systemd is told of a `Type=notify` service, on the socket that it named."""

import os
import socket

import structlog

__all__ = ["ServiceManager"]

_VARIABLE = "NOTIFY_SOCKET"


class ServiceManager:
    """Tells lines such as `READY=1` to whoever started us, and to nobody where that named no socket."""

    def __init__(self) -> None:
        """Take the socket's name out of the environment: it is ours, not a child's."""
        self._path = os.environ.pop(_VARIABLE, "")

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
