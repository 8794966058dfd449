"""The synchronous door: a session of a plain `with`, in a thread."""

import asyncio
import threading
import time
from typing import Any

import pytest

from hopper import InstanceSession, State, Superseded
from hopper.errors import Unavailable
from instance.session.onlookers import TTL_MS, add, read


async def test_a_plain_with_does_the_same_in_a_thread(store, settings):
    def program() -> tuple[str, Any]:
        with InstanceSession(scope="project", id="p", settings=settings) as session:
            time.sleep(TTL_MS / 1000)
            return session.id, session._pacemaker.beats

    id, beats = await asyncio.to_thread(program)
    assert (id, (await read(store)).state) == ("p", State.STOPPED)
    assert beats >= 2


async def test_a_plain_with_passes_the_bodys_exception_on(store, settings):
    def program() -> None:
        with InstanceSession(scope="project", id="p", settings=settings):
            raise LookupError("the body's own")

    with pytest.raises(LookupError, match="the body's own"):
        await asyncio.to_thread(program)
    assert (await read(store)).state is State.STOPPED


async def test_a_plain_with_raises_superseded_at_its_end(store, settings):
    entered, go_on = threading.Event(), threading.Event()

    def program() -> None:
        with InstanceSession(scope="project", id="p", settings=settings) as session:
            entered.set()
            assert go_on.wait(10)
            session._pacemaker.join(10)

    running = asyncio.create_task(asyncio.to_thread(program))
    await asyncio.to_thread(entered.wait, 10)
    await add(store, "project", "p")
    go_on.set()
    with pytest.raises(Superseded):
        await running
    assert (await read(store)).state is State.RUNNING


async def test_a_plain_with_that_cannot_enter_says_why(new_settings):
    def program() -> None:
        with InstanceSession(scope="project", settings=new_settings(redis_url="redis://127.0.0.1:1")):
            pytest.fail("the body must not run")

    with pytest.raises(Unavailable):
        await asyncio.to_thread(program)
