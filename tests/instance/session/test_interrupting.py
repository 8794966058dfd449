"""Interrupting a session while it registers: whatever Redis has taken of that does not stay without a heart."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import anyio
import pytest

from hopper import InstanceSession, Settings, State
from hopper.errors import Unavailable
from hopper.model.spec import InstanceSpec
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore, Registration
from instance.answers import LostAnswers, SlowAnswers, SlowRequests
from instance.session.onlookers import TTL_MS, read
from specs import known
from waiting import until_ended, wait_until

PROGRAM = """
import signal, sys
from pathlib import Path
from hopper import InstanceSession, Settings
from hopper.store.instances import InstanceStore
import asyncio

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would this
url, namespace, asked, answer = sys.argv[1:]
register = InstanceStore.register

async def slow(*args, **more):
    done = await register(*args, **more)
    Path(asked).touch()
    while answer and not Path(answer).exists():
        await asyncio.sleep(0.02)
    return done

InstanceStore.register = slow
with InstanceSession(scope="project", id="p", settings=Settings(redis_url=url, namespace=namespace)):
    signal.pause()
"""


async def test_a_body_that_ends_while_it_registers_again_leaves_what_was_registered(store, settings, monkeypatch):
    slow = SlowAnswers(monkeypatch, first=2)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await store.transition("p", Verb.FAIL)
        await slow.taken.wait()
        slow.later()
    record = await known(store, "p")
    assert (record.state, record.incarnation) == (State.STOPPED, session.incarnation)


async def enter(settings: Settings, **fields: Any) -> None:
    async with InstanceSession(settings=settings, **{"scope": "project", "id": "p", **fields}):
        pytest.fail("the body must not run")


async def cancelled(program: Coroutine[Any, Any, None], slow: SlowAnswers, times: int) -> None:
    task = asyncio.create_task(program)
    await slow.taken.wait()
    slow.later()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_once(program: Coroutine[Any, Any, None], slow: SlowAnswers) -> None:
    await cancelled(program, slow, 1)


async def cancelled_twice(program: Coroutine[Any, Any, None], slow: SlowAnswers) -> None:
    await cancelled(program, slow, 2)


async def timed_out(program: Coroutine[Any, Any, None], slow: SlowAnswers) -> None:
    async def limited() -> None:
        async with asyncio.timeout(None) as limit:
            task = asyncio.create_task(expire(limit))
            await program
            await task

    async def expire(limit: asyncio.Timeout) -> None:
        await slow.taken.wait()
        slow.later()
        limit.reschedule(0)

    with pytest.raises(TimeoutError):
        await limited()


async def out_of_scope(program: Coroutine[Any, Any, None], slow: SlowAnswers) -> None:
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await program

        tasks.start_soon(run)
        await slow.taken.wait()
        slow.later()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("interrupt", [cancelled_once, cancelled_twice, timed_out, out_of_scope])
@pytest.mark.parametrize("ephemeral", [True, False])
async def test_one_that_is_interrupted_while_it_enters_leaves_what_was_registered(
    ephemeral, interrupt, store, settings, monkeypatch
):
    await interrupt(enter(settings, ephemeral=ephemeral), SlowAnswers(monkeypatch))
    if ephemeral:
        assert await read(store) is None
    else:
        assert (await known(store, "p")).state is State.STOPPED


async def test_a_request_that_is_on_its_way_when_it_is_interrupted_is_waited_for(store, settings, monkeypatch):
    slow = SlowRequests(monkeypatch)
    task = asyncio.create_task(enter(settings))
    await slow.sent.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=0.3)
    slow.go_on.set()
    await asyncio.wait([task, *slow.arrived])
    assert task.cancelled()
    assert (await known(store, "p")).state is State.STOPPED


async def test_one_that_is_interrupted_before_it_asks_registers_nothing(store, settings, monkeypatch):
    async def hang(*_: Any) -> None:
        await until_ended()

    monkeypatch.setattr(InstanceSession, "_look_for_parent", hang)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await enter(settings)
    assert await read(store) is None


async def test_a_restart_that_is_interrupted_has_a_heart(store, settings, monkeypatch):
    slow = SlowAnswers(monkeypatch, first=2)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        first = session.incarnation
        task = asyncio.create_task(session.restart())
        await slow.taken.wait()
        slow.later()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.incarnation > first
        await wait_until(lambda: session._pacemaker.beats > 1)
        assert (await session.record()).incarnation == session.incarnation


async def test_a_body_in_a_cancelled_scope_leaves_in_order(store, settings):
    with anyio.CancelScope() as scope:
        async with InstanceSession(scope="project", id="p", settings=settings):
            scope.cancel()
            await until_ended()
    assert (await known(store, "p")).state is State.STOPPED


@pytest.mark.parametrize("answered", [False, True], ids=["while it enters", "in the body"])
async def test_a_plain_with_that_is_interrupted_leaves_what_was_registered(answered, store, settings, tmp_path):
    asked, answer = tmp_path / "asked", tmp_path / "answer"
    words = [settings.redis_url, settings.namespace, asked, "" if answered else answer]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *map(str, words), stderr=asyncio.subprocess.PIPE
    )
    try:
        await wait_until(asked.exists, 20)
        process.send_signal(signal.SIGINT)
        asyncio.get_running_loop().call_later(0.3, answer.touch)
        _, said = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
    assert said.rstrip().endswith(b"KeyboardInterrupt")
    assert (await known(store, "p")).state is State.STOPPED


@pytest.mark.parametrize("again", [False, True], ids=["while it enters", "while it registers again"])
async def test_with_redis_away_an_interruption_waits_for_little_longer_than_a_command_may_take(
    again, private_server, new_settings, monkeypatch
):
    register, asked = InstanceStore.register, asyncio.Event()

    async def freeze(store: InstanceStore, spec: InstanceSpec, **more: Any) -> Registration:
        if not again or spec.state is State.STARTING:
            private_server.pause()
            asked.set()
        return await register(store, spec, **more)

    monkeypatch.setattr(InstanceStore, "register", freeze)
    settings = new_settings(
        redis_url=private_server.url, ttl_ms=TTL_MS, connect_timeout_s=0.5, command_timeout_s=0.5, write_retries=1000
    )

    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await session.restart()

    task = asyncio.create_task(program())
    try:
        await asyncio.wait_for(asked.wait(), 10)
        task.cancel()
        await asyncio.wait({task}, timeout=8)
        assert task.cancelled()
    finally:
        private_server.resume()


async def test_one_that_never_hears_whether_it_was_registered_leaves_all_the_same(store, settings, monkeypatch):
    LostAnswers(monkeypatch, 1, 1)
    with pytest.raises(Unavailable):
        await enter(settings)
    assert (await known(store, "p")).state is State.STOPPED


async def test_a_body_that_ends_before_it_hears_whether_it_was_registered_again_leaves_that(
    store, settings, monkeypatch
):
    lost = LostAnswers(monkeypatch, 2, 1000)
    async with InstanceSession(scope="project", id="p", settings=settings):
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: lost.count >= 2)
    record = await known(store, "p")
    assert (record.state, record.incarnation > 1) == (State.STOPPED, True)


@pytest.mark.parametrize("takeover", ["if-dead", "never"])
async def test_one_that_asks_again_is_not_refused_because_of_what_it_has_been_given(
    takeover, store, settings, monkeypatch
):
    LostAnswers(monkeypatch, 2, 3)
    async with InstanceSession(scope="project", id="p", takeover=takeover, settings=settings) as session:
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: session.registrations == 2)
        record = await session.record()
        assert (record.incarnation, record.revision) == (session.incarnation, session.incarnation)
