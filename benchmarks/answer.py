"""Lateness of the REST answer: how long past the deadline `GET` of one instance says `down`.

`hopper serve` runs as a user would run it, the rest of the fleet heartbeats, and one victim after another has its last
SETEX. Redis itself names the deadline (PEXPIRETIME); the answer is asked for again and again on one connection.
"""

import asyncio
import multiprocessing
import sys
import time

import httpx
import redis.asyncio

from benchmarks.detection import heartbeat
from benchmarks.population import instance_ids, populate, server
from benchmarks.table import percentile, print_table
from hopper.config import Settings
from hopper.store.keys import Keys

__all__ = ["main"]

VICTIM_TTL_S = 2
FLEET_TTL_S = 15


def main(*, short: bool) -> None:
    """Print the lateness of the answer among few and among many live instances."""
    rows = []
    for size in (3,) if short else (3, 50_000):
        rows.append(asyncio.run(_measure(size, deaths=3 if short else 20)))
        print(f"  {size} instances measured", flush=True)
    print_table(["live instances", "deaths", "p50 ms", "max ms"], rows)


async def _measure(size: int, *, deaths: int) -> list[object]:
    spawn = multiprocessing.get_context("spawn")
    async with server(f"answer-{size}") as settings:
        serving = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hopper", "serve", "--port", "0", "--redis-url", str(settings.redis_url),
            "--namespace", settings.namespace, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        address = await _address(serving)
        ids = instance_ids(size)
        ours, theirs = spawn.Pipe()
        fleet = spawn.Process(target=heartbeat, args=(settings, ids, FLEET_TTL_S, 0, theirs), daemon=True)
        fleet.start()
        await asyncio.to_thread(ours.recv)
        await populate(settings, size, ttl_ms=FLEET_TTL_S * 1000)
        async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as client:
            late = [await _death(client, settings, number) for number in range(deaths)]
        fleet.terminate()
        await asyncio.to_thread(fleet.join)
        serving.terminate()
        await serving.wait()
    return [f"{size:,}", deaths, f"{percentile(late, 0.5):.0f}", f"{max(late):.0f}"]


async def _address(serving: asyncio.subprocess.Process) -> str:
    """The address of the API, as `hopper serve` prints it."""
    assert serving.stdout is not None
    async for line in serving.stdout:
        word = line.decode().split()
        if word and word[0] == "API":
            return word[1]
    raise RuntimeError("hopper serve ended without saying where its API is")


async def _death(client: httpx.AsyncClient, settings: Settings, number: int) -> float:
    """Milliseconds past the deadline at which the answer says that one victim is down."""
    victim = f"victim-{number}"
    document = {"scope": "project", "id": victim, "ttl_ms": VICTIM_TTL_S * 1000}
    (await client.post("instances", json=document)).raise_for_status()
    async with redis.asyncio.Redis.from_url(str(settings.redis_url)) as store:
        key = Keys(settings.namespace).heartbeat(victim)
        await asyncio.sleep(VICTIM_TTL_S / 2)
        await store.execute_command("SETEX", key, VICTIM_TTL_S, "{}")
        deadline_ms = int(await store.execute_command("PEXPIRETIME", key))
    await asyncio.sleep(max(0.0, deadline_ms / 1000 - time.time() - 0.1))
    while True:
        record = (await client.get(f"instances/{victim}")).json()
        now_ms = time.time() * 1000
        if record["health"] == "down":
            if now_ms < deadline_ms:
                raise AssertionError(f"{victim} was down {deadline_ms - now_ms:.0f} ms before its deadline")
            return now_ms - deadline_ms
        if now_ms > deadline_ms + 10_000:
            raise AssertionError(f"{victim} was not down 10 s after its deadline")
