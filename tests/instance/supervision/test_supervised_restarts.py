"""Restarts by a supervisor: whatever its command does, one restart each within the policy, then `failed` for good."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cli.commands import processes_of
from hopper.model.event import EventType
from hopper.model.policy import RestartPolicy
from hopper.model.state import State, Verb
from instance.failures import stands
from instance.supervision.running import FOREVER, POLICY, ROUND, TELLING, told, until
from specs import known
from waiting import wait_until


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
    script = f"trap 'touch $0/heard; exit' TERM; touch $0/ready; {FOREVER}"
    running = run(script, heartbeats=False, stop_timeout_s=10.0)
    first = await wait_until(until(store, State.RUNNING))
    await wait_until((tmp_path / "ready").exists)
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


async def test_the_log_tells_when_it_is_started_again_and_how_often_it_may_be(run, store):
    with capture_logs() as logs:
        running = run(TELLING)
        assert await running.code() == 3
    said = [entry for entry in logs if entry["event"] in ("run.failed", "run.restart_claimed", "run.exhausted")]
    claimed = ["run.failed", "run.restart_claimed"]
    assert [entry["event"] for entry in said] == [*claimed, *claimed, "run.failed", "run.exhausted"]
    first, second = [entry for entry in said if entry["event"] == "run.restart_claimed"]
    assert (first["count"], first["max_restarts"], second["count"]) == (1, 2, 2)
    assert 0 <= first["delay_s"] <= 0.05
    assert 0 <= second["delay_s"] <= 0.1


async def test_the_delay_that_is_told_is_what_is_left_of_it(run, store):
    with capture_logs() as logs:
        run(TELLING, replace(POLICY, initial_delay_s=60))
        (said,) = await wait_until(lambda: [entry for entry in logs if entry["event"] == "run.restart_claimed"])
    assert 30 < said["delay_s"] <= 60


@pytest.mark.parametrize(("mode", "restarts"), [("always", 2), ("on-failure", 0)])
async def test_an_exit_with_0_is_restarted_where_the_mode_is_always(run, store, mode, restarts):
    with capture_logs() as logs:
        running = run("sleep 0.1; exit 0", RestartPolicy(mode=mode, max_restarts=2, initial_delay_s=0.01))
        assert await running.code() == 0
    assert "run.failed" not in {entry["event"] for entry in logs}
    assert len([entry for entry in logs if entry["event"] == "run.restart_claimed"]) == restarts
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
