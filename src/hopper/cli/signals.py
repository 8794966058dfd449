"""Ending by signal: a long command is cancelled by SIGINT or SIGTERM and ends quietly."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["ENDING", "on_signals", "until_signal"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a command to end."""


@contextmanager
def on_signals(
    callback: Callable[[signal.Signals], object], signals: Sequence[signal.Signals] = ENDING
) -> Iterator[None]:
    """Call `callback` in the event loop for each signal that asks to end, or others; `nohup` keeps SIGHUP ignored."""
    loop = asyncio.get_running_loop()
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in signals if not (ignored and number is signal.SIGHUP)]
    for number in numbers:
        loop.add_signal_handler(number, callback, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until it ends, or is cancelled: by a signal that asks to end, or by itself. That is no error."""
    task = asyncio.ensure_future(work)
    with on_signals(lambda _: task.cancel()):
        try:
            await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
