"""`hopper serve`: the API, the monitor beside it and, without a Redis of one's own, the embedded Valkey."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.numbers import whole
from hopper.cli.signals import until_signal
from hopper.errors import StoreFault

if TYPE_CHECKING:
    import socket

    from hopper.cli.server import Server
    from hopper.config import Settings

__all__ = ["serve"]

_PARENT_POLL_S = 0.2


async def serve(
    connection: Connection,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="where the API listens [127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", parser=whole("port", minimum=0), help="0 picks a free one [8080]")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="allow an address other than loopback")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="end when the parent process does")] = False,
) -> None:
    """Serve the API, with a monitor beside it.

    Without a Redis URL it starts, or joins, the embedded Valkey of the data directory.
    """
    parent = os.getppid()  # before anything slow, so that its end is not missed
    from hopper.cli.listener import listen

    settings = connection.settings(host=host, port=port)

    async def work() -> None:
        with listen(settings, insecure=insecure) as listener:
            async with (
                _ended_with(parent if with_parent else None),
                connection.started(host=host, port=port) as found,
            ):
                await _serve(found, listener)

    await until_signal(work())


async def _serve(settings: "Settings", listener: "socket.socket") -> None:
    """Serve until cancelled; then API and monitor end side by side, and a second cancellation waits for neither."""
    from hopper.api.app import create_app
    from hopper.cli.child_monitor import ChildMonitor
    from hopper.cli.server import Server

    server = Server(create_app(settings), announce=lambda: _announce(settings, listener))
    async with asyncio.TaskGroup() as tasks:
        monitor = tasks.create_task(ChildMonitor(settings).run(), name="monitor")
        serving = tasks.create_task(_answer(server, listener, settings), name="api")
        try:
            await asyncio.shield(serving)
        finally:
            monitor.cancel()
            server.should_exit = True
            await serving
    if not server.started:
        raise StoreFault("the API did not start: the log above says why")


async def _answer(server: "Server", listener: "socket.socket", settings: "Settings") -> None:
    """Answer requests once somebody watches over those who register."""
    from hopper.cli.child_monitor import led

    await led(settings)
    if not server.should_exit:
        await server.serve(sockets=[listener])


@asynccontextmanager
async def _ended_with(parent: int | None) -> AsyncIterator[None]:
    """Cancel the block when the parent process, if one is named, has ended in whatever way."""
    task = asyncio.current_task()

    async def watch() -> None:
        while os.getppid() == parent:  # noqa: ASYNC110 - the kernel sends no event for it
            await asyncio.sleep(_PARENT_POLL_S)
        if task is not None and not task.cancelling():
            task.cancel()

    watching = asyncio.create_task(watch()) if parent is not None else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()


def _announce(settings: "Settings", listener: "socket.socket") -> None:
    from hopper.store.client import without_password

    host, port = listener.getsockname()[:2]
    origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    typer.echo(
        f"Hopper serves namespace '{settings.namespace}'\n"
        f"  API     {origin}/api/v1/registry\n"
        f"  health  {origin}/api/v1/registry/health  (/livez, /readyz)\n"
        f"  Redis   {without_password(settings.redis_url or '')}"
    )
