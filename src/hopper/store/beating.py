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
    """Who holds an id: the incarnation that its record carries, and whether that is `failed`."""

    incarnation: int
    failed: bool


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
            value, state = self._client.hmget(self._keys.record(id), ["incarnation", "state"])
        try:
            return Holder(int(value), state == State.FAILED.encode()) if value else None
        except ValueError:
            raise StoreFault(f"the incarnation of instance '{id}' is {value!r} in Redis") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
