"""Lateness of failure detection past the heartbeat's deadline, while the rest of the fleet heartbeats.

In the same run and on the same server, plain keys with the same deadlines die under a plain subscriber to `expired`:
the way that a registry without probes detects. Both are measured against the deadline that Redis itself names
(PEXPIRETIME) after the last SETEX. The monitor is a process of its own, and so is what heartbeats.
"""

import asyncio
import heapq
import logging
import multiprocessing
import os
import random
import time
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import redis
import redis.asyncio
import structlog

from benchmarks.population import instance_ids, populate, server
from benchmarks.table import percentile, print_table
from hopper.config import Settings
from hopper.instance.monitor import Monitor
from hopper.model.event import EventType
from hopper.store.instances import InstanceStore
from hopper.store.keys import Keys
from hopper.store.log import ChangeLog

__all__ = ["cpu_s", "heartbeat", "main", "run_monitor"]

PATIENCE_S = 5.0
DEATHS_S = 15.0
_BATCH = 100


def main(*, short: bool) -> None:
    """Print lateness, heartbeat rate and the monitor's share of a core, for fleets of growing size."""
    sizes = (200,) if short else (1_000, 10_000, 100_000)
    rows = []
    for size in sizes:
        rows.append(asyncio.run(_measure(size, ttl_s=2 if short else 15, deaths=20 if short else 200)))
        print(f"  {size} instances measured", flush=True)
    print_table(
        [
            "instances", "heartbeats/s", "deaths", "p50 ms", "p99 ms", "max ms", "monitor cores",
            "expired arrived", "expired p50 ms", "expired max ms",
        ],
        rows,
    )  # fmt: skip
    print(f"expired: what a plain subscriber had heard {PATIENCE_S:g} s after the last deadline")


async def _measure(size: int, *, ttl_s: int, deaths: int) -> list[object]:
    spawn = multiprocessing.get_context("spawn")
    async with server(f"detection-{size}") as plain:
        settings = plain.model_copy(update={"guard_share": 1.0})  # a fifth of the small fleet dies, and is to be judged
        monitor = spawn.Process(target=run_monitor, args=(settings,), daemon=True)
        monitor.start()
        ids = instance_ids(size)
        ours, theirs = spawn.Pipe()
        fleet = spawn.Process(target=heartbeat, args=(settings, ids, ttl_s, deaths, theirs), daemon=True)
        fleet.start()
        await asyncio.to_thread(ours.recv)
        await populate(settings, size, ttl_ms=ttl_s * 1000)
        revision = await _position(settings)
        heard: dict[str, float] = {}
        listening = asyncio.create_task(_listen(settings, heard))
        await asyncio.sleep(ttl_s / 3)
        ours.send("die")
        before, started = cpu_s(monitor), time.monotonic()
        await asyncio.sleep(DEATHS_S)
        cores = (cpu_s(monitor) - before) / (time.monotonic() - started)
        deadlines, rate = await asyncio.to_thread(ours.recv)
        last = max(deadlines.values()) / 1000
        await asyncio.sleep(max(0.0, last + PATIENCE_S - time.time()))
        verdicts = await _verdicts(settings, revision, set(deadlines))
        listening.cancel()
        await asyncio.wait({listening})
        for process in (fleet, monitor):
            process.terminate()
            await asyncio.to_thread(process.join)
    missed = deadlines.keys() - verdicts.keys()
    if missed:
        raise AssertionError(f"{len(missed)} of {len(deadlines)} deaths were not seen, as {sorted(missed)[:3]}")
    late = [verdicts[name] - deadline for name, deadline in deadlines.items()]
    expired = [heard[name] - deadline for name, deadline in deadlines.items() if name in heard]
    figures = [percentile(late, 0.5), percentile(late, 0.99), max(late)]
    plain = [f"{percentile(expired, 0.5):.0f}", f"{max(expired):.0f}"] if expired else ["-", "-"]
    share = f"{100 * len(expired) / len(deadlines):.0f} %"
    return [f"{size:,}", f"{rate:,.0f}", len(late), *(f"{f:.0f}" for f in figures), f"{cores:.3f}", share, *plain]


