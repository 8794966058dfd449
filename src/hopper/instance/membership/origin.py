"""Origin: which registration a record is of, where its incarnation alone does not say so."""

import structlog

from hopper.errors import StoreFault
from hopper.model.record import Record
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["is_registered_at"]


async def is_registered_at(store: InstanceStore, record: Record, at_ms: int | None) -> bool:
    """Whether the incarnation of a record registered at that time of Redis' clock; True where nobody knows.

    Another registration has the same number where Redis has lost the one and counts again. That shows in the start of
    the record, which the verb `start` changes too: what it was, the log knows. Raises `Unavailable`.
    """
    if at_ms is None or record.started_at_ms == at_ms:
        return True
    try:
        events = await ChangeLog(store.settings, client=store.client).between(record.incarnation, record.incarnation)
    except StoreFault as fault:
        structlog.get_logger().warning("session.log_unreadable", id=record.id, detail=str(fault))
        return True
    return all(event.id != record.id or event.at_ms == at_ms for event in events)
