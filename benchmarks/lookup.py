"""One instance by id: `registry.get` from memory, against an HGETALL of its record on the same server."""

import asyncio
import statistics
import time

from benchmarks.population import populate, server
from benchmarks.table import print_table
from hopper import InstanceRegistry

__all__ = ["main"]


def main(*, short: bool) -> None:
    """Print the time of one read each way, and their ratio, round by round in turn."""
    asyncio.run(_main(size=200 if short else 10_000, rounds=3 if short else 9))


async def _main(*, size: int, rounds: int) -> None:
    async with server("lookup") as settings:
        ids = await populate(settings, size, ttl_ms=600_000)
        async with InstanceRegistry(settings) as registry:
            client, key = registry.store.client, registry.store.keys.record
            memory, redis, whole = [], [], []
            for _ in range(rounds):
                sample = ids[:: max(1, size // 500)]
                started = time.perf_counter()
                for _ in range(20):
                    for name in sample:
                        await registry.get(name)
                memory.append((time.perf_counter() - started) / (20 * len(sample)))
                started = time.perf_counter()
                for name in sample:
                    await client.hgetall(key(name))
                redis.append((time.perf_counter() - started) / len(sample))
                started = time.perf_counter()
                for name in sample:
                    await registry.store.read(name)
                whole.append((time.perf_counter() - started) / len(sample))
    ratios = [slow / fast for slow, fast in zip(redis, memory, strict=True)]
    print_table(
        ["read", "microseconds, median"],
        [
            ["await registry.get(id)", f"{statistics.median(memory) * 1e6:.2f}"],
            ["await redis.hgetall(key)", f"{statistics.median(redis) * 1e6:.1f}"],
            ["await store.read(id), a Record from Redis", f"{statistics.median(whole) * 1e6:.1f}"],
        ],
    )
    print(
        f"ratio HGETALL / get over {size} instances: "
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})"
    )
