"""The socket of the API."""

import socket

from hopper.cli.listener import listen
from hopper.config import Settings


def test_the_socket_says_that_it_is_tcp_so_that_asyncio_switches_nagles_delay_off() -> None:
    with listen(Settings(port=0), insecure=False) as listener:
        assert listener.proto == socket.IPPROTO_TCP
