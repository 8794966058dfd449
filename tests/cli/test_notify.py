"""What a service manager is told of `hopper run`."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.commands import Spawn
from hopper.cli.notify import ServiceManager
from hopper.config import Settings
from waiting import wait_until

FOREVER = "while :; do sleep 0.02; done"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The name of a socket, and what was said to it so far."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("there are abstract sockets on Linux only")
    name = str(tmp_path / "notify") if request.param == "path" else f"@hopper-{os.getpid()}-{tmp_path.name}"
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(name.replace("@", "\0", 1))
        door.setblocking(False)

        def lines() -> list[str]:
            while True:
                try:
                    said.extend(door.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return said

        yield name, lines


async def test_systemd_hears_when_it_runs_and_when_it_stops_and_the_command_knows_nothing_of_it(
    spawn: Spawn, settings: Settings, manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    running = await spawn("run", "--id", "x", "--", "sh", "-c", f"env; echo end; {FOREVER}", settings=settings)
    environment = []
    while (line := await running.line()) != "end":
        environment.append(line.partition("=")[0])
    assert "NOTIFY_SOCKET" not in environment
    assert "HOPPER_ID" in environment
    await wait_until(lambda: "READY=1" in lines())
    assert "STOPPING=1" not in lines()
    assert any(line.startswith("STATUS=running") for line in lines())
    assert await running.end(signal.SIGTERM) == 143
    assert "STOPPING=1" in lines()


async def test_systemd_hears_of_a_command_that_waits_to_be_restarted(
    spawn: Spawn, settings: Settings, manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    await spawn(
        "run", "--id", "x", "--restart", "on-failure", "--initial-delay", "60", "--", "false", settings=settings
    )
    await wait_until(lambda: "STATUS=waiting to be restarted" in lines())


async def test_systemd_hears_often_enough_that_it_lives_and_the_command_is_not_asked_for_that(
    spawn: Spawn, settings: Settings, manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    running = await spawn("run", "--id", "x", "--", "sh", "-c", f"env; echo end; {FOREVER}", settings=settings)
    while (line := await running.line()) != "end":
        assert not line.startswith("WATCHDOG_")
    await wait_until(lambda: lines().count("WATCHDOG=1") >= 5)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WATCHDOG_USEC": "20000"}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
    ids=["nobody named", "we are named", "another is named", "no time", "no number", "none"],
)
async def test_a_watchdog_is_told_only_where_it_waits_for_us(
    environment: dict[str, str], told: bool, manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, lines = manager
    for variable, value in ({"NOTIFY_SOCKET": name} | environment).items():
        monkeypatch.setenv(variable, value)
    service = ServiceManager()
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    tasks = asyncio.all_tasks()
    async with service.watched():
        assert (asyncio.all_tasks() != tasks) is told
        if told:
            await wait_until(lambda: lines().count("WATCHDOG=1") >= 3)
    count = lines().count("WATCHDOG=1")
    assert bool(count) is told
    service.tell("STATUS=over")
    await wait_until(lambda: "STATUS=over" in lines())
    assert lines().count("WATCHDOG=1") == count


def test_nobody_is_told_where_no_socket_is_named_and_one_that_is_gone_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    ServiceManager().tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    manager = ServiceManager()
    assert "NOTIFY_SOCKET" not in os.environ
    manager.tell("READY=1")
