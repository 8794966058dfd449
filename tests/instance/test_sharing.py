"""One registry per process: who shares it, who closes it, and what is left after that."""

import asyncio
import gc
import threading
import time

import pytest
from structlog.testing import capture_logs

from hopper import InstanceRegistry, Settings
from hopper.errors import NewerSchema, Unavailable
from hopper.model.event import Event
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("redis_is_left_quiet")


async def test_there_is_one_registry_per_namespace_and_event_loop(settings, new_settings):
    first = InstanceRegistry.get(settings)
    assert InstanceRegistry.get(settings) is first
    assert InstanceRegistry.get(new_settings()) is not first
    elsewhere = await asyncio.to_thread(lambda: asyncio.run(another_loop(settings)))
    assert elsewhere is not first


async def another_loop(settings: Settings) -> InstanceRegistry:
    return InstanceRegistry.get(settings)


def test_a_registry_of_a_loop_that_has_ended_is_not_given_to_another(settings):
    async def one() -> InstanceRegistry:
        return await InstanceRegistry.get(settings)

    async def enter() -> int:
        async with InstanceRegistry.get(settings) as registry:
            await registry.register(scope="global", id="g")
            return id(registry)

    with asyncio.Runner() as runner:
        left_open = runner.run(one())
        seen = {id(left_open)}
        runner.run(left_open.aclose())
    for _ in range(5):
        number = asyncio.run(enter())
        assert number not in seen or left_open is None
        gc.collect()
    assert not any(key[0].is_closed() for key in InstanceRegistry._shared if key[2] == "nobody")


async def test_the_last_of_several_users_closes_it_and_the_next_gets_a_new_one(settings):
    registry = InstanceRegistry.get(settings)
    async with registry, InstanceRegistry.get(settings) as same:
        assert same is registry
        async with registry:
            pass
        assert registry.view.complete
        await registry.register(scope="global", id="g")
    assert not registry.view.complete
    await registry.aclose()
    assert InstanceRegistry.get(settings) is not registry


async def test_it_can_be_awaited_and_left_by_hand(settings):
    registry = await InstanceRegistry.get(settings)
    assert registry.view.complete
    await registry.aclose()


async def test_entered_again_it_works_and_calls_back_once_per_event(settings):
    registry = InstanceRegistry(settings)
    heard: list[Event] = []
    registry.on(None, heard.append)
    for number in range(3):
        async with registry:
            await registry.register(scope="project", id=f"p{number}")
            await wait_until(lambda number=number: len(heard) == number + 1)
    assert [event.id for event in heard] == ["p0", "p1", "p2"]


async def test_one_that_enters_while_the_last_one_leaves_has_a_registry_that_works(settings):
    registry = await InstanceRegistry.get(settings)
    with capture_logs() as logs:
        leaving = asyncio.create_task(registry.aclose())
        await asyncio.sleep(0)
        async with registry:
            await leaving
            await registry.register(scope="global", id="g")
            assert await registry.get("g", consistent=True)
            assert InstanceRegistry.get(settings) is registry
    assert {entry["event"] for entry in logs} <= {"view.loaded"}


async def test_nothing_is_left_running_after_the_exit(settings):
    before, threads = asyncio.all_tasks(), threading.active_count()
    async with InstanceRegistry(settings) as registry:
        await registry.register(scope="global", id="g")
        heard: list[Event] = []
        watching = aiter(registry.watch(since=0))
        heard.append(await anext(watching))
        await watching.aclose()
    assert asyncio.all_tasks() == before
    assert threading.active_count() == threads


async def test_a_registry_that_was_not_entered_says_so(settings):
    with pytest.raises(Unavailable, match="async with"):
        await InstanceRegistry(settings).get("g")


async def test_entering_without_redis_fails_after_the_time_a_read_may_wait(new_settings):
    registry = InstanceRegistry(new_settings(redis_url="redis://127.0.0.1:1/0", read_wait_s=0.2))
    before = asyncio.all_tasks()
    with pytest.raises(Unavailable, match="has not loaded"):
        async with registry:
            pass
    assert asyncio.all_tasks() == before


async def test_keys_of_a_newer_version_are_refused_on_entry_with_a_sentence(settings, store, client):
    await client.set(store.keys.schema, "99")
    began = time.monotonic()
    with pytest.raises(NewerSchema, match="99"):
        await InstanceRegistry(settings).start()
    assert time.monotonic() - began < settings.read_wait_s
