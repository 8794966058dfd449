"""The socket of the API: loopback only unless told otherwise, and taken before anything else is started."""

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from hopper.config import Settings
from hopper.errors import Invalid, Unavailable

__all__ = ["listen"]

_BACKLOG = 2048


@contextmanager
def listen(settings: Settings, *, insecure: bool) -> Iterator[socket.socket]:
    """Listen on the API's address. Raises `Invalid` for one that is not allowed, `Unavailable` for a port in use."""
    host, port = settings.host, settings.port
    family, address = _resolve(host, port)
    if not insecure and not ipaddress.ip_address(address).is_loopback:
        raise Invalid(
            f"host is {host!r}: the API asks nobody who he is, so it listens on loopback only (127.0.0.1 or ::1); "
            "--insecure opens it to the network",
            field="host",
            value=host,
        )
    # asyncio switches Nagle's delay off only on sockets that say they are TCP: without it each answer takes 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(_BACKLOG)  # binding alone does not keep another one from doing the same
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror}"
            raise Unavailable(f"port {port} of {host} {why}: choose another with --port (0 is a free one)") from None
        listener.setblocking(False)
        yield listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Invalid(f"host is {host!r}: {error.strerror}", field="host", value=host) from None
    family, _, _, _, address = found[0]
    return family, str(address[0])
