"""Waiting for a condition instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["until_ended", "wait_until"]

POLL_S = 0.01


async def wait_until(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], timeout_s: float = 10.0, message: str | None = None
) -> Any:
    """Poll `condition`, a function or a coroutine function, every 10 ms until it is true; answers what it answered.

    Raises AssertionError, naming the condition and its last answer, after `timeout_s`. What the condition raises is
    not caught.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {message or _name(condition)} (last: {answer!r})")
        await asyncio.sleep(POLL_S)


async def until_ended(timeout_s: float = 30.0) -> None:
    """The end of a body that somebody else is to end. Raises AssertionError where nobody has after `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.Event().wait()
    except TimeoutError:
        raise AssertionError(f"nobody has ended it within {timeout_s:g} s") from None


def _name(condition: Callable[[], Any]) -> str:
    name = getattr(condition, "__qualname__", repr(condition))
    if "<lambda>" not in name:
        return name
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return name