def run_monitor(settings: Settings) -> None:
    """A monitor, for a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(Monitor(settings).run())


async def _listen(settings: Settings, heard: dict[str, float]) -> None:
    """Note when each control key's `expired` arrives, by the id that the key was made for."""
    client = redis.asyncio.Redis.from_url(str(settings.redis_url), socket_timeout=None, decode_responses=True)
    async with client.pubsub() as pubsub:
        await client.config_set("notify-keyspace-events", "KExe")
        await pubsub.psubscribe("__keyspace@0__:control:*")
        try:
            async for message in pubsub.listen():
                if message["type"] == "pmessage" and message["data"] == "expired":
                    heard[message["channel"].partition("control:")[2]] = time.time() * 1000
        finally:
            await client.aclose()


async def _position(settings: Settings) -> int:
    store = InstanceStore(settings)
    position = await store.position()
    await store.aclose()
    return position.revision


async def _verdicts(settings: Settings, since: int, dead: set[str]) -> dict[str, int]:
    """When each of the dead was judged `down`, by Redis' clock; anyone else judged is a false alarm and raises."""
    log, verdicts = ChangeLog(settings), {}
    await log.connect()
    while events := await log.follow(since):
        for event in events:
            since = event.revision
            if event.type is EventType.HEALTH_CHANGED and event.record and event.record.health == "down":
                if event.id not in dead:
                    raise AssertionError(f"{event.id} was judged down, and it heartbeats")
                verdicts[str(event.id)] = event.at_ms
    await log.aclose()
    return verdicts


def cpu_s(process: BaseProcess) -> float:
    """Seconds of processor time that a process has used (utime and stime of proc(5))."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def heartbeat(settings: Settings, ids: list[str], ttl_s: int, deaths: int, pipe: Connection) -> None:
    """Every instance heartbeats each third of its TTL; when told, some have their last beat and the others go on."""
    client = redis.Redis.from_url(str(settings.redis_url))
    key = Keys(settings.namespace).heartbeat
    interval = ttl_s / 3
    begun = time.monotonic()
    queue = [(begun + interval * position / len(ids), name) for position, name in enumerate(ids)]
    heapq.heapify(queue)
    doomed: dict[str, float] = {}
    deadlines: dict[str, int] = {}
    beats, counting, told, reported = 0, begun, False, False
    pipe.send("beating")
    while True:
        if not told and pipe.poll():
            pipe.recv()
            beats, counting, told = 0, time.monotonic(), True
            chosen = random.sample([name for name in ids if name.startswith("run-")], deaths)
            doomed = {name: counting + random.uniform(0, DEATHS_S - interval) for name in chosen}
        now = time.monotonic()
        batch = []
        while queue and queue[0][0] <= now and len(batch) < _BATCH:
            due, name = heapq.heappop(queue)
            if name in doomed and now >= doomed[name]:
                deadlines[name] = _last_beat(client, key(name), f"control:{name}", ttl_s)
                continue
            batch.append(name)
            heapq.heappush(queue, (max(due + interval, now), name))
        if batch:
            with client.pipeline(transaction=False) as pipeline:
                for name in batch:
                    pipeline.execute_command("SETEX", key(name), ttl_s, b'{"active_tasks":1}')
                pipeline.execute()
            beats += len(batch)
        else:
            time.sleep(min(0.005, max(0.0, queue[0][0] - now)))
        if told and not reported and len(deadlines) == deaths and now - counting >= DEATHS_S:
            pipe.send((deadlines, beats / (now - counting)))
            reported = True


def _last_beat(client: redis.Redis, heartbeat: str, control: str, ttl_s: int) -> int:
    """The last heartbeat of one instance and a plain key of the same deadline; answers the deadline as Redis has it."""
    with client.pipeline(transaction=True) as pipeline:
        pipeline.execute_command("SETEX", heartbeat, ttl_s, b"{}")
        pipeline.execute_command("PEXPIRETIME", heartbeat)
        pipeline.execute_command("SETEX", control, ttl_s, b"")
        return int(pipeline.execute()[1])
