"""`hopper run`: exit codes, signals, what the command sees, and what is left of it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import Hopper, Spawn, processes_of
from hopper.config import Settings
from hopper.model.policy import Check, RestartPolicy, Threshold
from hopper.model.record import Record
from hopper.model.state import State
from hopper.store.instances import InstanceStore
from waiting import wait_until

FOREVER = "while :; do sleep 0.02; done"


async def record_of(store: InstanceStore, id: str) -> Record:
    return await wait_until(lambda: store.read(id), message=f"{id} is registered")


async def until_state(store: InstanceStore, id: str, state: State) -> Record:
    async def there() -> Record | None:
        record = await store.read(id)
        return record if record is not None and record.state is state else None

    return await wait_until(there, message=f"{id} is {state}")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["there-is-no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
    ids=["success", "failure", "SIGTERM", "SIGKILL", "no such command", "not executable"],
)
async def test_it_ends_with_the_code_of_the_command(
    spawn: Spawn, settings: Settings, store: InstanceStore, command: list[str], code: int
) -> None:
    running = await spawn("run", "--id", "x", "--", *command, settings=settings)
    _, said = await running.said()
    assert running.process.returncode == code
    why = {126: "it is not executable", 127: "there is no such command"}.get(code, "")
    assert why in said
    assert ("run.not_started" in said) is bool(why)
    record = await store.read("x")
    if code in {0, 126, 127}:
        assert record is None
    else:
        assert record is not None
        assert record.state is State.FAILED


async def test_a_failure_has_the_reason_exit(spawn: Spawn, settings: Settings, hopper: Hopper) -> None:
    running = await spawn("run", "--id", "x", "--", "false", settings=settings)
    await running.said()
    watching = await spawn("watch", "--since", "0", "--type", "state_changed", settings=settings)
    line = await watching.line_with("->failed")
    assert "reason=exit" in line
    assert "actor=session:x" in line


async def test_one_that_is_not_ephemeral_stays_stopped(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    running = await spawn("run", "--id", "x", "--scope", "project", "--", "true", settings=settings)
    await running.said()
    assert (await record_of(store, "x")).state is State.STOPPED


async def test_the_options_are_in_the_record(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    options = ["--id", "x", "--name", "The x", "--scope", "Project", "--ttl", "2.5", "--tag", "a", "--meta", "k=v"]
    await spawn("run", *options, "--wish", "tag=top", "--", "sh", "-c", FOREVER, settings=settings)
    record = await until_state(store, "x", State.RUNNING)
    assert (record.name, record.scope, record.ttl_ms, record.tags) == ("The x", "project", 2500, ("a",))
    assert record.metadata == {"k": "v"}
    assert record.wish.tags == ("top",)


async def test_what_register_takes_of_its_health_and_its_place_it_takes_too(
    spawn: Spawn, settings: Settings, store: InstanceStore
) -> None:
    options = ["--address", "127.0.0.1:1", "--version", "1.2", "--grace", "0.5", "--threshold", "queue_depth=5,9"]
    check = ["--check-http", "/healthz", "--check-interval", "1", "--check-timeout", "0.5"]
    await spawn(*("run", "--id", "x", "--ttl", "2", *options, *check, "--", "sh", "-c", FOREVER), settings=settings)
    record = await until_state(store, "x", State.RUNNING)
    assert (record.address, record.version, record.grace_ms) == ("127.0.0.1:1", "1.2", 500)
    assert record.thresholds == {"queue_depth": Threshold(degraded=5, unhealthy=9)}
    assert record.check == Check(kind="http", path="/healthz", interval_s=1, timeout_s=0.5)
    await wait_until(lambda: lapsed(store), message="it is left to the check whether it lives")


async def test_one_with_a_check_heartbeats_all_the_same_where_it_is_told_to(
    spawn: Spawn, settings: Settings, store: InstanceStore
) -> None:
    check = ["--address", "127.0.0.1:1", "--check-tcp", "--check-interval", "1", "--check-timeout", "0.5"]
    await spawn(
        *("run", "--id", "x", "--ttl", "2", *check, "--heartbeat", "Process", "--", "sh", "-c", FOREVER),
        settings=settings,
    )

    async def beats() -> bool:
        return (await store.read_heartbeat("x"))[0] == b'{"incarnation":1}'

    await wait_until(beats)


@pytest.mark.parametrize(("alive", "takeover"), [(True, "if-dead"), (True, "never"), (False, "never")])
def test_an_id_that_is_taken_is_left_alone_where_it_is_told_to(
    hopper: Hopper, tmp_path: Path, alive: bool, takeover: str
) -> None:
    hopper.ok("register", "--scope", "orchestration", "--id", "x", "--state", "running" if alive else "stopped")
    mark = tmp_path / "it-ran"
    said = hopper.refused("run", "--id", "x", "--takeover", takeover, "--", "touch", str(mark), code=4)
    assert f"takeover is {takeover}" in said
    assert not mark.exists()
    if not alive:
        hopper.ok("run", "--id", "x", "--takeover", "if-dead", "--", "touch", str(mark))
        assert mark.exists()


async def lapsed(store: InstanceStore) -> bool:
    return (await store.read_heartbeat("x"))[1] < 0


async def test_the_command_sees_who_it_is(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    running = await spawn("run", "--id", "x", "--ttl", "2.5", "--", "sh", "-c", "env; cat", settings=settings)
    out, _ = await running.said()
    seen = dict(line.split("=", 1) for line in out.splitlines() if line.startswith("HOPPER_"))
    assert {name: seen[name] for name in seen.keys() - {"HOPPER_DATA_DIR", "HOPPER_EMBEDDED_PORT", "HOPPER_PORT"}} == {
        "HOPPER_ID": "x",
        "HOPPER_NAMESPACE": settings.namespace,
        "HOPPER_REDIS_URL": settings.redis_url,
        "HOPPER_HEARTBEAT_KEY": f"hopper:{{{settings.namespace}}}:heartbeat:x",
        "HOPPER_TTL_S": "3",
        "HOPPER_INCARNATION": "1",
    }


async def test_options_after_the_command_are_the_commands_own(spawn: Spawn, settings: Settings) -> None:
    running = await spawn("run", "--id", "x", "echo", "--id", "-n", "y", settings=settings)
    assert (await running.said())[0] == "--id -n y\n"


async def test_sigterm_reaches_the_whole_group_and_leaves_it_stopped(
    spawn: Spawn, settings: Settings, store: InstanceStore
) -> None:
    script = f"trap 'exit 9' TERM; sh -c 'trap \"echo inner; exit\" TERM; echo ready; {FOREVER}' & wait"
    running = await spawn("run", "--id", "x", "--scope", "project", "--", "sh", "-c", script, settings=settings)
    await running.line_with("ready")
    running.process.send_signal(signal.SIGTERM)
    out, _ = await running.said()
    assert out == "inner\n"
    assert running.process.returncode == 9
    assert (await record_of(store, "x")).state is State.STOPPED


async def test_sigint_is_forwarded_as_sigint(spawn: Spawn, settings: Settings) -> None:
    script = f"trap 'exit 5' INT; echo ready; {FOREVER}"
    running = await spawn("run", "--id", "x", "--", "sh", "-c", script, settings=settings)
    await running.line_with("ready")
    running.process.send_signal(signal.SIGINT)
    _, err = await running.said()
    assert running.process.returncode == 5
    assert "run.signalled" in err
    assert "signal=SIGINT" in err


async def test_what_ignores_sigterm_is_killed_with_its_group(spawn: Spawn, settings: Settings, tmp_path: Path) -> None:
    script = f"trap '' TERM; (trap '' TERM; {FOREVER}) & echo ready; {FOREVER}"
    running = await spawn(*("run", "--id", "x", "--stop-timeout", "0.2", "--", "sh", "-c", script), settings=settings)
    await running.line_with("ready")
    assert await running.end(signal.SIGTERM) == 137
    assert processes_of(tmp_path) == {}


async def test_what_a_command_leaves_behind_is_ended_too(spawn: Spawn, settings: Settings, tmp_path: Path) -> None:
    script = f"sh -c '{FOREVER}' >/dev/null 2>&1 & exit 0"
    running = await spawn("run", "--id", "x", "--", "sh", "-c", script, settings=settings)
    await running.said()
    assert running.process.returncode == 0
    assert processes_of(tmp_path) == {}


async def test_the_command_dies_with_a_killed_supervisor(
    spawn: Spawn, settings: Settings, store: InstanceStore, tmp_path: Path
) -> None:
    running = await spawn("run", "--id", "x", "--", "sleep", "100", settings=settings)
    await until_state(store, "x", State.RUNNING)
    await running.end(signal.SIGKILL)
    await wait_until(lambda: not processes_of(tmp_path), timeout_s=2)
    assert (await record_of(store, "x")).state is State.RUNNING  # nobody could say otherwise: it lapses


async def test_the_command_has_a_process_group_of_its_own(spawn: Spawn, settings: Settings) -> None:
    running = await spawn("run", "--id", "x", "--", "sh", "-c", f"echo $$; {FOREVER}", settings=settings)
    child = int(await running.line())
    assert os.getpgid(child) == child != os.getpgid(running.pid)


async def test_another_registration_of_the_id_ends_the_command_with_4(
    spawn: Spawn, hopper: Hopper, settings: Settings, store: InstanceStore, tmp_path: Path
) -> None:
    running = await spawn("run", "--id", "x", "--ttl", "1", "--", "sleep", "100", settings=settings)
    await until_state(store, "x", State.RUNNING)
    await asyncio.to_thread(hopper.ok, "register", "--scope", "orchestration", "--id", "x")
    _, err = await running.said()
    assert running.process.returncode == 4
    assert "'x' has been registered again" in err
    assert processes_of(tmp_path) == {}
    assert (await record_of(store, "x")).state is State.RUNNING  # the new one is left alone


@pytest.mark.parametrize(
    ("options", "code", "names"),
    [
        (["--scope", "global"], 4, ["'x'", "'hub'"]),
        (["--parent", "hub"], 4, ["'x'", "'hub'"]),
        (["--parent", "ghost"], 3, ["'x'", "'ghost'"]),
        (["--name", "nightly"], 4, ["'x'", "'run'", "nightly"]),
        (["--ttl", "0"], 2, ["ttl"]),
        (["--stop-timeout", "soon"], 2, ["stop_timeout", "soon"]),
        (["--restart", "always", "--max-restarts", "-1"], 2, ["max_restarts", "-1"]),
        (["--restart", "always", "--window", "0"], 2, ["restart.window_s", "0"]),
        (["--max-restarts", "3"], 2, ["max_restarts", "3", "--restart"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_refused_registration_runs_nothing(
    hopper: Hopper, tmp_path: Path, options: list[str], code: int, names: list[str]
) -> None:
    hopper.tree()
    mark = tmp_path / "it-ran"
    said = hopper.refused("run", "--id", "x", *options, "--", "touch", str(mark), code=code)
    assert all(name in said for name in names), said
    assert not mark.exists()


async def test_without_a_command_it_ends_with_2(spawn: Spawn, settings: Settings) -> None:
    running = await spawn("run", "--id", "x", settings=settings)
    await running.said()
    assert running.process.returncode == 2


async def test_it_heartbeats_while_the_command_lives(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    await spawn("run", "--id", "x", "--ttl", "1", "--", "sh", "-c", FOREVER, settings=settings)
    await until_state(store, "x", State.RUNNING)
    values = set()

    async def two_beats() -> bool:
        value, left_ms = await store.read_heartbeat("x")
        values.add(left_ms > 900 and value)
        return left_ms > 900 and b'{"incarnation":1}' in values

    await wait_until(two_beats)


async def test_a_command_that_heartbeats_itself_decides_whether_it_lives(
    spawn: Spawn, settings: Settings, store: InstanceStore
) -> None:
    await spawn(
        *("run", "--id", "x", "--ttl", "1", "--heartbeat", "child", "--", "sh", "-c", FOREVER), settings=settings
    )
    await until_state(store, "x", State.RUNNING)
    await wait_until(lambda: lapsed(store), timeout_s=3)


async def test_without_redis_it_starts_the_embedded_valkey_and_ends_it(spawn: Spawn, tmp_path: Path) -> None:
    running = await spawn("run", "--id", "x", "--", "sh", "-c", 'echo "$HOPPER_REDIS_URL"')
    assert (await running.line()).startswith("redis://127.0.0.1:")
    assert await running.end() == 0
    await wait_until(lambda: not processes_of(tmp_path), message="no Valkey is left")


# -- restarts ----------------------------------------------------------------------------------------------------------


async def test_the_restart_policy_is_in_the_record(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    options = [
        "--restart",
        "always",
        "--max-restarts",
        "3",
        "--window",
        "10",
        "--initial-delay",
        "0.5",
        "--max-delay",
        "2",
    ]
    await spawn("run", "--id", "x", *options, "--", "sh", "-c", FOREVER, settings=settings)
    assert (await until_state(store, "x", State.RUNNING)).restart == RestartPolicy(
        mode="always", max_restarts=3, window_s=10.0, initial_delay_s=0.5, max_delay_s=2.0
    )


async def test_a_command_that_fails_is_restarted_and_then_its_code_is_told(
    spawn: Spawn, settings: Settings, store: InstanceStore, tmp_path: Path
) -> None:
    options = ["--restart", "on-failure", "--max-restarts", "2", "--initial-delay", "0.01"]
    script = f"echo $HOPPER_INCARNATION; (trap '' TERM; {FOREVER}) >/dev/null 2>&1 & exit 7"
    running = await spawn(
        *("run", "--id", "x", "--stop-timeout", "0.1", *options, "--", "sh", "-c", script), settings=settings
    )
    out, err = await running.said()
    assert running.process.returncode == 7
    incarnations = [int(line) for line in out.split()]
    assert len(incarnations) == 3
    assert incarnations == sorted(set(incarnations))
    record = await record_of(store, "x")
    assert (record.state, record.restarts) == (State.FAILED, 2)
    assert "run.exhausted" in err
    assert processes_of(tmp_path) == {}


async def test_an_operator_has_a_command_restarted(
    spawn: Spawn, settings: Settings, store: InstanceStore, hopper: Hopper
) -> None:
    script = f"echo $HOPPER_INCARNATION; {FOREVER}"
    running = await spawn("run", "--id", "x", "--", "sh", "-c", script, settings=settings)
    await until_state(store, "x", State.RUNNING)
    first = int(await running.line())
    assert await asyncio.to_thread(hopper.document, "state", "x", "restart")
    assert int(await running.line()) > first
    assert await running.end(signal.SIGTERM) == 143


async def test_signals_that_do_not_ask_to_end_are_the_commands_own(spawn: Spawn, settings: Settings) -> None:
    script = f"trap 'echo one' USR1; trap 'echo two' USR2; echo ready; {FOREVER}"
    running = await spawn("run", "--id", "x", "--", "sh", "-c", script, settings=settings)
    assert await running.line() == "ready"
    running.process.send_signal(signal.SIGUSR1)
    assert await running.line() == "one"
    running.process.send_signal(signal.SIGUSR2)
    assert await running.line() == "two"


NAMESPACES = ("unshare", "--pid", "--fork", "--mount-proc")


def can_be_first() -> bool:
    """Whether a process of ours can be the first of a container."""
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not can_be_first(), reason="no process can be the first of a container here")
async def test_as_the_first_process_of_a_container_it_reaps_orphans_and_tells_the_code(
    settings: Settings, store: InstanceStore
) -> None:
    script = "(sleep 0.1 &); sleep 2; grep -h ^State: /proc/[0-9]*/status; exit 6"
    environment = {"HOPPER_REDIS_URL": str(settings.redis_url), "HOPPER_NAMESPACE": settings.namespace}
    process = await asyncio.create_subprocess_exec(
        *(*NAMESPACES, sys.executable, "-m", "hopper", "run", "--id", "x", "--", "sh", "-c", script),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 6
    assert b"S (sleeping)" in out
    assert b"Z (zombie)" not in out
    assert (await record_of(store, "x")).state is State.FAILED
