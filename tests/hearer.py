"""A process that hears every change by callbacks: `hearer.py URL NAMESPACE`.

It says `hearing` once it does. A line of standard input names a revision: once that has been heard it prints what the
callbacks were called with, a JSON list of [revision, type, id] and one of [child, old parent, new parent], and ends.
"""

import asyncio
import sys
from typing import Any

import orjson
import structlog

from hopper import InstanceRegistry, Settings
from waiting import wait_until


async def main(url: str, namespace: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    events: list[tuple[Any, ...]] = []
    moves: list[tuple[Any, ...]] = []
    async with InstanceRegistry(Settings(redis_url=url, namespace=namespace)) as registry:
        registry.on(None, lambda event: events.append((event.revision, event.type, event.id)))
        registry.on_parent_changed(lambda child, old, new: moves.append((child.id, old, new)))
        sys.stdout.write("hearing\n")
        sys.stdout.flush()
        last = int(await asyncio.to_thread(sys.stdin.readline))
        await wait_until(lambda: registry.callbacks.revision >= last, 60)
    sys.stdout.buffer.write(orjson.dumps([events, moves]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
