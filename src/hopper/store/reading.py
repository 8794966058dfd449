"""Reads of one namespace: where it is, its records and its heartbeats, as they stand in Redis now.

Every method converts redis-py's errors, and raises `StoreFault` for what Redis holds and Hopper did not write.
"""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from hopper.config import Settings
from hopper.errors import StoreFault
from hopper.model.evidence import decode_evidence
from hopper.model.record import Record
from hopper.store.client import command_client
from hopper.store.faults import convert, reading
from hopper.store.keys import Keys
from hopper.store.scripts import script

__all__ = ["Position", "RecordReader", "decode_facts", "readable"]

_READ_BATCH = 500


@dataclass(frozen=True, slots=True)
class Position:
    """Where the namespace is: its epoch, its last revision, and Redis' clock at the time of the answer."""

    epoch: str
    revision: int
    now_ms: int = 0


class RecordReader:
    """The records of one namespace. Close it with `aclose`."""

    def __init__(self, settings: Settings, *, client: redis.asyncio.Redis | None = None) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self.client: Any = client or command_client(settings)

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self.client.aclose()

    # -- the namespace ---------------------------------------------------------------------------------------------

    async def open(self) -> Position:
        """Check the version of the keys and bring the epoch up to date with the server's run.

        Call it after every reconnect. Raises `NewerSchema` where a newer version wrote the keys.
        """
        with reading():
            run = await self._run_id()
            epoch, revision, now_ms = await script("open")(
                self.client,
                keys={"schema": self.keys.schema, "epoch": self.keys.epoch, "revision": self.keys.revision},
                arguments={"run": run, "word": secrets.token_hex(4)},
            )
        return Position(epoch, int(revision), now_ms)

    async def _run_id(self) -> str:
        """Eight characters that change whenever the server is another process; empty where INFO is refused."""
        try:
            info: Mapping[str, Any] = await self.client.info("server")
        except redis.exceptions.ResponseError:
            return ""
        return str(info.get("run_id", ""))[:8]

    async def position(self) -> Position:
        """The epoch and the last revision, read at once."""
        with reading():
            epoch, revision = await self.client.mget(self.keys.epoch, self.keys.revision)
        with readable(self.keys.revision):
            return Position((epoch or b"").decode(), int(revision or 0))

    # -- reads -----------------------------------------------------------------------------------------------------

    async def read(self, id: str) -> Record | None:
        """The record as it stands in Redis now, None where there is none. `StoreFault` where it is not one of ours."""
        with reading():
            values = await self.client.hgetall(self.keys.record(id))
        with readable(self.keys.record(id)):
            return Record.from_hash(values) if values else None

    async def read_heartbeats(self, ids: Sequence[str]) -> list[bytes | None]:
        """The values of up to 1,000 heartbeats in one MGET, None for a lapsed one."""
        if not ids:
            return []
        with reading():
            return list(await self.client.mget([self.keys.heartbeat(id) for id in ids]))

    async def read_heartbeats_left(self, ids: Sequence[str]) -> tuple[list[bytes | None], list[int]]:
        """The values of up to 1,000 heartbeats in one MGET, and what remains of each: negative for a lapsed one."""
        if not ids:
            return [], []
        keys = [self.keys.heartbeat(id) for id in ids]
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.mget(keys)
                for key in keys:
                    pipe.pttl(key)
                values, *left = await pipe.execute()
        return list(values), left

    async def read_heartbeat(self, id: str) -> tuple[bytes | None, int]:
        """The value of one heartbeat and its remaining milliseconds, negative for a lapsed one."""
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.get(self.keys.heartbeat(id)).pttl(self.keys.heartbeat(id))
                value, left_ms = await pipe.execute()
        return value, left_ms

    async def surveillance(self) -> tuple[str | None, dict[str, dict[str, Any]]]:
        """Who leads the monitoring, None where nobody does; and the evidence of `hold` and of each group's guard."""
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.get(self.keys.monitor).hgetall(self.keys.holds)
                monitor, holds = await pipe.execute()
        return monitor.decode() if monitor else None, decode_facts(holds)

    async def strays(self) -> dict[str, dict[str, Any]]:
        """Heartbeats that belong to nobody, or to a former incarnation, by id, as the monitor last saw them."""
        with reading():
            found = await self.client.hgetall(self.keys.strays)
        return decode_facts(found)

    async def lease(self) -> tuple[str | None, int]:
        """Who leads the monitoring, None where nobody does, and for how many milliseconds more without a pulse."""
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.get(self.keys.monitor).pttl(self.keys.monitor)
                leader, left_ms = await pipe.execute()
        return leader.decode() if leader else None, left_ms

    async def global_id(self) -> str | None:
        """The id of the Global, None where there is none."""
        with reading():
            found = await self.client.get(self.keys.globe)
        return found.decode() if found else None

    async def read_name(self, scope: str, name: str) -> str | None:
        """The id that has a name in a scope."""
        with reading():
            found = await self.client.hget(self.keys.names, f"{scope}:{name}")
        return found.decode() if found else None

    async def of_scope(self, scope: str) -> list[Record]:
        """Every record of one scope, found by its names: of use where a scope has few among many."""
        ids: list[str] = []
        with reading():
            async for _, id in self.client.hscan_iter(self.keys.names, match=f"{scope}:*", count=1000):
                ids.append(id.decode())
        found: list[Record] = []
        for start in range(0, len(ids), _READ_BATCH):
            with reading():
                async with self.client.pipeline(transaction=False) as pipe:
                    for id in ids[start : start + _READ_BATCH]:
                        pipe.hgetall(self.keys.record(id))
                    hashes = await pipe.execute()
            with readable(f"{self.keys.prefix}:instance:*"):
                found.extend(Record.from_hash(values) for values in hashes if values)
        return found

    async def snapshot(self, *, unreadable: dict[str, str] | None = None) -> AsyncIterator[list[Record]]:
        """Every record, in batches in the order of creation. Records change meanwhile: the log tells how.

        What is at the place of a record and is none is left out, and noted in `unreadable` by its id with the reason;
        where nobody asks for that, it raises `StoreFault`.
        """
        last = 0
        while True:
            with reading():
                members = await self.client.zrange(
                    self.keys.instances, f"({last}", "+inf", byscore=True, offset=0, num=_READ_BATCH, withscores=True
                )
                if not members:
                    return
                async with self.client.pipeline(transaction=False) as pipe:
                    for id, _ in members:
                        pipe.hgetall(self.keys.record(id.decode()))
                    hashes = await pipe.execute(raise_on_error=False)
            last = int(members[-1][1])
            yield [
                record
                for (id, _), values in zip(members, hashes, strict=True)
                if (record := self._record_of(id.decode(), values, unreadable)) is not None
            ]

    def _record_of(self, id: str, values: Any, unreadable: dict[str, str] | None) -> Record | None:
        try:
            if isinstance(values, redis.exceptions.RedisError):
                raise convert(values) from values
            with readable(self.keys.record(id)):
                return Record.from_hash(values) if values else None
        except StoreFault as fault:
            if unreadable is None:
                raise
            unreadable[id] = str(fault)
            return None


def decode_facts(holds: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """A hash of JSON objects: hold and guards by their name, strays by their id."""
    return {name.decode(errors="replace"): decode_evidence(value) for name, value in holds.items()}


@contextmanager
def readable(key: str) -> Iterator[None]:
    """Read what Redis holds at a key; what is not of Hopper's making raises `StoreFault`."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        why = f"it lacks {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        raise StoreFault(f"the key {key} holds what Hopper cannot read: {why}") from error
