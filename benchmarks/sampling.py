"""What it costs the monitor to hold metrics against thresholds, and how soon it says who is over one.

Every instance reports all five metrics every 5 s; in the second run each has thresholds on all of them, by the
settings. The monitor is a process of its own, and so is what heartbeats. Nobody dies. At the end some go over one.
"""

import asyncio
import heapq
import multiprocessing
import random
import time
from multiprocessing.connection import Connection

import orjson
import redis

from benchmarks.detection import cpu_s, run_monitor
from benchmarks.population import instance_ids, populate, server
from benchmarks.table import percentile, print_table
from hopper.config import Settings
from hopper.model.event import EventType
from hopper.model.policy import Threshold
from hopper.store.keys import Keys
from hopper.store.log import ChangeLog

__all__ = ["main"]

MOST_CORES = 0.2
"""What the monitor may use of a core with 10,000 instances."""

INTERVAL_S = 5.0
_TTL_S = 15
_OVER = 50
_BATCH = 100
_THRESHOLDS = {
    "active_tasks": Threshold(100, 1000),
    "queue_depth": Threshold(1000, 10_000),
    "response_time_ms": Threshold(500, 5000),
    "error_rate": Threshold(0.1, 0.5),
    "uptime_s": Threshold(1e12, None),
}


def main(*, short: bool) -> None:
    """Print the monitor's share of a core without and with thresholds, and the time until it says `degraded`."""
    size, watch_s = (500, 5.0) if short else (10_000, 60.0)
    rows, cores = [], 0.0
    for name, thresholds in (("none", {}), ("five metrics", _THRESHOLDS)):
        rate, cores, told_s = asyncio.run(_measure(size, thresholds, watch_s))
        told = [f"{percentile(told_s, 0.5):.1f}", f"{max(told_s):.1f}"] if told_s else ["-", "-"]
        rows.append([name, f"{size:,}", f"{rate:,.0f}", f"{cores:.3f}", len(told_s), *told])
        print(f"  thresholds on {name} measured", flush=True)
    print_table(["thresholds", "instances", "heartbeats/s", "monitor cores", "over", "told p50 s", "told max s"], rows)
    print(f"told: from the heartbeat that is over to the event; two samples, one every {INTERVAL_S:g} s, must say so")
    if not short and cores > MOST_CORES:
        raise AssertionError(f"the monitor used {cores:.3f} of a core, over {MOST_CORES}")


async def _measure(size: int, thresholds: dict[str, Threshold], watch_s: float) -> tuple[float, float, list[float]]:
    """Heartbeats a second, the monitor's share of a core, and after how many seconds each that is over was told."""
    spawn = multiprocessing.get_context("spawn")
    async with server(f"sampling-{size}") as plain:
        settings = plain.model_copy(update={"thresholds": thresholds, "sample_s": INTERVAL_S})
        monitor = spawn.Process(target=run_monitor, args=(settings,), daemon=True)
        monitor.start()
        ids = instance_ids(size)
        ours, theirs = spawn.Pipe()
        fleet = spawn.Process(target=_heartbeat, args=(settings, ids, theirs), daemon=True)
        fleet.start()
        await asyncio.to_thread(ours.recv)
        await populate(settings, size, ttl_ms=_TTL_S * 1000)
        await asyncio.sleep(INTERVAL_S)
        before, started = cpu_s(monitor), time.monotonic()
        await asyncio.sleep(watch_s)
        cores = (cpu_s(monitor) - before) / (time.monotonic() - started)
        over = random.sample(ids, _OVER) if thresholds else []
        ours.send(over)
        over_at, rate = await asyncio.to_thread(ours.recv)
        told = await _told(settings, over_at)
        for process in (fleet, monitor):
            process.terminate()
            await asyncio.to_thread(process.join)
    return rate, cores, told


async def _told(settings: Settings, over_at: dict[str, float]) -> list[float]:
    """How long after its heartbeat each was said to be degraded; anyone else whose health changes raises."""
    log, told = ChangeLog(settings), {}
    await log.connect()
    since, deadline = 0, time.monotonic() + 5 * INTERVAL_S
    while len(told) < len(over_at) and time.monotonic() < deadline:
        for event in await log.follow(since):
            since = event.revision
            if event.type is EventType.HEALTH_CHANGED:
                if event.id not in over_at or event.record is None or event.record.health != "degraded":
                    raise AssertionError(f"{event.id} is {event.record and event.record.health}: {event.evidence}")
                told[event.id] = event.at_ms / 1000 - over_at[event.id]
    await log.aclose()
    if missed := over_at.keys() - told.keys():
        raise AssertionError(f"{len(missed)} of {len(over_at)} over a threshold were not told, as {sorted(missed)[:3]}")
    return list(told.values())


def _heartbeat(settings: Settings, ids: list[str], pipe: Connection) -> None:
    """Every instance reports each 5 s; when told who, these are over a threshold from their next heartbeat on."""
    client = redis.Redis.from_url(str(settings.redis_url))
    key = Keys(settings.namespace).heartbeat
    begun = time.monotonic()
    ids = random.sample(ids, len(ids))  # else their order, and so their moment, would be that of the samples
    queue = [(begun + INTERVAL_S * position / len(ids), name) for position, name in enumerate(ids)]
    heapq.heapify(queue)
    over: set[str] | None = None
    over_at: dict[str, float] = {}
    beats, reported = 0, False
    pipe.send("beating")
    while True:
        if over is None and pipe.poll():
            over = set(pipe.recv())
        now = time.monotonic()
        batch = []
        while queue and queue[0][0] <= now and len(batch) < _BATCH:
            due, name = heapq.heappop(queue)
            batch.append(name)
            heapq.heappush(queue, (max(due + INTERVAL_S, now), name))
        if batch:
            with client.pipeline(transaction=False) as pipeline:
                for name in batch:
                    is_over = over is not None and name in over
                    pipeline.execute_command("SETEX", key(name), _TTL_S, _metrics(now - begun, is_over=is_over))
                    if is_over:
                        over_at.setdefault(name, time.time())
                pipeline.execute()
            beats += len(batch)
        else:
            time.sleep(min(0.005, max(0.0, queue[0][0] - now)))
        if over is not None and not reported and len(over_at) == len(over):
            pipe.send((over_at, beats / (time.monotonic() - begun)))
            reported = True


def _metrics(uptime_s: float, *, is_over: bool) -> bytes:
    return orjson.dumps(
        {
            "active_tasks": random.randrange(100),
            "queue_depth": 1200 if is_over else random.randrange(1000),
            "response_time_ms": random.uniform(1, 499),
            "error_rate": random.uniform(0, 0.099),
            "uptime_s": uptime_s,
        }
    )
