"""What a heartbeat thread asks of Redis: synchronous, on one connection of its own."""

from typing import Any, NamedTuple

from hopper.config import Settings
from hopper.errors import StoreFault
from hopper.model.heartbeat import seconds_of
from hopper.model.state import State
from hopper.store.client import heartbeat_client
from hopper.store.faults import border
from hopper.store.keys import Keys

__all__ = ["HeartbeatWriter", "Holder"]


class Holder(NamedTuple):
    """Who holds an id: the incarnation that its record carries, whether that is `failed`, when it started, its TTL."""

    incarnation: int
    failed: bool
    started_at_ms: int | None
    ttl_ms: int | None = None


class HeartbeatWriter:
    """Writes heartbeats with plain SETEX, as any client would. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings.namespace)
        self._client: Any = heartbeat_client(settings)

    def beat(self, id: str, *, ttl_ms: int, value: bytes) -> None:
        """One heartbeat, unconditional. Raises `Unavailable`."""
        with border():
            self._client.execute_command("SETEX", self._keys.heartbeat(id), seconds_of(ttl_ms), value)

    def holder(self, id: str) -> Holder | None:
        """Who holds the id now, None where there is no record. Raises `Unavailable`."""
        with border():
            fields = self._client.hmget(self._keys.record(id), ["incarnation", "state", "started_at_ms", "ttl_ms"])
        value, state, started, ttl_ms = fields
        if not value:
            return None
        try:
            return Holder(
                int(value),
                state == State.FAILED.encode(),
                int(started) if started else None,
                int(ttl_ms) if ttl_ms else None,
            )
        except ValueError:
            shown = f"{value!r}, {started!r}, {ttl_ms!r}"
            raise StoreFault(f"incarnation, start and TTL of instance '{id}' are {shown} in Redis") from None

    def registered_at_ms(self, id: str, incarnation: int) -> int | None:
        """When an incarnation of an id registered, as the log has it; None where it does not. Raises `Unavailable`."""
        with border():
            entries = self._client.xrange(self._keys.events, f"{incarnation}-0", f"{incarnation}-0")
        fields = entries[0][1] if entries else {}
        if fields.get(b"id") != id.encode():
            return None
        try:
            return int(fields[b"at_ms"])
        except (KeyError, ValueError):
            raise StoreFault(f"the log's entry {entries[0][0]!r} is not an event") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
