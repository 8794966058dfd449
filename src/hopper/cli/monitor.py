"""`hopper monitor`: the failure detector as a process of its own."""

# ruff: noqa: PLC0415 - slow imports are inside functions, so that `hopper --help` is quick

import asyncio
import os
import sys
import threading
import time
from typing import Annotated

import typer

from hopper.cli.connection import Connection
from hopper.cli.exits import Exit
from hopper.cli.signals import until_signal

__all__ = ["monitor"]

_PATIENCE_S = 2.0
"""Seconds a monitor has to give its leadership back after its parent has gone."""


async def monitor(
    connection: Connection,
    end_with_stdin: Annotated[
        bool, typer.Option("--end-with-stdin", hidden=True, help="end when standard input does")
    ] = False,
) -> None:
    """Notice who stops heartbeating.

    Run as many as you like: one leads, the others stand by.
    """
    from hopper.instance.monitor import Monitor

    async def run() -> None:
        task = asyncio.current_task()
        if end_with_stdin and task is not None:
            _end_with_stdin(task)
        async with connection.joined() as settings:
            await Monitor(settings).run()

    await until_signal(run())


def _end_with_stdin(task: "asyncio.Task[None]") -> None:
    """Cancel a task when standard input ends, which it does however its writer dies.

    In a thread, and not only by asking: no monitor may outlive the server it belongs to, whatever it is busy with.
    """
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(task.cancel)
        time.sleep(_PATIENCE_S)
        os._exit(Exit.UNEXPECTED)

    threading.Thread(target=wait_for_end, name="end with stdin", daemon=True).start()
