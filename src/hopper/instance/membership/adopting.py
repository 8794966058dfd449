"""Adopting: an orphan that looks for its own parent, whoever else does so."""

import structlog

from hopper.errors import NotFound, Refused, StoreFault, Unavailable
from hopper.instance.parents import find_parent
from hopper.store.instances import InstanceStore

__all__ = ["adopted"]


async def adopted(store: InstanceStore, id: str) -> bool:
    """Look for the parent of an instance and link it; whether there is nothing left to look for. Raises nothing."""
    logger = structlog.get_logger().bind(namespace=store.settings.namespace, id=id)
    try:
        record = await store.read(id)
        if record is None or record.parent_id is not None:
            return record is not None
        if record.wish is None:
            return True
        parent_id = await find_parent(store, record.scope, record.wish)
        if parent_id is None:
            return False
        await store.link(id, parent_id, known=record, actor=f"session:{id}")
    except (Refused, NotFound, StoreFault, Unavailable) as error:
        logger.info("session.not_adopted", detail=str(error))
        return False
    logger.info("session.adopted", parent_id=parent_id)
    return True
