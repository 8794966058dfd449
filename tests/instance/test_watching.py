"""Watching: every event once and in order, or a word that some are gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hopper.config import Settings
from hopper.errors import Compacted, StoreFault, Unavailable
from hopper.instance.watching import watch
from hopper.model.event import Event
from hopper.model.spec import apply_patch, parse_spec
from hopper.store.instances import InstanceStore
from waiting import wait_until


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(log_block_ms=100)


async def add(store: InstanceStore, *ids: str) -> None:
    for id in ids:
        await store.register(parse_spec({"scope": "project", "id": id}))


async def take(events: AsyncIterator[Event], count: int) -> list[str | None]:
    async with asyncio.timeout(10):
        return [(await anext(events)).id for _ in range(count)]


async def test_a_watch_tells_what_comes_after_its_begin(store, settings):
    await add(store, "a")
    async with contextlib.aclosing(watch(settings)) as events:
        first = asyncio.create_task(take(events, 2))
        await wait_until(lambda: is_watched(store))
        await add(store, "b", "c")
        assert await first == ["b", "c"]


async def is_watched(store: InstanceStore) -> bool:
    return any(entry["cmd"] == "xread" for entry in await store.client.client_list())


async def test_a_watch_can_be_taken_up_after_any_event(store, settings):
    await add(store, "a", "b", "c", "d")
    for since in range(5):
        async with contextlib.aclosing(watch(settings, since=since)) as events:
            assert await take(events, 4 - since) == ["a", "b", "c", "d"][since:]


async def test_more_events_than_one_read_brings_come_all(store, settings):
    await add(store, "a")
    for number in range(600):
        await store.update("a", lambda record, number=number: apply_patch(record, {"version": str(number)}))
    async with contextlib.aclosing(watch(settings, since=0)) as events:
        revisions = [(await anext(events)).revision for _ in range(601)]
    assert revisions == list(range(1, 602))


async def test_a_revision_that_is_not_reached_yet_is_refused(store, settings):
    await add(store, "a")
    with pytest.raises(Compacted, match="revision 9 has not been reached") as refused:
        await anext(watch(settings, since=9))
    assert (refused.value.revision, refused.value.oldest_revision) == (1, 1)


@pytest.mark.parametrize("lose", ["some", "all"])
async def test_what_was_trimmed_before_it_was_told_is_said(lose, store, settings, client):
    await add(store, "a", "b", "c")
    if lose == "some":
        await client.xtrim(store.keys.events, maxlen=1, approximate=False)
    else:
        await client.delete(store.keys.events)
    with pytest.raises(Compacted) as refused:
        await take(watch(settings, since=1), 1)
    assert (refused.value.oldest_revision, refused.value.revision) == ((3, 3) if lose == "some" else (None, 3))


async def test_a_strange_entry_is_said(store, settings, client):
    await client.xadd(store.keys.events, {"what": "is this"}, id="1-0")
    await client.set(store.keys.revision, 1)
    with pytest.raises(StoreFault, match="1-0"):
        await take(watch(settings, since=0), 1)


async def test_a_watch_outlasts_a_redis_that_comes_back_with_another_connection(store, settings, client):
    async with contextlib.aclosing(watch(settings, since=0)) as events:
        for number in range(3):
            await add(store, f"n{number}")
            assert await take(events, 1) == [f"n{number}"]
            waiting = asyncio.create_task(take(events, 1))
            await wait_until(lambda: is_watched(store))
            await client.client_kill_filter(_type="normal", skipme=True)
            await add(store, f"m{number}")
            assert await waiting == [f"m{number}"]


async def test_a_server_that_was_started_again_is_another_epoch_and_is_said(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, log_block_ms=100)
    async with contextlib.aclosing(InstanceStore(settings)) as store, contextlib.aclosing(watch(settings)) as events:
        await store.open()
        waiting = asyncio.create_task(take(events, 1))
        await wait_until(lambda: is_watched(store))
        await asyncio.to_thread(private_server.kill)
        await asyncio.to_thread(private_server.restart)
        with pytest.raises(Compacted, match="epoch"):
            await waiting


async def test_a_flush_is_said_though_the_new_log_goes_on_at_the_same_revision(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, log_block_ms=100)
    async with contextlib.aclosing(InstanceStore(settings)) as store, contextlib.aclosing(watch(settings)) as events:
        await store.open()
        waiting = asyncio.create_task(take(events, 10_000))
        await wait_until(lambda: is_watched(store))
        with private_server.connect() as direct:
            direct.flushall()
        while not waiting.done():
            await add(store, "a")
        with pytest.raises(Compacted, match="epoch"):
            await waiting


async def test_a_watch_that_cannot_begin_says_so(new_settings):
    with pytest.raises(Unavailable):
        await anext(watch(new_settings(redis_url="redis://127.0.0.1:1/0")))
