"""Standings: records and ledgers that are read at once, and what becomes of one that Redis refuses to tell."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import redis.asyncio.client
import redis.exceptions

from busy import busy
from hopper.config import Settings
from hopper.errors import StoreFault, Unavailable
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore, Standing
from servers import RedisServer
from specs import spec

BUSY = redis.exceptions.ResponseError("BUSY Redis is busy running a script.")
WRONG = redis.exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


@pytest.fixture
async def own(private_server: RedisServer) -> AsyncIterator[RestartStore]:
    """The restarts of a Project `web` on a server of its own."""
    async with aclosing(InstanceStore(Settings(redis_url=private_server.url, command_timeout_s=5))) as store:
        await store.open()
        await store.register(spec("project", "web"))
        yield RestartStore(store.settings, client=store.client)


async def test_a_server_that_is_busy_with_a_script_is_unavailable(own, private_server):
    async with busy(private_server):
        with pytest.raises(Unavailable, match="BUSY") as raised:
            await own.standing("web")
    assert raised.value.outcome == "not-applied"
    assert (await own.standing("web")).record.id == "web"


async def test_a_server_that_does_not_tell_the_time_is_a_fault(own, private_server):
    with private_server.connect() as direct:
        direct.execute_command("ACL SETUSER default -time")
    with pytest.raises(StoreFault, match="no permissions"):
        await own.standings(["web"])


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
async def test_a_refusal_for_now_of_any_reply_is_nobodys_own(at, own, monkeypatch):
    """Else whoever asks for many would take it for a record that cannot be read, and go on without it."""
    replies(monkeypatch, {at: BUSY})
    with pytest.raises(Unavailable, match="BUSY"):
        await own.standings(["web", "other"])


@pytest.mark.parametrize("at", [1, 2])
async def test_what_cannot_be_read_is_its_own_affair(at, own, monkeypatch):
    replies(monkeypatch, {at: WRONG})
    web, other = await own.standings(["web", "other"])
    assert isinstance(web, StoreFault)
    assert isinstance(other, Standing)


def replies(monkeypatch: pytest.MonkeyPatch, wrong: dict[int, Exception]) -> None:
    """Let a pipeline answer errors at some places."""
    original = redis.asyncio.client.Pipeline.execute

    async def execute(self: Any, raise_on_error: bool = True) -> list[Any]:
        answers = await original(self, raise_on_error=raise_on_error)
        return [wrong.get(at, answer) for at, answer in enumerate(answers)]

    monkeypatch.setattr(redis.asyncio.client.Pipeline, "execute", execute)
