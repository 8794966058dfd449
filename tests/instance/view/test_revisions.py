"""Waiting until a view has reached a revision."""

import asyncio

import pytest

from hopper.errors import Unavailable
from hopper.model.state import Verb
from instance.view.viewers import viewer, writer
from specs import spec
from waiting import wait_until


async def test_reach_waits_for_a_revision_and_no_longer(tree, settings):
    async with viewer(settings) as one:
        waiting = asyncio.create_task(one.view.reach(5))
        await tree.transition("o", Verb.PAUSE)
        await wait_until(lambda: one.view.revision == 4)
        assert not waiting.done()
        await tree.transition("o", Verb.RESUME)
        await waiting
        assert one.view.revision == 5


async def test_reach_gives_up_after_its_time_and_leaves_nothing_behind(tree, settings):
    async with viewer(settings) as one:
        for _ in range(20):
            with pytest.raises(Unavailable, match=r"revision 99 has not arrived here within 0\.01 s"):
                await one.view.reach(99, timeout_s=0.01)
        cancelled = asyncio.create_task(one.view.reach(99))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert one.view._waiting == []


async def test_a_consistent_read_sees_what_another_client_wrote_just_before(tree, settings):
    async with viewer(settings) as one, writer(settings) as other:
        for number in range(50):
            await other.register(spec("project", f"n{number}"))
            await one.view.catch_up()
            assert f"n{number}" in one.ids


async def test_a_consistent_read_after_a_flush_sees_the_new_epoch(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, log_block_ms=2000)
    async with writer(settings) as store, viewer(settings) as one:
        for number in range(5):
            await store.register(spec("project", f"old{number}"))
        await wait_until(lambda: one.view.revision == 5)
        with private_server.connect() as direct:
            direct.flushall()
        await store.register(spec("project", "new"))
        await one.view.catch_up()
        assert one.ids == {"new"}
