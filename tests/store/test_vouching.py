"""Heartbeats on behalf of others: never over one of the instance's own, and only the own word is taken back."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hopper.config import Settings
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import SurveillanceStore
from specs import known, spec
from store.verdicts import ME

VALUE = b'{"check":"http","response_time_ms":1.5}'
TTL_MS, SHORT_MS = 10_000, 3_000


@pytest.fixture
async def web(store: InstanceStore, settings: Settings) -> AsyncIterator[InstanceStore]:
    await store.register(spec("project", "web", ttl_ms=TTL_MS))
    async with contextlib.aclosing(SurveillanceStore(settings)) as surveillance:
        await surveillance.pulse(ME)
        yield store


async def vouch(store: InstanceStore, **more: Any) -> tuple[str, int]:
    return await store.vouch("web", incarnation=1, value=VALUE, short_ms=SHORT_MS, monitor_id=ME, **more)


async def disavow(store: InstanceStore) -> str:
    return await store.disavow("web", incarnation=1, monitor_id=ME)


async def write(store: InstanceStore, value: bytes, left_ms: int) -> None:
    await store.client.set(store.keys.heartbeat("web"), value, px=left_ms)


async def test_the_first_heartbeat_is_nobodys_own(web):
    assert await vouch(web) == ("vouched", TTL_MS)
    value, left_ms = await web.read_heartbeat("web")
    assert value == VALUE
    assert TTL_MS - 1_000 < left_ms <= TTL_MS


async def test_nor_is_the_one_with_which_a_start_begins(web):
    for verb in (Verb.STOP, Verb.STOPPED, Verb.START):
        await web.transition("web", verb)
    assert (await vouch(web))[0] == "vouched"


@pytest.mark.parametrize("value", [b"{}", b"", b'{"queue_depth":5}', b"not JSON"])
async def test_a_heartbeat_of_its_own_is_left_alone(value, web):
    await write(web, value, 8_000)
    outcome, left_ms = await vouch(web)
    assert (outcome, 7_000 < left_ms <= 8_000) == ("own", True)
    assert (await web.read_heartbeat("web"))[0] == value
    assert await disavow(web) == "own"
    assert (await web.read_heartbeat("web"))[0] == value


async def test_one_that_is_about_to_lapse_is_taken_over(web):
    await write(web, b'{"queue_depth":5}', SHORT_MS - 500)
    assert await vouch(web) == ("vouched", TTL_MS)
    assert (await web.read_heartbeat("web"))[0] == VALUE


async def test_one_that_a_check_has_written_is_renewed_and_taken_back(web):
    await vouch(web)
    await web.client.pexpire(web.keys.heartbeat("web"), 5_000)
    assert await vouch(web, renew=True) == ("vouched", TTL_MS)
    assert await disavow(web) == "disavowed"
    assert await web.read_heartbeat("web") == (None, -2)
    assert await disavow(web) == "lapsed"


async def test_one_that_has_lapsed_is_begun_anew_but_not_renewed(web):
    await web.client.delete(web.keys.heartbeat("web"))
    assert await vouch(web, renew=True) == ("lapsed", -2)
    assert await web.read_heartbeat("web") == (None, -2)
    assert await vouch(web) == ("vouched", TTL_MS)


async def test_who_is_not_monitored_has_no_heartbeat_and_who_is_gone_neither(web):
    await web.transition("web", Verb.FAIL)
    assert await vouch(web) == ("unmonitored", -2)
    await web.deregister("web")
    assert await vouch(web) == ("gone", -2)
    assert await disavow(web) == "gone"
    assert await web.client.exists(web.keys.heartbeat("web")) == 0


async def test_neither_is_an_event(web):
    await vouch(web)
    await disavow(web)
    assert (await known(web, "web")).revision == (await web.position()).revision == 1
