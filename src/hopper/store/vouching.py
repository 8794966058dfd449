"""The scripts by which the leading monitor heartbeats for instances that its checks find alive."""

from hopper.store.faults import border
from hopper.store.scripts import script
from hopper.store.writing import RecordWriter

__all__ = ["VouchWriter"]


class VouchWriter(RecordWriter):
    """Heartbeats on behalf of others. Neither is logged, and neither is tried again: the next check does so."""

    async def vouch(
        self, id: str, *, incarnation: int, value: bytes, short_ms: int, renew: bool = False, monitor_id: str
    ) -> tuple[str, int]:
        """One heartbeat of one TTL for an instance; answers `vouched`, or why not, and what remains of its heartbeat.

        `own`: it heartbeats by itself, and more than `short_ms` remain. With `renew` a heartbeat is only prolonged, and
        a `lapsed` one stays so. Raises `NotLeader`, `StaleIncarnation` and `Unavailable`.
        """
        with border():
            outcome, left_ms = await script("vouch")(
                self.client,
                keys={
                    "record": self.keys.record(id),
                    "heartbeat": self.keys.heartbeat(id),
                    "monitor": self.keys.monitor,
                },
                arguments={
                    "id": id,
                    "incarnation": incarnation,
                    "value": value,
                    "short_ms": short_ms,
                    "renew": int(renew),
                    "monitor_id": monitor_id,
                },
            )
        return str(outcome), int(left_ms)

    async def disavow(self, id: str, *, incarnation: int, monitor_id: str) -> str:
        """Take back the heartbeat that a check has written; answers `disavowed`, `own`, `lapsed` or `gone`. Idempotent.

        Raises as `vouch` does.
        """
        with border():
            (outcome,) = await script("disavow")(
                self.client,
                keys={
                    "record": self.keys.record(id),
                    "heartbeat": self.keys.heartbeat(id),
                    "monitor": self.keys.monitor,
                },
                arguments={"id": id, "incarnation": incarnation, "monitor_id": monitor_id},
            )
        return str(outcome)
