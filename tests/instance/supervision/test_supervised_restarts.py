"""Restarts by a supervisor: whatever its command does, one restart each within the policy, then `failed` for good."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.commands import processes_of
from hopper.config import Settings
from hopper.errors import Superseded
from hopper.instance.restart.restarts import Restarts
from hopper.instance.supervisor import Supervisor
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import Event, EventType
from hopper.model.policy import RestartPolicy
from hopper.model.record import Record
from hopper.model.restart import Outcome
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from instance.answers import SlowAnswers
from instance.failures import stands
from instance.lapses import Story
from servers import RedisServer
from specs import known, patching
from waiting import wait_until

POLICY = RestartPolicy(mode="on-failure", max_restarts=2, initial_delay_s=0.05, jitter=0)
FOREVER = "while :; do sleep 0.02; done"
TELLING = "sleep 0.3; exit 3"
"""Lives long enough to be told of as running."""

Run = Callable[..., "Running"]


class Running:
    """A supervisor with its task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.task = asyncio.create_task(supervisor.run())

    async def code(self) -> int:
        return await asyncio.wait_for(asyncio.shield(self.task), 30)

    @property
    def pid(self) -> int:
        assert self.supervisor._group is not None
        return self.supervisor._group.process.pid


@pytest.fixture
async def run(settings: Settings, tmp_path: Path) -> AsyncIterator[Run]:
    """Start a supervisor of a shell script that finds the test's directory as $0; it is ended after the test."""
    started: list[Running] = []

    def begin(script: str, policy: RestartPolicy | None = POLICY, **options: Any) -> Running:
        spec = InstanceSpec(scope=Scope.PROJECT, id="x", ttl_ms=1000, restart=policy)
        options = {"settings": settings, "stop_timeout_s": 0.3, **options}
        started.append(Running(Supervisor(spec, ["sh", "-c", script, str(tmp_path)], **options)))
        return started[-1]

    yield begin
    for running in started:
        running.supervisor.stop()
        await asyncio.wait({running.task}, timeout=20)
        assert running.task.done()
        running.task.cancelled() or running.task.exception()
    assert processes_of(tmp_path) == {}


def until(store: InstanceStore, state: State, above: int = 0) -> Callable[[], Awaitable[Record | None]]:
    """The record once it is in a state, in an incarnation above another."""

    async def read() -> Record | None:
        record = await store.read("x")
        return record if record is not None and record.state is state and record.incarnation > above else None

    return read


async def told(story: Story) -> list[str]:
    """The story of `x` in a word for each event, without its becoming `running`."""
    return [_word(event) for event in await story.of("x") if not _runs(event)]


def _runs(event: Event) -> bool:
    return event.type is EventType.STATE_CHANGED and event.record is not None and event.record.state is State.RUNNING


def _word(event: Event) -> str:
    assert event.record is not None
    if event.type is EventType.STATE_CHANGED:
        return f"{event.record.state}/{event.reason}"
    return f"{event.record.health}/{event.reason}" if event.type is EventType.HEALTH_CHANGED else event.type


ROUND = ["failed/exit", "restart_claimed", "superseded"]


async def test_an_exit_is_restarted_within_the_policy_and_then_it_stays_failed(run, store, story, tmp_path):
    running = run(TELLING)
    assert await running.code() == 3
    assert await told(story) == ["registered", *ROUND, *ROUND, "failed/exit", "restart_exhausted"]
    record = await known(store, "x")
    assert (record.state, record.restarts) == (State.FAILED, 2)
    assert (await store.read_heartbeat("x"))[1] < 0
    events = await story.of("x")
    failures = [event for event in events if event.reason == "exit" and event.type is EventType.STATE_CHANGED]
    assert [event.evidence for event in failures] == [{"exit_code": 3}] * 3
    claims = [event for event in events if event.type is EventType.RESTART_CLAIMED]
    assert [(event.evidence["count"], event.evidence["delay_ms"]) for event in claims] == [(1, 50), (2, 100)]
    assert {event.actor for event in claims} == {"session:x"}
    starts = [event for event in events if event.type is EventType.SUPERSEDED]
    assert all(start.at_ms >= claim.evidence["not_before_ms"] for start, claim in zip(starts, claims, strict=True))
    assert processes_of(tmp_path) == {}


