"""Registrations that reach Redis late, and answers to them that come late or never."""

import asyncio
from typing import Any

import pytest

from hopper.errors import Unavailable
from hopper.store.instances import InstanceStore, Registration

__all__ = ["LostAnswers", "SlowAnswers", "SlowRequests"]


class SlowAnswers:
    """Lets Redis take registrations from the `first` on, and holds their answers back until told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int = 1) -> None:
        self.taken = asyncio.Event()
        self.go_on = asyncio.Event()
        self._register = InstanceStore.register
        self._count, self._first = 0, first
        slow = self

        async def register(store: InstanceStore, *args: Any, **more: Any) -> Registration:
            return await slow.answer(store, *args, **more)

        monkeypatch.setattr(InstanceStore, "register", register)

    async def answer(self, store: InstanceStore, *args: Any, **more: Any) -> Registration:
        done = await self._register(store, *args, **more)
        self._count += 1
        if self._count >= self._first:
            self.taken.set()
            await self.go_on.wait()
        return done

    def later(self) -> None:
        asyncio.get_running_loop().call_later(0.2, self.go_on.set)


class LostAnswers:
    """Loses the answers to registrations, from the `first` on until the `last`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
        self.count = 0
        register, lost = InstanceStore.register, self

        async def lose(store: InstanceStore, *args: Any, **more: Any) -> Registration:
            done = await register(store, *args, **more)
            lost.count += 1
            if first <= lost.count <= last:
                raise Unavailable("Redis is away: the answer was lost", outcome="unknown")
            return done

        monkeypatch.setattr(InstanceStore, "register", lose)


class SlowRequests:
    """Has registrations arrive at Redis only when told, though nobody may wait for them any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent = asyncio.Event()
        self.go_on = asyncio.Event()
        self.arrived: list[asyncio.Future[Registration]] = []
        register, slow = InstanceStore.register, self

        async def arrive(*args: Any, **more: Any) -> Registration:
            await slow.go_on.wait()
            return await register(*args, **more)

        async def send(*args: Any, **more: Any) -> Registration:
            slow.arrived.append(asyncio.ensure_future(arrive(*args, **more)))
            slow.sent.set()
            return await asyncio.shield(slow.arrived[-1])

        monkeypatch.setattr(InstanceStore, "register", send)
