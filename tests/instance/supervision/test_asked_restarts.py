"""Restarts, stops and states that others ask a supervisor for, while it runs and while it waits."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hopper.errors import Superseded
from hopper.instance.restart.restarts import Restarts
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import EventType
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.policy import RestartPolicy
from hopper.model.restart import Outcome
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.restarting import RestartStore
from instance.answers import SlowAnswers
from instance.failures import stands
from instance.supervision.running import FOREVER, ROUND, told, until
from specs import known, patching
from waiting import wait_until


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


async def test_one_in_maintenance_is_not_started_again_before_that_has_ended(run, store, story):
    run(
        "sleep 0.3; test -e $0/not || { touch $0/not; exit 1; }; " + FOREVER,
        RestartPolicy("on-failure", initial_delay_s=2),
    )
    first = await wait_until(until(store, State.FAILED))
    await wait_until(lambda: stands(store, "x"))
    await store.maintain("x", MaintenanceRequest(reason="new disks"))
    restarts = Restarts(store).store

    async def due() -> bool:
        standing = await restarts.standing("x")
        return standing.now_ms >= standing.ledger.not_before_ms and standing.ledger.executor_until_ms > standing.now_ms

    await wait_until(due)
    await wait_until(lambda: renewed(restarts))
    assert (await known(store, "x")).state is State.FAILED
    await store.end_maintenance("x")
    await wait_until(until(store, State.RUNNING, above=first.incarnation))


async def renewed(restarts: RestartStore) -> bool:
    """Wait until the supervisor has asked for its restart once more."""
    before = (await restarts.standing("x")).ledger.executor_until_ms

    async def later() -> bool:
        return (await restarts.standing("x")).ledger.executor_until_ms > before

    return await wait_until(later)


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


async def test_a_stop_while_a_claimed_one_is_ended_gives_the_restart_up(run, store, tmp_path):
    running = run(f"trap '' TERM; touch $0/ready; {FOREVER}", stop_timeout_s=2.0)
    record = await wait_until(until(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
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


async def test_a_stop_is_no_failure(run, store, story, tmp_path):
    running = run(f"trap 'exit 9' TERM; touch $0/ready; {FOREVER}")
    await wait_until(until(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
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
