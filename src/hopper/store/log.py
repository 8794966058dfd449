"""The change log: read in order, without a hole, on a connection of its own."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import redis.asyncio

from hopper.config import Settings
from hopper.errors import Compacted, StoreFault, Unavailable
from hopper.model.event import Event
from hopper.store.client import ConnectCount, blocking_client
from hopper.store.faults import border, reading
from hopper.store.keys import Keys

__all__ = ["ChangeLog"]

_BATCH = 500
_LOOK = 1_000
"""Entries looked at in one read for those of one instance."""


class ChangeLog:
    """Reads the stream of one namespace. Close it with `aclose`."""

    def __init__(self, settings: Settings, *, client: redis.asyncio.Redis | None = None) -> None:
        self.settings = settings
        self._keys = Keys(settings.namespace)
        self._connects = ConnectCount()
        self._connection = -1
        self._client: Any = client or blocking_client(settings, connects=self._connects)

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        await self._client.aclose()

    async def connect(self) -> None:
        """Make sure of a connection and pin it: from now on a read on another one raises `Unavailable`.

        Call it before `InstanceStore.open`, so that what follows belongs to the epoch that was answered.
        """
        with border():
            await self._client.ping()
        self._connection = self._connects.count

    async def now_ms(self) -> int:
        """Redis' clock, by which the events have their times."""
        with reading():
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def disconnect(self) -> None:
        """Drop the connection: the next `connect` makes a new one."""
        await self._client.connection_pool.disconnect()

    async def follow(self, after: int) -> list[Event]:
        """The events that come right after a revision, at most 500; waits up to `log_block_ms` for the first.

        An empty list means that none came. Raises `Compacted` where the next event is no longer in the log, and
        `Unavailable` where the connection broke or was replaced.
        """
        with border():
            reply: Any = await self._client.xread(
                {self._keys.events: f"{after}-0"}, count=_BATCH, block=self.settings.log_block_ms
            )
        self._check_connection()
        if not reply:
            return []
        entries = next(iter(reply.values()))[0] if isinstance(reply, dict) else reply[0][1]
        return self._decode(entries, after)

    async def between(self, first: int, last: int, *, unreadable: dict[int, str] | None = None) -> list[Event]:
        """The events from one revision to another, both included, as far as the log holds them, at most 500.

        What is no event is left out, and noted in `unreadable` by its revision with the reason; where nobody asks for
        that, it raises `StoreFault`.
        """
        with border():
            entries = await self._client.xrange(self._keys.events, f"{first}-0", f"{last}-0", count=_BATCH)
        events: list[Event] = []
        for entry in entries:
            try:
                events.append(self._event(entry))
            except StoreFault as fault:
                if unreadable is None:
                    raise
                unreadable[_revision(entry)] = str(fault)
        return events

    async def oldest(self) -> int | None:
        """The oldest revision in the log, None where it is empty."""
        with border():
            entries = await self._client.xrange(self._keys.events, count=1)
        return _revision(entries[0]) if entries else None

    async def part_of(self, id: str, after: int | None, *, backwards: bool) -> tuple[list[Event], int, bool]:
        """The events of one instance among the next 1,000 entries after a revision, or before it where backwards.

        From the beginning, or from the end, where that is None. Answers them with the revision that was reached and
        whether there is more.
        """
        with border():
            if backwards:
                last = "+" if after is None else f"({after}-0"
                entries = await self._client.xrevrange(self._keys.events, max=last, count=_LOOK)
            else:
                first = "-" if after is None else f"({after}-0"
                entries = await self._client.xrange(self._keys.events, min=first, count=_LOOK)
        wanted = id.encode()
        events = [self._event(entry) for entry in entries if entry[1].get(b"id") == wanted]
        return events, _revision(entries[-1]) if entries else after or 0, len(entries) == _LOOK

    async def marks(self, last: int) -> AsyncIterator[tuple[str, int, int]]:
        """Id, revision and time of every change of an instance from a revision backwards, as far as the log goes."""
        more, limit = True, f"{last}-0"
        while more:
            with border():
                entries = await self._client.xrevrange(self._keys.events, max=limit, count=_LOOK)
            for entry in entries:
                fields = entry[1]
                if fields.get(b"id"):
                    yield fields[b"id"].decode(), _revision(entry), int(fields[b"at_ms"])
            more = len(entries) == _LOOK
            limit = f"({_revision(entries[-1])}-0" if entries else limit

    def _decode(self, entries: Sequence[Any], after: int) -> list[Event]:
        events = [self._event(entry) for entry in entries]
        for expected, event in enumerate(events, start=after + 1):
            if event.revision != expected:
                raise Compacted(
                    f"the log continues at revision {event.revision}, not {expected}",
                    oldest_revision=event.revision,
                    revision=events[-1].revision,
                )
        return events

    @staticmethod
    def _event(entry: Any) -> Event:
        try:
            return Event.from_entry(*entry)
        except (KeyError, ValueError, TypeError) as error:
            raise StoreFault(f"the log's entry {entry[0]!r} is not an event: {error!r}") from error

    def _check_connection(self) -> None:
        if self._connects.count != self._connection and self._connection > 0:
            raise Unavailable("the log's connection was replaced")


def _revision(entry: Any) -> int:
    return int(entry[0].split(b"-")[0])
