"""What the leading monitor reads of the heartbeats themselves, and writes of what it finds: levels and strays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hopper.errors import HopperError
from hopper.store.faults import border, reading
from hopper.store.writing import Call, RecordWriter

__all__ = ["Assessment", "SampleStore", "Scanned"]

_SCAN = 1000


@dataclass(frozen=True, slots=True)
class Assessment:
    """The health that an instance which is alive shall have, and why."""

    id: str
    incarnation: int
    health: str
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scanned:
    """One step of a walk over all heartbeats: where to go on (0 at the end), their values by id, Redis' clock."""

    cursor: int
    values: Mapping[str, bytes]
    now_ms: int


class SampleStore(RecordWriter):
    """The heartbeats' values, and what came of looking at them."""

    async def assess(self, assessments: Sequence[Assessment], *, monitor_id: str) -> list[list[Any] | HopperError]:
        """Set the health of instances that are alive, one call each in one pipeline; safe to repeat.

        Answers `[outcome, revision]` or the error, in order: where the connection broke, `Unavailable` for each.
        """
        calls: list[Call] = []
        for one in assessments:
            keys = {"record": self.keys.record(one.id), "monitor": self.keys.monitor}
            arguments = {
                "id": one.id,
                "incarnation": one.incarnation,
                "health": one.health,
                "reason": one.reason,
                "evidence": orjson.dumps(one.evidence),
                "monitor_id": monitor_id,
            }
            calls.append((keys, arguments))
        return await self._write_many("assess", calls)

    async def size(self) -> int:
        """How many keys the database has, those of others counted: what a walk over all heartbeats goes through."""
        with reading():
            return int(await self.client.dbsize())

    async def scan_heartbeats(self, cursor: int) -> Scanned:
        """Go through about 1,000 keys of the database, and read the heartbeats of this namespace among them."""
        with reading():
            cursor, names = await self.client.scan(cursor, match=self.keys.heartbeats, count=_SCAN)
            seconds, microseconds = await self.client.time()
            found = [id for name in names if (id := self.keys.id_of_heartbeat(name.decode(errors="replace")))]
        values: dict[str, bytes] = {}
        for start in range(0, len(found), _SCAN):
            ids = found[start : start + _SCAN]
            read = await self.read_heartbeats(ids)
            values |= {id: value for id, value in zip(ids, read, strict=True) if value is not None}
        return Scanned(int(cursor), values, seconds * 1000 + microseconds // 1000)

    async def put_strays(self, strays: Mapping[str, Mapping[str, Any]]) -> None:
        """Let `P:strays` hold these and no others, at once. Idempotent."""
        with border():
            async with self.client.pipeline(transaction=True) as pipe:
                pipe.delete(self.keys.strays)
                if strays:
                    pipe.hset(self.keys.strays, mapping={id: orjson.dumps(stray) for id, stray in strays.items()})
                await pipe.execute()