async def test_one_that_is_killed_is_restarted_and_the_signal_is_told(run, store, story):
    running = run(FOREVER)
    first = await wait_until(until(store, State.RUNNING))
    os.kill(running.pid, signal.SIGKILL)
    await wait_until(until(store, State.RUNNING, above=first.incarnation))
    (failure,) = [event for event in await story.of("x") if event.record.state is State.FAILED][:1]
    assert failure.evidence == {"exit_code": 137, "signal": 9}


async def test_one_that_is_started_by_hand_while_it_waits_comes_back_at_once(run, store):
    run(TELLING, replace(POLICY, initial_delay_s=60))
    await wait_until(lambda: stands(store, "x"))
    first = await known(store, "x")
    await store.transition("x", Verb.START)
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


async def test_one_that_hangs_is_killed_and_restarted_and_at_last_stays_failed(run, store, story, monitor, tmp_path):
    running = run(f"trap '' TERM; kill -STOP $$; {FOREVER}", heartbeats=False)
    assert await running.code() == 137
    hang = ["down/lapsed", "restart_claimed", "superseded"]
    assert await told(story) == ["registered", *hang, *hang, "down/lapsed", "restart_exhausted"]
    events = await story.of("x")
    claims = [event for event in events if event.type is EventType.RESTART_CLAIMED]
    assert {(event.actor, event.reason) for event in claims} == {("monitor", "lapsed")}
    assert {event.record.state for event in claims} == {State.FAILED}
    assert (await known(store, "x")).state is State.FAILED
    assert processes_of(tmp_path) == {}


async def test_one_that_was_stopped_from_outside_goes_on_to_hear_that_it_is_to_end(run, store, monitor, tmp_path):
    running = run(f"trap 'touch $0/heard; exit' TERM; {FOREVER}", heartbeats=False, stop_timeout_s=10.0)
    first = await wait_until(until(store, State.RUNNING))
    os.killpg(running.pid, signal.SIGSTOP)
    await wait_until(until(store, State.RUNNING, above=first.incarnation))
    assert (tmp_path / "heard").exists()


async def test_a_stuck_grandchild_is_killed_before_each_restart(run, story, tmp_path):
    grandchild = f"(trap '' TERM INT; echo >> $0/alive; {FOREVER}) &"
    running = run(f"{grandchild} sleep 0.2; exit 4")
    await wait_until((tmp_path / "alive").exists)
    groups: list[set[int]] = []

    def has_ended() -> bool:
        groups.append({os.getpgid(pid) for pid in _alive(tmp_path)})
        return running.task.done()

    await wait_until(has_ended, 60)
    assert await running.code() == 4
    assert max(len(seen) for seen in groups) == 1
    assert (tmp_path / "alive").read_text().count("\n") == 3
    assert await told(story) == ["registered", *ROUND, *ROUND, "failed/exit", "restart_exhausted"]


def _alive(directory: Path) -> list[int]:
    found = []
    for pid in processes_of(directory):
        try:
            os.getpgid(pid)
        except ProcessLookupError:
            continue
        found.append(pid)
    return found


@pytest.mark.parametrize(("mode", "restarts"), [("always", 2), ("on-failure", 0)])
async def test_an_exit_with_0_is_restarted_where_the_mode_is_always(run, store, mode, restarts):
    running = run("sleep 0.1; exit 0", RestartPolicy(mode=mode, max_restarts=2, initial_delay_s=0.01))
    assert await running.code() == 0
    record = await known(store, "x")
    assert (record.restarts, record.state) == (restarts, State.FAILED if restarts else State.STOPPED)


async def test_the_count_begins_anew_after_an_incarnation_that_lived_for_the_window(run, store):
    running = run(
        "sleep 0.3; exit 1", RestartPolicy(mode="on-failure", max_restarts=1, window_s=0.2, initial_delay_s=0.01)
    )

    async def restarted() -> bool:
        return (await known(store, "x")).restarts >= 3

    await wait_until(lambda: store.read("x"))
    await wait_until(restarted, 20)
    assert not running.task.done()


