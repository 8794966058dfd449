"""Heartbeats in the store: how one is sent, and how they are read."""

import pytest

from hopper.errors import TooLarge
from specs import spec

pytestmark = pytest.mark.usefixtures("agrees")


async def test_a_heartbeat_is_a_setex_of_whole_seconds_with_the_value_given(store):
    await store.register(spec("project", "p"))
    await store.heartbeat("p", ttl_ms=2500, value=b'{"active_tasks":1}')
    value, left_ms = await store.read_heartbeat("p")
    assert value == b'{"active_tasks":1}'
    assert 2500 < left_ms <= 3000


async def test_a_heartbeat_too_large_is_refused_before_it_is_sent(store):
    await store.register(spec("project", "p"))
    with pytest.raises(TooLarge, match="the heartbeat of 'p' has 4097 bytes, over 4096"):
        await store.heartbeat("p", ttl_ms=1000, value=b"x" * 4097)


async def test_heartbeats_are_read_together_and_a_lapsed_one_is_none(store):
    for id in ("p", "q", "r"):
        await store.register(spec("project", id))
    await store.heartbeat("q", ttl_ms=1000, value=b"beat")
    await store.client.delete(store.keys.heartbeat("r"))
    assert await store.read_heartbeats(["r", "q", "p"]) == [None, b"beat", b"{}"]
    assert await store.read_heartbeats([]) == []
    value, left_ms = await store.read_heartbeat("r")
    assert value is None
    assert left_ms < 0
