"""`hopper serve` and `hopper monitor`: what they answer, and that nothing outlives them."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cli.commands import Command, Hopper, Spawn, processes_of
from hopper.config import Settings
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.store.client import without_password
from hopper.store.instances import InstanceStore
from servers import RedisServer, free_port
from waiting import wait_until


async def origin_of(serving: Command) -> str:
    """Where the API answers, as it says itself."""
    line = await serving.line_with("API")
    return re.search(r"http://[^/]+", line)[0]


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=10, trust_env=False)


def monitors_of(directory: Path) -> list[int]:
    return [pid for pid, words in processes_of(directory).items() if "hopper monitor" in words]


async def test_once_it_answers_somebody_watches_over_those_who_register(spawn: Spawn, settings: Settings) -> None:
    serving = await spawn("serve", settings=settings)
    health = await asyncio.to_thread(get, f"{await origin_of(serving)}/api/v1/registry/health")
    assert health.json()["monitor"] is not None


async def test_without_redis_it_serves_with_the_embedded_valkey_and_says_where(spawn: Spawn, tmp_path: Path) -> None:
    serving = await spawn("serve")
    assert await serving.line() == "Hopper serves namespace 'default'"
    origin = await origin_of(serving)
    assert f"{origin}/api/v1/registry/health" in await serving.line_with("health")
    redis_url = (await serving.line_with("Redis")).split()[-1]
    assert re.fullmatch(r"redis://127\.0\.0\.1:\d+/0", redis_url)

    assert (await asyncio.to_thread(get, f"{origin}/livez")).status_code == 200
    joined = await spawn("register", "--scope", "global", "--id", "hub", "-o", "name")
    assert await joined.said() == ("hub\n", "")

    async def served() -> bool:
        answer = await asyncio.to_thread(get, f"{origin}/api/v1/registry/instances")
        return [item["id"] for item in answer.json()["items"]] == ["hub"]

    await wait_until(served)


async def test_sigterm_ends_everything_with_0_in_time_although_a_client_stays_connected(
    spawn: Spawn, tmp_path: Path
) -> None:
    serving = await spawn("serve")
    origin = await origin_of(serving)
    await wait_until(lambda: monitors_of(tmp_path))
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{origin}/livez")).status_code == 200
        began = time.monotonic()
        assert await serving.end(signal.SIGTERM) == 0
        await wait_until(lambda: not processes_of(tmp_path))
        assert time.monotonic() - began < 5


async def test_sigint_ends_it_with_0(spawn: Spawn) -> None:
    serving = await spawn("serve")
    await origin_of(serving)
    assert await serving.end(signal.SIGINT) == 0


async def test_sigkill_leaves_neither_monitor_nor_keeper_nor_valkey(spawn: Spawn, tmp_path: Path) -> None:
    serving = await spawn("serve")
    await origin_of(serving)
    await wait_until(lambda: monitors_of(tmp_path))
    assert len(processes_of(tmp_path)) >= 4  # itself, the monitor, the keeper and Valkey
    await serving.end(signal.SIGKILL)
    await wait_until(lambda: not processes_of(tmp_path))


async def test_a_monitor_that_died_is_started_again(spawn: Spawn, settings: Settings, tmp_path: Path) -> None:
    serving = await spawn("serve", settings=settings)
    await origin_of(serving)
    (first,) = await wait_until(lambda: monitors_of(tmp_path))
    os.kill(first, signal.SIGKILL)

    def another() -> bool:
        running = monitors_of(tmp_path)
        return bool(running) and first not in running

    await wait_until(another)


async def test_its_monitor_sees_who_stops_heartbeating(spawn: Spawn, settings: Settings, store: InstanceStore) -> None:
    await spawn("serve", settings=settings)

    async def led() -> bool:
        return (await store.surveillance())[0] is not None

    await wait_until(led)
    await store.register(InstanceSpec(scope=Scope.GLOBAL, id="hub", ttl_ms=1000))

    async def down() -> bool:
        record = await store.read("hub")
        return record is not None and record.health is Health.DOWN

    await wait_until(down)


async def test_with_parent_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HOPPER_DATA_DIR": str(tmp_path / "data"),
        "HOPPER_EMBEDDED_PORT": "0",
        "HOPPER_PORT": "0",
    }
    shell = f"{sys.executable} -m hopper serve --with-parent; true"  # `true`: so that the shell does not become hopper
    parent = await asyncio.create_subprocess_exec(
        *("sh", "-c", shell), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    try:
        while b"API" not in (line := await asyncio.wait_for(parent.stdout.readline(), 20)):
            assert line
        assert any("hopper serve" in words for words in processes_of(tmp_path).values())
    finally:
        parent.kill()
        await parent.wait()
    await wait_until(lambda: not processes_of(tmp_path))


async def test_without_with_parent_it_outlives_its_parent(tmp_path: Path, settings: Settings) -> None:
    said = tmp_path / "said"
    environment = {**os.environ, "HOPPER_DATA_DIR": str(tmp_path / "data"), "HOPPER_PORT": "0"}
    environment |= {"HOPPER_REDIS_URL": settings.redis_url, "HOPPER_NAMESPACE": settings.namespace}
    parent = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"{sys.executable} -m hopper serve >{said} 2>&1 & echo $!; wait"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    serving = int(await parent.stdout.readline())
    try:
        await wait_until(lambda: said.exists() and "API" in said.read_text())
        parent.kill()
        await wait_until(lambda: f"PPid:\t{parent.pid}\n" not in Path(f"/proc/{serving}/status").read_text())
        os.kill(serving, 0)
    finally:
        os.kill(serving, signal.SIGTERM)
        await parent.wait()
    await wait_until(lambda: not processes_of(tmp_path))


async def test_with_a_redis_that_is_away_it_lives_and_connects_later(
    spawn: Spawn, new_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "late", port=free_port())
    serving = await spawn("serve", settings=new_settings(redis_url=server.url))
    origin = await origin_of(serving)
    assert (await asyncio.to_thread(get, f"{origin}/livez")).status_code == 200
    assert (await asyncio.to_thread(get, f"{origin}/readyz")).status_code == 503
    try:
        await asyncio.to_thread(server.start)

        async def ready() -> bool:
            return (await asyncio.to_thread(get, f"{origin}/readyz")).status_code == 200

        await wait_until(ready)
        assert await serving.end(signal.SIGTERM) == 0
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"], ids=["IPv4", "IPv6"])
def test_another_address_than_loopback_is_refused_unless_told(hopper: Hopper, host: str) -> None:
    said = hopper.refused("serve", "--host", host, code=2)
    assert host in said
    assert "--insecure" in said


async def test_insecure_opens_another_address(spawn: Spawn, settings: Settings) -> None:
    serving = await spawn("serve", "--host", "0.0.0.0", "--insecure", settings=settings)
    origin = await origin_of(serving)
    assert origin.startswith("http://0.0.0.0:")
    assert (await asyncio.to_thread(get, f"{origin}/livez")).status_code == 200


def test_a_port_in_use_ends_with_6_and_is_named(hopper: Hopper) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = hopper.refused("serve", "--port", port, code=6)
    assert port in said
    assert "--port" in said


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--port", "x"], ["port", "x"]),
        (["--port", "70000"], ["port", "70000"]),
        (["--host", "no.such.host.invalid"], ["host", "no.such.host.invalid"]),
    ],
    ids=["no number", "too large", "no such host"],
)
def test_a_bad_address_ends_with_2_and_is_named(hopper: Hopper, words: list[str], names: list[str]) -> None:
    said = hopper.refused("serve", *words, code=2)
    assert all(name in said for name in names), said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@example:6379/0", "redis://:***@example:6379/0"),
        ("rediss://me:secret@example/1", "rediss://me:***@example/1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_password_is_not_printed(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_the_monitor_ends_by_a_signal_with_0_and_gives_the_leadership_back(
    spawn: Spawn, settings: Settings, store: InstanceStore, number: int
) -> None:
    monitoring = await spawn("monitor", settings=settings)

    async def led() -> bool:
        return (await store.surveillance())[0] is not None

    await wait_until(led)
    assert await monitoring.end(number) == 0
    assert not await led()
