"""How far the alerts have come, kept for the next leader."""

from hopper.model.alert import AlertPosition
from hopper.store.faults import border, reading
from hopper.store.reading import RecordReader, readable
from hopper.store.scripts import script

__all__ = ["AlertStore"]


class AlertStore:
    """The position of the alerts of one namespace, by the connections of another store."""

    def __init__(self, store: RecordReader) -> None:
        self._client = store.client
        self._keys = store.keys

    async def read(self) -> AlertPosition | None:
        """The position, None where no alert was ever looked for. `StoreFault` where it cannot be read."""
        with reading():
            value = await self._client.get(self._keys.alerts)
        with readable(self._keys.alerts):
            return AlertPosition.from_json(value) if value is not None else None

    async def write(self, position: AlertPosition, *, monitor_id: str) -> None:
        """Note the position. Idempotent; raises `NotLeader` where another monitor leads."""
        with border():
            await script("note_alerts")(
                self._client,
                keys={"alerts": self._keys.alerts, "monitor": self._keys.monitor},
                arguments={"monitor_id": monitor_id, "position": position.to_json()},
            )
