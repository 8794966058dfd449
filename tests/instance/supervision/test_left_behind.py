"""What a supervisor may not signal, as a command that has become another user's: it is told of, not lost sight of."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.instance.restart.restarts import Restarts
from hopper.instance.supervision.process_group import ProcessGroup
from hopper.instance.supervisor import Supervisor
from hopper.model.policy import RestartPolicy
from hopper.model.restart import Outcome
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State
from refusal import SHORT, refusals, refusing, running
from specs import known
from waiting import wait_until

ALL = f"exec {refusing()}"
SOME = f"{refusing()} & while :; do sleep 0.02; done"
AFTER_ITS_END = f"{refusing()} & until grep -q sleep /proc/$!/comm; do sleep 0.02; done; exit 0"
POLICY = RestartPolicy(mode="on-failure", initial_delay_s=0.05)

Start = Callable[..., Awaitable[tuple[Supervisor, "asyncio.Task[int]"]]]


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Start]:
    """Start a supervisor, and wait until its command is told of as running and the one that refuses is there."""
    groups: list[ProcessGroup] = []
    begin_group = ProcessGroup.start

    async def begin(script: str, policy: RestartPolicy | None = None, **more: Any) -> tuple[Supervisor, Any]:
        spec = InstanceSpec(scope=Scope.PROJECT, id="x", ttl_ms=1000, restart=policy)
        options: dict[str, Any] = {"settings": settings, "stop_timeout_s": 0.3, **more}
        supervisor = Supervisor(spec, ["sh", "-c", script], **options)
        task = asyncio.create_task(supervisor.run())
        await wait_until(running)
        return supervisor, task

    async def started(*args: Any, **more: Any) -> ProcessGroup:
        groups.append(await begin_group(*args, **more))
        return groups[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProcessGroup, "start", started)
        with refusals():
            yield begin
    for group in groups:
        await group.process.wait()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def told_of(logs: list[Any]) -> list[list[int]]:
    return [entry["pids"] for entry in logs if entry["event"] == "run.left_behind"]


async def ended(task: "asyncio.Task[int]") -> int:
    return await asyncio.wait_for(asyncio.shield(task), 20)


@pytest.mark.parametrize("script", [ALL, SOME], ids=["all", "some"])
async def test_a_stop_tells_of_those_who_refuse_and_does_not_pass_for_one(script, start, store, story, logs):
    supervisor, task = await start(script)
    (refused,) = running()
    supervisor.stop()
    assert await ended(task) == 125
    assert running() == [refused]
    assert told_of(logs) == [[refused]]
    record = await known(store, "x")
    assert record.state is State.FAILED
    (failure,) = [event for event in await story.of("x") if event.record.state is State.FAILED]
    assert (failure.reason, failure.evidence) == ("exit", {"left_behind": [refused]})


async def test_one_who_refuses_may_end_by_itself_in_its_time(start, store, logs):
    supervisor, task = await start(f"exec {refusing(SHORT)}", stop_timeout_s=10.0)
    supervisor.stop()
    assert await ended(task) == 0
    assert told_of(logs) == []
    assert (await known(store, "x")).state is State.STOPPED


async def test_one_who_refuses_is_told_of_after_the_command_has_ended_by_itself(start, store, logs):
    _, task = await start(AFTER_ITS_END)
    (refused,) = running()
    assert await ended(task) == 125
    assert told_of(logs) == [[refused]]
    assert (await known(store, "x")).state is State.FAILED


@pytest.mark.parametrize("script", [ALL, SOME], ids=["all", "some"])
async def test_no_other_is_started_beside_those_who_refuse_to_end_for_a_restart(script, start, store, logs):
    _, task = await start(script, POLICY)
    refused = running()
    await Restarts(store).request("x")
    assert await ended(task) == 125
    assert (running(), told_of(logs)) == (refused, [refused])
    standing = await Restarts(store).store.standing("x")
    assert (standing.record.state, standing.ledger.outcome) == (State.FAILED, Outcome.CANCELLED)


async def test_nobody_else_starts_one_that_was_stopped_in_vain(start, store, monitor, logs):
    supervisor, task = await start(ALL, POLICY)
    supervisor.stop()
    assert await ended(task) == 125
    standing = await Restarts(store).store.standing("x")
    assert (standing.record.state, standing.ledger.outcome) == (State.FAILED, Outcome.CANCELLED)


async def test_a_cancelled_one_tells_of_them_too(start, store, logs):
    _, task = await start(ALL)
    refused = running()
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    assert told_of(logs) == [refused]
    assert (await known(store, "x")).state is State.FAILED


async def test_a_signal_that_is_refused_does_no_harm(start, store, logs):
    supervisor, task = await start(ALL)
    supervisor.forward(signal.SIGUSR1)
    refused = [(entry["signal"], entry["log_level"]) for entry in logs if entry["event"] == "run.signal_refused"]
    assert refused == [("SIGUSR1", "warning")]
    assert not task.done()
    supervisor.stop()
    assert await ended(task) == 125
