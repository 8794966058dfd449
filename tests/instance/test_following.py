"""Following: it never ends, and tells where the log broke and whether anything was lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hopper.config import Settings
from hopper.errors import Compacted, Unavailable
from hopper.instance.following import Break, follow
from hopper.model.event import Event
from hopper.model.spec import parse_spec
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from servers import RedisServer
from waiting import wait_until


@pytest.fixture
def settings(private_server: RedisServer, new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(redis_url=private_server.url, log_block_ms=100)


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[InstanceStore]:
    """A store on the private server, its namespace opened."""
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store


async def add(store: InstanceStore, *ids: str) -> None:
    for id in ids:
        await store.register(parse_spec({"scope": "project", "id": id}))


@contextlib.asynccontextmanager
async def heard_of(settings: Settings, since: int | None = None) -> AsyncIterator[list[Event | Break]]:
    """What is told, as it comes."""
    heard: list[Event | Break] = []
    async with contextlib.aclosing(follow(settings, since=since)) as events:

        async def hear() -> None:
            async for event in events:
                heard.append(event)  # noqa: PERF401 - it never ends

        task = asyncio.create_task(hear())
        try:
            yield heard
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.wait([task])


def told(heard: list[Event | Break]) -> list[str | None]:
    return [event.type if isinstance(event, Break) else event.id for event in heard]


async def test_a_restart_that_has_lost_nothing_is_told_and_no_change_is_missed(own, settings, private_server):
    await add(own, "a")
    async with heard_of(settings, since=0) as heard:
        await wait_until(lambda: told(heard) == ["a"])
        await asyncio.to_thread(private_server.stop)
        await asyncio.to_thread(private_server.restart)
        await add(own, "b")
        await wait_until(lambda: told(heard) == ["a", "log_continued", "b"])
        gap = heard[1]
        assert (gap.revision, gap.lost, gap.epoch) == (1, False, (await own.position()).epoch)


async def test_a_restart_before_the_first_event_is_no_end_either(own, settings, private_server):
    await add(own, "a")
    async with heard_of(settings) as heard:
        await wait_until(lambda: is_watched(own))
        await asyncio.to_thread(private_server.stop)
        await asyncio.to_thread(private_server.restart)
        await add(own, "b")
        await wait_until(lambda: told(heard) == ["log_continued", "b"])


async def test_a_log_that_was_begun_anew_is_told_of_and_followed_from_where_it_is(own, settings, private_server):
    await add(own, "a", "b")
    async with heard_of(settings, since=0) as heard:
        await wait_until(lambda: told(heard) == ["a", "b"])
        with private_server.connect() as direct:
            direct.flushall()
        await wait_until(lambda: told(heard)[2:] == ["log_lost"])
        gap = heard[2]
        assert (gap.revision, gap.lost) == (0, True)
        assert "after revision 2 is not told" in gap.detail
        await add(own, "c")
        await wait_until(lambda: told(heard)[3:] == ["c"])


async def test_a_log_that_is_begun_anew_while_its_reader_still_has_a_break_in_hand_is_told_of_too(
    own, settings, private_server
):
    await add(own, "a", "b")
    async with contextlib.aclosing(follow(settings, since=0)) as events:
        assert told([await anext(events), await anext(events)]) == ["a", "b"]
        gap = asyncio.create_task(anext(events))
        await wait_until(lambda: is_watched(own))
        await asyncio.to_thread(private_server.stop)
        await asyncio.to_thread(private_server.restart)
        assert told([await gap]) == ["log_continued"]
        with private_server.connect() as direct:
            direct.flushall()
        async with contextlib.aclosing(InstanceStore(settings)) as anew:
            await anew.open()
            await add(anew, "c", "d", "e")
            assert told([await anext(events)]) == ["log_lost"]
            await add(anew, "f")
            assert told([await anext(events)]) == ["f"]


async def test_a_redis_that_is_away_again_while_it_is_asked_where_it_is_ends_nothing(
    own, settings, private_server, monkeypatch
):
    between, away = ChangeLog.between, iter([True])

    async def faulty(self: ChangeLog, first: int, last: int) -> list[Event]:
        if first == last == 0 and next(away, False):
            raise Unavailable("Redis is away again", outcome="not_sent")
        return await between(self, first, last)

    await add(own, "a", "b")
    async with heard_of(settings, since=1) as heard:
        await wait_until(lambda: told(heard) == ["b"])
        monkeypatch.setattr(ChangeLog, "between", faulty)
        with private_server.connect() as direct:
            direct.flushall()
        await wait_until(lambda: told(heard)[1:] == ["log_lost"])
        assert next(away, None) is None


async def test_while_redis_is_away_it_waits(own, settings, private_server):
    await add(own, "a")
    async with heard_of(settings, since=0) as heard:
        await wait_until(lambda: told(heard) == ["a"])
        with private_server.connect() as direct:
            direct.client_kill_filter(_type="normal", skipme=True)
        await add(own, "b")
        await wait_until(lambda: told(heard) == ["a", "b"])


async def test_what_cannot_be_begun_is_refused(own, settings, private_server):
    await add(own, "a", "b", "c")
    with pytest.raises(Compacted, match="revision 9 has not been reached"):
        await anext(follow(settings, since=9))
    with private_server.connect() as direct:
        direct.xtrim(own.keys.events, maxlen=1, approximate=False)
    with pytest.raises(Compacted, match="no longer holds revision 2"):
        await anext(follow(settings, since=1))


async def is_watched(store: InstanceStore) -> bool:
    return any(entry["cmd"] == "xread" for entry in await store.client.client_list())
