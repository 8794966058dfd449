"""An inbox: what is to be seen to, gathered for a moment, then taken all at once."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

__all__ = ["Inbox"]

V = TypeVar("V")

_GATHER_S = 0.01


class Inbox(Generic[V]):
    """Ids, each once, with the last word about it. For one taker."""

    def __init__(self) -> None:
        self._due: dict[str, V] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many are to be taken."""
        return len(self._due)

    def put(self, ids: Iterable[str], word: V) -> None:
        """Have these taken with the others that come within a hundredth of a second."""
        self._due.update(dict.fromkeys(ids, word))
        if self._due:
            self._wake.set()

    def put_back(self, due: Mapping[str, V]) -> None:
        """Have these taken again; of one that has come since, the newer word counts."""
        self._due = {**due, **self._due}
        if self._due:
            self._wake.set()

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()

    async def take(self) -> dict[str, V]:
        """Wait until something has come and a moment longer; answers all there is, nothing where it was forgotten."""
        await self._wake.wait()
        await asyncio.sleep(_GATHER_S)
        self._wake.clear()
        due, self._due = self._due, {}
        return due
