"""The clients: each timeout and retry, and the URLs they take."""

import asyncio

import pytest
import redis

from hopper.config import Settings
from hopper.errors import Invalid, Unavailable
from hopper.store.client import (
    POOL_SIZE,
    ConnectCount,
    blocking_client,
    command_client,
    database_of,
    heartbeat_client,
    subscriber_client,
)
from waiting import wait_until

URL = "redis://127.0.0.1:6379/0"
SETTINGS = Settings(
    redis_url=URL, connect_timeout_s=1.5, command_timeout_s=2.5, log_block_ms=700, log_silence_s=4.0
)  # fmt: skip

CLIENTS = {
    "commands": (command_client, 2.5, POOL_SIZE),
    "blocking reads": (blocking_client, 4.7, 1),
    "notifications": (subscriber_client, None, 1),
    "heartbeats": (heartbeat_client, 2.5, 1),
}


@pytest.mark.parametrize(("build", "read_timeout_s", "connections"), CLIENTS.values(), ids=CLIENTS.keys())
def test_each_client_states_its_timeouts_its_connections_and_no_retry(build, read_timeout_s, connections):
    pool = build(SETTINGS).connection_pool
    options = pool.connection_kwargs
    assert options["socket_timeout"] == read_timeout_s
    assert options["socket_connect_timeout"] == 1.5
    assert options["socket_keepalive"] is True
    assert pool.max_connections == connections
    assert options["retry"].get_retries() == 0
    assert not options.get("retry_on_error")
    assert options["decode_responses"] is False
    assert options["client_name"] == "hopper"


@pytest.mark.parametrize("build", [build for build, *_ in CLIENTS.values()], ids=CLIENTS.keys())
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:6379", "127.0.0.1:6379", "amqp://x/", "redis//x"], ids=["http", "none", "amqp", "typo"]
)
def test_a_url_of_another_scheme_is_invalid_and_named(build, url):
    with pytest.raises(Invalid, match="its scheme is not one of") as refused:
        build(Settings(redis_url=url))
    assert url in str(refused.value)
    assert (refused.value.field, refused.value.value) == ("redis_url", url)


@pytest.mark.parametrize("build", [build for build, *_ in CLIENTS.values()], ids=CLIENTS.keys())
def test_without_a_url_and_an_embedded_server_there_is_no_redis(build, tmp_path):
    with pytest.raises(Unavailable, match="no Redis: HOPPER_REDIS_URL is not set") as raised:
        build(Settings(data_dir=tmp_path))
    assert str(tmp_path) in str(raised.value)


DATABASES = {"none named": ("redis://h:1", 0), "the first": ("redis://h:1/0", 0), "another": ("redis://h:1/7", 7),
             "over a socket": ("unix:///s?db=3", 3), "over TLS": ("rediss://h:1/2", 2)}  # fmt: skip


@pytest.mark.parametrize(("url", "number"), DATABASES.values(), ids=DATABASES.keys())
def test_the_database_is_that_of_the_url(url, number):
    assert database_of(command_client(Settings(redis_url=url))) == number


async def test_a_socket_url_works(private_server):
    async with command_client(Settings(redis_url=private_server.socket_url)) as client:
        assert await client.ping()


async def test_a_heartbeat_client_is_synchronous_and_works(settings):
    with heartbeat_client(settings) as client:
        assert client.ping()


async def test_a_blocking_read_longer_than_a_command_may_take_is_answered(new_settings):
    settings = new_settings(command_timeout_s=0.05, log_block_ms=200, log_silence_s=2)
    async with blocking_client(settings) as client:
        assert not await client.xread({f"hopper:{{{settings.namespace}}}:events": "0"}, block=settings.log_block_ms)


async def test_a_command_that_is_not_answered_in_time_is_given_up(private_server):
    async with command_client(Settings(redis_url=private_server.url, command_timeout_s=0.1)) as client:
        await client.ping()
        private_server.pause()
        with pytest.raises(redis.TimeoutError):
            await asyncio.wait_for(client.ping(), 5)
        private_server.resume()


async def test_more_commands_at_once_than_connections_wait_for_one(settings):
    async with command_client(settings, connections=2) as client:
        assert all(await asyncio.gather(*(client.ping() for _ in range(50))))
        assert len([other for other in await client.client_list() if other["name"] == "hopper"]) <= 2


async def test_a_client_connects_again_after_the_server_has_restarted_and_counts_it(private_server):
    connects = ConnectCount()
    async with command_client(Settings(redis_url=private_server.url), connections=1, connects=connects) as client:
        await client.ping()
        assert connects.count == 1
        private_server.restart()

        async def answers() -> bool:
            try:
                return bool(await client.ping())
            except redis.ConnectionError:
                return False

        await wait_until(answers)
        assert connects.count == 2
