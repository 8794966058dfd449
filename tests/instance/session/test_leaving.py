"""Leaving a session: in order, whatever state and whatever exception the body ends with."""

import asyncio
import contextlib
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper import InstanceSession, Settings, State, Superseded
from hopper.errors import StaleIncarnation
from hopper.instance.membership.pacemaker import Pacemaker
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.session.onlookers import TTL_MS, add, beating, read
from specs import known
from waiting import wait_until


async def leave(settings: Settings, **fields: Any) -> InstanceSession:
    async with InstanceSession(settings=settings, **{"scope": "project", "id": "p", **fields}) as session:
        pass
    return session


async def test_one_that_is_not_ephemeral_is_stopped_and_stays(store, client, settings):
    await leave(settings)
    assert (await read(store)).state is State.STOPPED
    assert not await beating(client, store, "p")


async def test_an_ephemeral_one_with_children_is_stopped_and_stays(store, settings):
    async with InstanceSession(scope="project", id="p", ephemeral=True, settings=settings):
        await add(store, "orchestration", "o", parent_id="p")
    assert (await read(store)).state is State.STOPPED


@pytest.mark.parametrize("state", ["created", "starting", "running"])
async def test_whatever_state_it_came_in_it_leaves_in_order(state, store, settings):
    await leave(settings, state=state, ephemeral=True)
    assert await read(store) is None


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.STOP, Verb.FAIL])
async def test_whatever_state_it_reached_it_leaves_in_order(verb, store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await session.transition(verb, reason="test")
    assert (await read(store)).state is (State.FAILED if verb is Verb.FAIL else State.STOPPED)


async def test_a_newer_incarnation_is_left_alone(store, settings):
    with contextlib.suppress(Superseded):
        async with InstanceSession(scope="project", id="p", ephemeral=True, settings=settings) as session:
            await add(store, "project", "p")
            with pytest.raises(StaleIncarnation):
                await session.transition(Verb.PAUSE)
    assert (await read(store)).state is State.RUNNING


async def test_the_bodys_own_exception_passes_through_unchanged(store, settings):
    error = LookupError("the body's own")
    with pytest.raises(LookupError) as raised:
        async with InstanceSession(scope="project", id="p", settings=settings):
            raise error
    assert raised.value is error
    assert (await read(store)).state is State.STOPPED


async def test_an_exception_group_of_the_body_passes_through_unchanged(settings):
    group = ExceptionGroup("the body's own", [ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as raised:
        async with InstanceSession(scope="project", id="p", settings=settings):
            raise group
    assert raised.value is group


async def test_a_cancelled_body_leaves_in_order_and_stays_cancelled(store, settings):
    entered = asyncio.Event()

    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings):
            entered.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(program())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await read(store)).state is State.STOPPED


async def test_a_timeout_around_the_body_is_a_timeout(store, settings):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), InstanceSession(scope="project", id="p", settings=settings):
            await asyncio.sleep(30)
    assert (await read(store)).state is State.STOPPED


async def test_leaving_without_redis_is_said_and_does_not_raise(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings):
            await asyncio.to_thread(private_server.kill)
    assert "session.not_left" in {entry["event"] for entry in logs}


async def test_one_that_has_not_asked_redis_for_anything_since_it_was_started_again_leaves_in_order(
    private_server, new_settings
):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="global", id="p", settings=settings) as session:
        await asyncio.to_thread(private_server.kill)
        await asyncio.to_thread(private_server.restart)
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        assert (await known(store, "p")).state is State.STOPPED


async def test_an_ephemeral_one_that_others_made_failed_is_gone_all_the_same(store, settings, monkeypatch):
    monkeypatch.setattr(Pacemaker, "_check", lambda _: None)  # it leaves before it has looked
    async with InstanceSession(scope="project", id="p", ephemeral=True, settings=settings):
        await store.transition("p", Verb.FAIL)
    assert await read(store) is None


@pytest.mark.parametrize("returns", [True, False])
async def test_an_ephemeral_one_that_failed_by_its_own_word_stays_failed(returns, store, settings):
    async with InstanceSession(scope="project", id="p", ephemeral=True, returns=returns, settings=settings) as session:
        await session.fail(reason="test")
    assert (await read(store)).state is State.FAILED


async def test_an_ephemeral_one_that_does_not_return_stays_as_others_made_it(store, settings):
    async with InstanceSession(scope="project", id="p", ephemeral=True, returns=False, settings=settings):
        await store.transition("p", Verb.FAIL)
    assert (await read(store)).state is State.FAILED
