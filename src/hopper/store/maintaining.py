"""The scripts by which instances are taken out of service and put back."""

from collections.abc import Sequence

from hopper.errors import HopperError, Invalid
from hopper.model.maintenance import MaintenanceRequest
from hopper.store.writing import Call, RecordWriter

__all__ = ["MaintenanceWriter"]

_BY_OPERATOR = "operator"
_ENDED = "ended"


class MaintenanceWriter(RecordWriter):
    """Maintenance of one instance at the word of an operator, and the end of those whose time has passed."""

    async def maintain(self, id: str, asked: MaintenanceRequest, *, token: str | None = None, actor: str = "") -> int:
        """Take an instance out of service; answers the revision. Another maintenance replaces the one that stands.

        Idempotent, and for one `token` within 60 s also where it is asked for a length of time. Raises `NotFound`, and
        `Invalid` for a time that has passed by Redis' clock.
        """
        try:
            (revision,) = await self._write(
                "maintain",
                keys={"record": self.keys.record(id), "request": self._request(token)},
                arguments={
                    "id": id,
                    "why": asked.reason,
                    "until_ms": "" if asked.until_ms is None else asked.until_ms,
                    "for_ms": "" if asked.for_ms is None else asked.for_ms,
                    "reason": _BY_OPERATOR,
                    "actor": actor,
                },
            )
        except Invalid as error:
            timed = str(error).startswith("until_ms")
            error.field, error.value = ("until_ms", asked.until_ms) if timed else ("reason", asked.reason)
            raise
        return int(revision)

    async def end_maintenance(self, id: str, *, actor: str = "") -> int:
        """Put an instance back into service; answers the revision. Idempotent: where there is none, nothing changes."""
        keys, arguments = self._end_of(id, due=False, actor=actor)
        (revision,) = await self._write("end_maintenance", keys=keys, arguments=arguments)
        return int(revision)

    async def end_due_maintenance(self, ids: Sequence[str], *, actor: str = "") -> list[int | HopperError]:
        """End the maintenance of those whose time has passed by Redis' clock; answers the revision or error of each."""
        calls = [self._end_of(id, due=True, actor=actor) for id in ids]
        replies = await self._write_many("end_maintenance", calls)
        return [reply if isinstance(reply, HopperError) else int(reply[0]) for reply in replies]

    def _end_of(self, id: str, *, due: bool, actor: str) -> Call:
        reason = _ENDED if due else _BY_OPERATOR
        return {"record": self.keys.record(id)}, {"id": id, "due": int(due), "reason": reason, "actor": actor}
