"""What a doctor asks of Redis: the server, its settings and its clock, and the keys of a namespace. It writes nothing.

Where Redis refuses a question to this user, or has no such command, a method raises `StoreFault`.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from hopper.model.record import Record
from hopper.store.faults import reading
from hopper.store.reading import RecordReader, readable

__all__ = ["Diagnosis", "LogEnds", "Marks"]

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of a namespace: schema and epoch, None where nobody has opened it, and its revision."""

    schema: int | None
    epoch: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class LogEnds:
    """The log and the revision, read at once; None for the ends of an empty log."""

    length: int
    oldest: int | None
    newest: int | None
    revision: int


class Diagnosis(RecordReader):
    """Reads of no use to anybody but a doctor."""

    async def ping_ms(self) -> float:
        """Milliseconds that a PING took to be answered."""
        began = time.perf_counter()
        with reading():
            await self.client.ping()
        return (time.perf_counter() - began) * 1000

    async def clock_offset_ms(self) -> float:
        """Milliseconds by which Redis' clock is ahead of this host's, taken in the middle of the round trip."""
        sent = time.time()
        with reading():
            seconds, microseconds = await self.client.time()
        middle = (sent + time.time()) / 2
        return float((int(seconds) + int(microseconds) / 1_000_000 - middle) * 1000)

    async def info(self, section: str) -> dict[str, Any]:
        """A section of INFO."""
        with reading():
            return dict(await self.client.info(section))

    async def option(self, name: str) -> str | None:
        """A setting of the server by CONFIG GET, None for one that it does not have."""
        with reading():
            found = await self.client.config_get(name)
        value = found.get(name)
        return None if value is None else str(value)

    async def marks(self) -> Marks:
        """Schema, epoch and revision, without opening the namespace."""
        keys = self.keys
        with reading():
            schema, epoch, revision = await self.client.mget(keys.schema, keys.epoch, keys.revision)
        with readable(keys.schema):
            version = None if schema is None else int(schema)
        with readable(keys.revision):
            return Marks(version, epoch.decode() if epoch is not None else None, int(revision or 0))

    async def log_ends(self) -> LogEnds:
        """How far the log reaches, and the revision at the same time."""
        keys = self.keys
        with reading():
            async with self.client.pipeline(transaction=True) as pipe:
                pipe.xlen(keys.events).xrange(keys.events, count=1).xrevrange(keys.events, count=1).get(keys.revision)
                length, first, last, revision = await pipe.execute()
        with readable(keys.events):
            return LogEnds(int(length), _number(first), _number(last), int(revision or 0))

    async def logged_after(self, revision: int) -> int | None:
        """When the first entry of the log after a revision was written, by Redis' clock in milliseconds; None: none."""
        with reading():
            entries = await self.client.xrange(self.keys.events, f"{revision + 1}-0", count=1)
        with readable(self.keys.events):
            return int(entries[0][1][b"at_ms"]) if entries else None

    # -- the keys of a namespace -----------------------------------------------------------------------------------

    async def members(self, unreadable: dict[str, str]) -> AsyncIterator[list[tuple[str, Record | None]]]:
        """Every id there is with its record, in batches; None where it has none or one that cannot be read.

        The latter is noted in `unreadable` with the reason.
        """
        cursor = 0
        while True:
            with reading():
                cursor, found = await self.client.zscan(self.keys.instances, cursor, count=_BATCH)
                async with self.client.pipeline(transaction=False) as pipe:
                    for id, _ in found:
                        pipe.hgetall(self.keys.record(id.decode()))
                    hashes = await pipe.execute(raise_on_error=False) if found else []
            ids = [id.decode() for id, _ in found]
            if ids:
                pairs = zip(ids, hashes, strict=True)
                yield [(id, self._record_of(id, values, unreadable)) for id, values in pairs]
            if not cursor:
                return

    async def names(self) -> AsyncIterator[tuple[str, str]]:
        """Every `SCOPE:NAME` with the id that has it."""
        with reading():
            async for name, id in self.client.hscan_iter(self.keys.names, count=_BATCH):
                yield name.decode(errors="replace"), id.decode(errors="replace")

    async def set_of(self, key: str) -> AsyncIterator[str]:
        """Every member of one of the sets."""
        with reading():
            async for member in self.client.sscan_iter(key, count=_BATCH):
                yield member.decode(errors="replace")

    async def sizes(self, keys: Sequence[str]) -> list[int]:
        """How many members sets have."""
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.scard(key)
                return list(await pipe.execute())

    async def at_once(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers of read commands that nothing came between."""
        with reading():
            async with self.client.pipeline(transaction=True) as pipe:
                for words in commands:
                    pipe.execute_command(*words)
                return list(await pipe.execute())


def _number(entries: Sequence[Any]) -> int | None:
    return int(entries[0][0].split(b"-")[0]) if entries else None
