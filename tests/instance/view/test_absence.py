"""A view while Redis is away or spoilt: it keeps what it has and says so."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from hopper.errors import NewerSchema, StoreFault, Unavailable
from hopper.model.event import Event
from hopper.store.keys import Keys
from instance.view.viewers import viewer, writer
from specs import spec
from waiting import wait_until


async def test_while_redis_is_away_reads_go_on_and_say_how_stale_they_are(private_server, own_settings):
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await wait_until(lambda: one.ids == {"g"})
        await asyncio.to_thread(private_server.kill)
        await wait_until(lambda: not one.view.complete)
        first = await wait_until(lambda: one.view.stale_ms)
        await wait_until(lambda: one.view.stale_ms > first + 100)
        assert one.ids == {"g"}
        with pytest.raises(Unavailable):
            await one.view.catch_up()
        await asyncio.to_thread(private_server.restart)
        await wait_until(lambda: one.view.complete)
        assert one.view.stale_ms == 0
        await store.register(spec("project", "p"))
        await wait_until(lambda: "p" in one.ids)


async def test_a_frozen_redis_is_known_to_be_away_within_a_second_and_a_half(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url)
    async with viewer(settings) as one:
        private_server.pause()
        frozen = time.monotonic()
        await wait_until(lambda: not one.view.complete)
        assert time.monotonic() - frozen < 1.5
        await wait_until(lambda: one.view.stale_ms > 1200)
        private_server.resume()
        await wait_until(lambda: one.view.complete)


async def test_a_view_that_starts_before_redis_loads_when_redis_comes(private_server, own_settings):
    await asyncio.to_thread(private_server.stop)
    async with viewer(own_settings, load=False) as one:
        with pytest.raises(Unavailable, match=r"has not loaded within 0\.2 s: Redis is away"):
            await one.view.reach(0, timeout_s=0.2)
        assert not one.view.loaded.is_set()
        await asyncio.to_thread(private_server.restart)
        await one.view.reach(0, timeout_s=5)
        assert one.view.complete


SPOILT: dict[str, Callable[[redis.Redis, Keys], Any]] = {
    "a log of another type": lambda direct, keys: direct.set(keys.events, "x"),
    "a revision that is no number": lambda direct, keys: direct.set(keys.revision, "x"),
    "instances of another type": lambda direct, keys: direct.set(keys.instances, "x"),
    "holds of another type": lambda direct, keys: direct.set(keys.holds, "x"),
    "keys of a newer version": lambda direct, keys: direct.set(keys.schema, "99"),
    "an epoch of another type": lambda direct, keys: direct.sadd(keys.epoch, "x"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
async def test_a_view_survives_whatever_redis_answers_and_follows_again_once_it_is_mended(
    spoil, private_server, own_settings
):
    keys = Keys(own_settings.namespace)
    async with writer(own_settings) as store, viewer(own_settings) as one:
        await store.register(spec("global", "g"))
        await wait_until(lambda: one.ids == {"g"})
        with private_server.connect() as direct:
            mended = {name: direct.dump(name) for name in direct.keys("*")}
            direct.delete(keys.epoch)  # so that a new snapshot is needed
            spoil(direct, keys)
            look_again(direct)
            await wait_until(lambda: isinstance(one.view.trouble, StoreFault))
            assert one.ids == {"g"}
            assert not one.view.complete
            for name, value in mended.items():
                direct.restore(name, 0, value, replace=True)
            if keys.holds.encode() not in mended:
                direct.delete(keys.holds)
        await wait_until(lambda: one.view.complete)
        await store.register(spec("project", "p"))
        await wait_until(lambda: "p" in one.ids)


def look_again(direct: redis.Redis) -> None:
    """Make every client connect anew, so that it looks at all keys again."""
    direct.client_kill_filter(_type="normal", skipme=True)


async def test_a_fault_that_keeps_the_first_snapshot_from_being_taken_is_told_at_once(store, client, settings):
    await client.set(store.keys.schema, "99")
    async with viewer(settings, load=False) as one:
        with pytest.raises(NewerSchema, match="upgrade"):
            await one.view.reach(0)
        with pytest.raises(NewerSchema, match="upgrade"):
            await one.view.reach(0)
    await client.set(store.keys.schema, "1")


async def test_a_fault_of_the_code_itself_is_reported_and_does_not_end_the_view(tree, settings):
    async with viewer(settings) as one:
        with capture_logs() as logs:

            def broken(_: Event) -> None:
                del one.view.replica.__dict__["apply"]
                raise ZeroDivisionError

            one.view.replica.__dict__["apply"] = broken
            await tree.register(spec("project", "q"))
            await wait_until(lambda: "q" in one.ids)
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["view.failed", "view.fault"]
        assert one.view.reloads == 2
