"""Hooks: called in this process before and after a transition that is made through it."""

import inspect
from collections.abc import Awaitable, Callable

import structlog

from hopper.model.choice import one_of
from hopper.model.state import Verb

__all__ = ["Hook", "Hooks"]

Hook = Callable[[str, Verb], Awaitable[None] | None]


class Hooks:
    """What a program wants done around transitions. Callbacks hear of every change, hooks only of this process' own."""

    def __init__(self) -> None:
        self._before: list[tuple[Verb | None, Hook]] = []
        self._after: list[tuple[Verb | None, Hook]] = []
        self._logger = structlog.get_logger()

    def on_before(self, verb: Verb | str | None, hook: Hook) -> None:
        """Call `hook(id, verb)` before each transition by a verb, or by any where it is None.

        One that raises keeps the transition from being asked for; what it raises reaches the caller.
        """
        self._before.append((None if verb is None else one_of(Verb, "verb", verb), hook))

    def on_after(self, verb: Verb | str | None, hook: Hook) -> None:
        """Call `hook(id, verb)` after each transition. One that raises is reported: the transition stands."""
        self._after.append((None if verb is None else one_of(Verb, "verb", verb), hook))

    async def before(self, id: str, verb: Verb) -> None:
        """Call the hooks before a transition, in the order in which they were added."""
        for hook in _asked(self._before, verb):
            await _call(hook, id, verb)

    async def after(self, id: str, verb: Verb) -> None:
        """Call the hooks after a transition, in the order in which they were added."""
        for hook in _asked(self._after, verb):
            try:
                await _call(hook, id, verb)
            except Exception:
                self._logger.exception("hook.failed", id=id, verb=verb)


def _asked(hooks: list[tuple[Verb | None, Hook]], verb: Verb) -> list[Hook]:
    return [hook for wanted, hook in hooks if wanted is None or wanted is verb]


async def _call(hook: Hook, id: str, verb: Verb) -> None:
    result = hook(id, verb)
    if inspect.isawaitable(result):
        await result
