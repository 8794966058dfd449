"""A fleet of instances that heartbeat as real clients do, in a process of its own, so that it starves nobody.

Each instance has its own connection and sends an unconditional SETEX every third of its TTL, give or take a tenth.
After an error or a timeout it tries again soon, for ever. Run as a program this file is that process; `BeatingFleet`
starts it.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from hopper.config import Settings
from hopper.model.heartbeat import seconds_of
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.store.instances import InstanceStore
from hopper.store.keys import Keys

__all__ = ["BeatingFleet", "register_fleet"]

ANSWER_S = 1.0
"""Seconds an instance waits for a connection or an answer."""
RETRY_S = 0.25
"""Seconds after which an instance tries again, give or take a half."""


async def register_fleet(store: InstanceStore, ids: Sequence[str], *, ttl_ms: int, grace_ms: int = 0) -> None:
    """Register instances, 64 at a time; the first heartbeat of each has begun."""
    turn = asyncio.Semaphore(16)

    async def one(id: str) -> None:
        async with turn:
            await store.register(InstanceSpec(id=id, scope=Scope.PROJECT, ttl_ms=ttl_ms, grace_ms=grace_ms))

    await asyncio.gather(*(one(id) for id in ids))


class BeatingFleet:
    """The process that heartbeats for instances. A context manager.

    Start it before they are registered: it may take longer to start than their TTL.
    """

    def __init__(self, settings: Settings, ids: Sequence[str], *, ttl_ms: int) -> None:
        self.ids = list(ids)
        self._settings = settings
        self._ttl_ms = ttl_ms
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until every instance has been answered once."""
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._settings.redis_url), self._settings.namespace, str(self._ttl_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(" ".join(self.ids))
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer != "beating\n":
            self.stop()
            raise AssertionError(f"the fleet did not start, and said {answer!r}")

    def stop_beating(self, id: str) -> None:
        """Let one instance fall silent for good."""
        self._say(id)

    def stop(self) -> None:
        """End the process; every instance falls silent."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin, process.stdout:
                pass
            process.wait(10)

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


# -- the process -------------------------------------------------------------------------------------------------------


async def beat(host: str, port: int, key: str, ttl_ms: int, first: asyncio.Event) -> None:
    """Heartbeat for ever over one connection, replaced when it breaks or is silent."""
    words = ("SETEX", key, str(seconds_of(ttl_ms)), '{"active_tasks":1}')
    request = "\r\n".join([f"*{len(words)}", *(f"${len(word)}\r\n{word}" for word in words), ""]).encode()
    while True:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(host, port)
            while True:
                writer.write(request)
                async with asyncio.timeout(ANSWER_S):
                    answer = await reader.readline()
                if not answer:
                    raise ConnectionError
                if answer.startswith(b"+OK"):
                    first.set()
                    await asyncio.sleep(ttl_ms / 3000 * random.uniform(0.9, 1.1))
                else:
                    await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))
        except OSError:
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))
        finally:
            if writer is not None:
                writer.close()


async def main(url: str, namespace: str, ttl_ms: int) -> None:
    """Heartbeat for the ids of the first line of standard input, except those that later lines name; ends with it."""
    place, keys, loop = urlsplit(url), Keys(namespace), asyncio.get_running_loop()
    assert place.hostname is not None
    assert place.port is not None
    beats: dict[str, asyncio.Task[None]] = {}
    started: list[asyncio.Event] = []
    for id in sys.stdin.readline().split():
        started.append(asyncio.Event())
        beats[id] = asyncio.create_task(beat(place.hostname, place.port, keys.heartbeat(id), ttl_ms, started[-1]))
    ended = asyncio.Event()

    def listen() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(beats[line.strip()].cancel)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=listen, daemon=True).start()
    for event in started:
        await event.wait()
    sys.stdout.write("beating\n")
    sys.stdout.flush()
    await ended.wait()
    for task in beats.values():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*beats.values())
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
