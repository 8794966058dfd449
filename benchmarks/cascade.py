"""A cascade over a large tree, against as many bare pipelined `UNLINK` and `XADD` of the same record; and who waits."""

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path

import redis.asyncio

from benchmarks.population import server
from benchmarks.table import print_table
from hopper.config import Settings
from hopper.instance.departures import Departures, departure_of
from hopper.model.spec import parse_spec
from hopper.store.departing import BATCH
from hopper.store.instances import InstanceStore

__all__ = ["main"]

_PIPELINE = 100
_SLOW_US = 1_000
"""Microseconds from which Redis notes a command."""
_LONG_MS = 5

_PING = """
import socket, sys, time
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print("pinging", flush=True)
while True:
    started = time.perf_counter()
    link.sendall(b"PING\\r\\n")
    if link.recv(16) != b"+PONG\\r\\n":
        break
    print((time.perf_counter() - started) * 1000, flush=True)
    time.sleep(0.001)
"""


def main(*, short: bool) -> None:
    """Print removals per second of a cascade and of bare commands, and how long another client waited for a PING."""
    asyncio.run(_main(projects=4 if short else 1_000, each=50 if short else 100, rounds=2 if short else 3))


async def _main(*, projects: int, each: int, rounds: int) -> None:
    rows, ratios = [], []
    async with server("cascade") as settings:
        for _ in range(rounds):
            bare_s, count, bare_slow = await _bare(settings, projects=projects, each=each)
            cascade_s, waits, slow, off_core_ms = await _cascade(settings, projects=projects, each=each)
            ratios.append(bare_s / cascade_s)
            waits.sort()
            rows.append(
                [
                    f"{count:,}",
                    f"{count / bare_s:,.0f}",
                    f"{count / cascade_s:,.0f}",
                    f"{ratios[-1]:.2f}",
                    f"{waits[len(waits) // 2]:.2f}",
                    f"{waits[int(len(waits) * 0.99)]:.2f}",
                    f"{waits[-1]:.2f}",
                    f"{sum(ms > _LONG_MS for ms in slow)} of {-(-count // BATCH)}",
                    f"{max(slow, default=0):.2f}",
                    f"{off_core_ms:.0f}",
                    f"{max(bare_slow, default=0):.2f}",
                ]
            )
    headings = ["instances", "UNLINK + XADD, 1/s", "cascade, 1/s", "ratio"]
    headings += ["PING p50, ms", "PING p99, ms", "PING max, ms"]
    headings += [f"calls over {_LONG_MS} ms", "longest, ms", "waited for a core, ms", "longest bare command, ms"]
    print_table(headings, rows)
    print(f"ratio cascade / bare: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


async def _bare(settings: Settings, *, projects: int, each: int) -> tuple[float, int, list[float]]:
    """Seconds for as many UNLINKs of a record's hash, each with the XADD of its event, 100 pairs in a pipeline; their
    number; and the milliseconds of each that took long, which is the machine's doing: what they do takes microseconds.
    """
    store = InstanceStore(settings.model_copy(update={"namespace": "bare"}))
    try:
        await store.register(parse_spec({"scope": "project", "id": "template"}))
        record = await store.read("template")
        assert record is not None
        document, values = record.to_json(), await store.client.hgetall(store.keys.record("template"))
        count = projects * each + projects + 1
        keys = [store.keys.record(f"template-{number}") for number in range(count)]
        for start in range(0, count, _PIPELINE):
            async with store.client.pipeline(transaction=False) as pipe:
                for key in keys[start : start + _PIPELINE]:
                    pipe.hset(key, mapping=values)
                await pipe.execute()
        await _watch_slow(store)
        started = time.perf_counter()
        for start in range(0, count, _PIPELINE):
            async with store.client.pipeline(transaction=False) as pipe:
                for key in keys[start : start + _PIPELINE]:
                    pipe.unlink(key)
                    fields = {"type": "deregistered", "id": key, "record": document, "actor": "bench"}
                    pipe.xadd("bare-events", fields, maxlen=settings.log_length, approximate=True)
                await pipe.execute()
        taken = time.perf_counter() - started
        slow = await _slow_ms(store)
        await store.client.unlink("bare-events")
        return taken, count, slow
    finally:
        await store.client.flushdb()
        await store.aclose()


async def _cascade(settings: Settings, *, projects: int, each: int) -> tuple[float, list[float], list[float], float]:
    """Seconds for the cascade of a Global; milliseconds of every PING of another process meanwhile, of every call that
    took long in Redis by the wall clock, and those that Redis in all waited for a core, which are among the latter."""
    store = InstanceStore(settings)
    try:
        await store.open()
        await store.register(parse_spec({"scope": "global", "id": "g"}))
        for number in range(projects):
            specs = [parse_spec({"scope": "project", "id": f"p{number}", "parent_id": "g"})]
            specs += [
                parse_spec({"scope": "orchestration", "id": f"p{number}-{child}", "parent_id": f"p{number}"})
                for child in range(each)
            ]
            await store.register_many(specs)
        place = redis.asyncio.connection.parse_url(str(settings.redis_url))
        with subprocess.Popen(  # noqa: ASYNC220 - starting it is not measured
            [sys.executable, "-c", _PING, str(place["port"])], stdout=subprocess.PIPE, text=True
        ) as pinging:
            assert pinging.stdout is not None
            assert pinging.stdout.readline() == "pinging\n"
            await _watch_slow(store)
            pid = int((await store.client.info("server"))["process_id"])
            off_core_ms = _off_core_ms(pid)
            started = time.perf_counter()
            await Departures(store).remove("g", departure_of("cascade"))
            taken = time.perf_counter() - started
            off_core_ms = _off_core_ms(pid) - off_core_ms
            pinging.kill()
            waits = [float(line) for line in pinging.stdout.read().split()]
        assert await store.client.zcard(store.keys.instances) == 0
        return taken, waits, await _slow_ms(store), off_core_ms
    finally:
        await store.client.flushdb()
        await store.aclose()


async def _watch_slow(store: InstanceStore) -> None:
    """Let Redis note every command that takes longer than a millisecond by the wall clock."""
    await store.client.config_set("slowlog-log-slower-than", _SLOW_US)
    await store.client.config_set("slowlog-max-len", 10_000)
    await store.client.slowlog_reset()


def _off_core_ms(pid: int) -> float:
    """Milliseconds that a process' first thread has been ready to run without a core, from `/proc/PID/schedstat`."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6


async def _slow_ms(store: InstanceStore) -> list[float]:
    return [entry["duration"] / 1000 for entry in await store.client.slowlog_get(10_000)]
