"""The users of the embedded Valkey: they share one server, which is there as long as one of them."""

import asyncio
import contextlib
import fcntl
from pathlib import Path

import pytest

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.store.embedded import EmbeddedValkey, join, running_url
from store.embedded.processes import Spawn, client, held, listens, lives, state, until_gone, waits_for
from waiting import wait_until


async def test_a_second_process_joins_the_server_of_the_first_and_sees_its_data(spawn: Spawn) -> None:
    first_url = await (await spawn()).url()
    async with client(first_url) as redis:
        await redis.set("greeting", "hello")
    second_url = await (await spawn()).url()
    assert second_url == first_url
    async with client(second_url) as redis:
        assert await redis.get("greeting") == "hello"


async def test_the_server_outlives_its_starter_and_ends_with_its_last_user(spawn: Spawn, data_dir: Path) -> None:
    first = await spawn()
    await first.url()
    second = await spawn("join")
    url = await second.url()
    was = state(data_dir)
    await first.leave()
    async with client(url) as redis:
        await redis.ping()
    assert state(data_dir) == was
    await second.leave()
    await until_gone(was)
    assert not (data_dir / "embedded.json").exists()
    assert running_url(data_dir) is None


async def test_the_server_ends_when_its_last_user_is_killed(spawn: Spawn, data_dir: Path) -> None:
    first, second = await spawn(), await spawn()
    assert await first.url() == await second.url()
    was = state(data_dir)
    await first.die()
    assert running_url(data_dir) == was["url"]
    await second.die()
    await until_gone(was)


async def test_the_server_stays_while_it_has_a_user(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url:
        was = state(data_dir)
        for _ in range(5):
            async with EmbeddedValkey(settings) as again:
                assert again == url
        assert state(data_dir) == was
        assert lives(was["valkey_pid"])
    await until_gone(was)


async def test_a_user_never_gets_a_server_that_is_about_to_end(settings: Settings) -> None:
    for number in range(4):  # each entry meets the end of the server before
        async with EmbeddedValkey(settings) as url, client(url) as redis:
            assert await redis.incr("entries") == number + 1


async def test_the_keeper_looks_again_when_somebody_joins_as_the_last_user_leaves(
    settings: Settings, data_dir: Path
) -> None:
    with contextlib.ExitStack() as joiner:
        async with EmbeddedValkey(settings):
            was = state(data_dir)
            await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "users.lock"))
            start = joiner.enter_context(contextlib.ExitStack())
            start.enter_context(held(data_dir, "start.lock"))
        await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "start.lock"))
        joiner.enter_context(held(data_dir, "users.lock", fcntl.LOCK_SH))
        start.close()
        await wait_until(lambda: waits_for(was["keeper_pid"], data_dir / "users.lock"))
        assert running_url(data_dir) == was["url"]
    await until_gone(was)


async def test_ten_processes_that_start_at_once_share_one_server(spawn: Spawn, data_dir: Path) -> None:
    users = [await spawn() for _ in range(10)]
    urls = await asyncio.gather(*(user.url() for user in users))
    assert len(set(urls)) == 1
    was = state(data_dir)
    assert (data_dir / "keeper.log").read_text().count('"valkey_started"') == 1
    for user in users:
        await user.die()
    await until_gone(was)


async def test_joining_never_starts_a_server_nor_makes_a_directory(settings: Settings, data_dir: Path) -> None:
    with pytest.raises(Unavailable, match="no embedded Valkey runs on"):
        async with join(data_dir):
            pass
    assert not data_dir.exists()
    async with EmbeddedValkey(settings):
        was = state(data_dir)
    await until_gone(was)
    with pytest.raises(Unavailable, match="no embedded Valkey runs on"):
        async with join(data_dir):
            pass
    assert not listens(was["port"])


async def test_joining_waits_for_others_who_start_or_end_and_can_be_cancelled(
    settings: Settings, data_dir: Path
) -> None:
    async with EmbeddedValkey(settings):
        with held(data_dir, "start.lock"), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), join(data_dir):
                pass
        async with join(data_dir):
            pass