async def test_an_operator_has_it_restarted_gracefully_and_the_count_begins_anew(run, store, story, tmp_path):
    running = run(f"trap 'echo >> $0/heard; exit 0' TERM; echo >> $0/ready; {FOREVER}", stop_timeout_s=10.0)
    first = await wait_until(until(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
    await Restarts(store).request("x", actor="me")
    second = await wait_until(until(store, State.RUNNING, above=first.incarnation))
    assert (tmp_path / "heard").read_text() == "\n"
    assert second.restarts == 1
    assert await told(story) == ["registered", "restart_claimed", "superseded"]
    assert not running.task.done()


async def test_an_operator_restarts_one_without_a_policy_too(run, store):
    run(FOREVER, None)
    first = await wait_until(until(store, State.RUNNING))
    await Restarts(store).request("x")
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


async def test_an_operator_need_not_wait_for_a_delay(run, store):
    run(
        "sleep 0.3; test -e $0/not || { touch $0/not; exit 1; }; " + FOREVER,
        RestartPolicy("on-failure", initial_delay_s=60),
    )
    first = await wait_until(until(store, State.FAILED))
    await Restarts(store).request("x")
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


async def test_a_stop_while_it_waits_to_be_restarted_ends_it_and_gives_the_restart_up(run, store):
    running = run("exit 3", RestartPolicy("on-failure", initial_delay_s=60))
    await wait_until(until(store, State.FAILED))
    restarts = Restarts(store).store

    async def reserved() -> bool:
        return bool((await restarts.standing("x")).ledger.executor)

    await wait_until(reserved)
    running.supervisor.stop()
    assert await running.code() == 3
    assert (await restarts.standing("x")).ledger.outcome is Outcome.CANCELLED
    assert (await known(store, "x")).state is State.FAILED


async def test_a_stop_while_it_registers_for_a_restart_leaves_what_was_registered(run, store, story, monkeypatch):
    slow = SlowAnswers(monkeypatch, first=2)
    running = run("exit 3", RestartPolicy("on-failure", initial_delay_s=0.05))
    await asyncio.wait_for(slow.taken.wait(), 10)
    running.supervisor.stop()
    slow.later()
    assert await running.code() == 3
    record = await known(store, "x")
    assert (record.state, record.down_at_ms) == (State.STOPPED, None)
    assert await told(story) == ["registered", *ROUND, "stopping/exit", "stopped/exit"]


async def test_a_stop_while_a_claimed_one_is_ended_gives_the_restart_up(run, store):
    running = run(f"trap '' TERM; {FOREVER}", stop_timeout_s=2.0)
    record = await wait_until(until(store, State.RUNNING))
    await store.transition("x", Verb.FAIL)
    restarts = Restarts(store)
    await restarts.claim("x", incarnation=record.incarnation, reason="failed", actor="somebody")
    with capture_logs() as logs:
        await wait_until(lambda: any(entry["event"] == "run.replaced" for entry in logs))
    running.supervisor.stop()
    assert await running.code() == 137
    standing = await restarts.store.standing("x")
    assert (standing.record.incarnation, standing.ledger.outcome) == (record.incarnation, Outcome.CANCELLED)


async def test_one_that_fails_while_it_is_being_removed_is_not_restarted(run, store, tmp_path):
    running = run("while [ ! -e $0/end ]; do sleep 0.02; done; exit 3")
    await wait_until(until(store, State.RUNNING))
    await store.leave("x", Departure(children=ChildrenMode.CASCADE))
    (tmp_path / "end").touch()
    assert await running.code() == 3
    assert (await known(store, "x")).restarts == 0


async def test_a_stop_is_no_failure(run, store, story):
    running = run(f"trap 'exit 9' TERM; touch $0/ready; {FOREVER}")
    await wait_until(until(store, State.RUNNING))
    running.supervisor.stop()
    await running.code()
    assert (await known(store, "x")).state is State.STOPPED
    assert EventType.RESTART_CLAIMED not in await told(story)


async def test_one_that_an_operator_stops_by_its_state_is_not_restarted(run, store):
    running = run("while [ ! -e $0/end ]; do sleep 0.02; done; exit 3")
    await wait_until(until(store, State.RUNNING))
    await store.transition("x", Verb.STOP)
    Path(running.supervisor._command[3], "end").touch()
    assert await running.code() == 3
    record = await known(store, "x")
    assert (record.state, record.restarts) == (State.STOPPED, 0)


async def test_another_registration_while_it_waits_ends_it(run, store):
    running = run("exit 3", RestartPolicy("on-failure", initial_delay_s=60))
    await wait_until(until(store, State.FAILED))
    await store.register(InstanceSpec(scope=Scope.PROJECT, id="x"))
    with pytest.raises(Superseded, match="'x'"):
        await running.code()
    assert (await known(store, "x")).state is State.RUNNING


async def test_a_record_that_vanishes_while_it_waits_comes_back(run, store):
    run("test -e $0/not || { touch $0/not; exit 3; }; " + FOREVER, RestartPolicy("on-failure", initial_delay_s=60))
    await wait_until(until(store, State.FAILED))
    await store.deregister("x")
    await wait_until(until(store, State.RUNNING))


async def test_in_maintenance_it_waits_and_is_restarted_when_that_is_over(run, store, tmp_path):
    run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3")
    first = await wait_until(until(store, State.RUNNING))
    await store.client.hset(store.keys.record("x"), "maintenance", '{"reason":"works","until_ms":null}')
    with capture_logs() as logs:
        (tmp_path / "end").touch()
        await wait_until(lambda: any(entry["event"] == "run.restart_waits" for entry in logs))
    assert (await known(store, "x")).restarts == 0
    await store.client.hset(store.keys.record("x"), "maintenance", "")
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


@pytest.mark.parametrize(("mode", "code"), [("on-failure", 3), ("always", 0)])
async def test_a_policy_that_is_given_later_counts_at_once(mode, code, run, store, tmp_path):
    run(f"while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit {code}", None)
    first = await wait_until(until(store, State.RUNNING))
    await store.update("x", patching(restart={"mode": mode, "initial_delay_s": 0.01}))
    (tmp_path / "end").touch()
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


async def test_while_nothing_is_claimed_it_asks_redis_one_small_thing_a_second(
    run, private_server: RedisServer, new_settings: Callable[..., Settings], monkeypatch
):
    looks: list[float] = []
    stands = RestartStore.stands

    async def looked(*args: Any) -> bool:
        looks.append(time.monotonic())
        return await stands(*args)

    monkeypatch.setattr(RestartStore, "stands", looked)
    settings = new_settings(redis_url=private_server.url)
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.register(InstanceSpec(scope=Scope.GLOBAL, id="g"))
        running = run(FOREVER, settings=settings)
        await wait_until(until(store, State.RUNNING))
    with private_server.connect() as direct:
        direct.config_resetstat()
        seen = len(looks)
        await wait_until(lambda: len(looks) >= seen + 3)
        asked = {name.removeprefix("cmdstat_").partition("|")[0] for name in direct.info("commandstats")}
    assert asked <= {"hmget", "setex", "info", "config", "client", "hello", "ping", "select"}
    assert min(later - earlier for earlier, later in pairwise(looks)) > 0.9
    running.supervisor.stop()
    await running.code()


async def test_what_fails_while_redis_is_away_is_restarted_when_it_is_back(
    run, private_server: RedisServer, new_settings: Callable[..., Settings], tmp_path: Path
):
    settings = new_settings(redis_url=private_server.url)
    store = InstanceStore(settings)
    await store.open()
    running = run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3", settings=settings)

    def commands() -> list[str]:
        return [words for words in processes_of(tmp_path).values() if "rm $0/end" in words]

    first = await wait_until(until(store, State.RUNNING))
    await store.aclose()
    await asyncio.to_thread(private_server.stop)
    with capture_logs() as logs:
        (tmp_path / "end").touch()
        await wait_until(lambda: any(entry["event"] == "run.restart_waits" for entry in logs))
    assert commands() == []
    await asyncio.to_thread(private_server.start)
    await store.open()
    record = await wait_until(until(store, State.RUNNING, above=first.incarnation), 20)
    assert record.restarts == 1
    assert len(commands()) == 1
    await store.aclose()
    running.supervisor.stop()
    await running.code()


async def test_what_fails_before_redis_comes_back_with_older_data_is_started_again(
    run, new_settings: Callable[..., Settings], tmp_path: Path
):
    with RedisServer(tmp_path / "server") as server:
        settings = new_settings(redis_url=server.url)
        async with opened(settings) as store:
            await store.register(InstanceSpec(scope=Scope.PROJECT, id="x", state=State.STOPPED))
            with server.connect() as direct:
                direct.save()
            running = run("while [ ! -e $0/end ]; do sleep 0.02; done; rm $0/end; exit 3", settings=settings)
            first = await wait_until(until(store, State.RUNNING))
        await asyncio.to_thread(server.kill)
        with capture_logs() as logs:
            (tmp_path / "end").touch()
            await wait_until(lambda: any(entry["event"] == "run.restart_waits" for entry in logs))
        await asyncio.to_thread(server.restart)
        async with opened(settings) as store:
            record = await wait_until(until(store, State.RUNNING), 20)
            assert record.incarnation <= first.incarnation
        running.supervisor.stop()
        await running.code()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[InstanceStore]:
    """A store of its own, for a server that comes and goes."""
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        await store.open()
        yield store
