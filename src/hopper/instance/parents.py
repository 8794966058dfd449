"""Auto-discovery: where an instance that has no parent finds one, read straight from Redis."""

from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.store.instances import InstanceStore

__all__ = ["find_parent"]


async def find_parent(store: InstanceStore, scope: Scope, wish: Wish | None) -> str | None:
    """The id of the parent for an instance of a scope: the Global for a Project, else the one of its wish.

    None where nobody fits yet. Tags are looked for among all records; the oldest that has them all is taken.
    """
    wanted = PARENT_SCOPE[scope]
    if wanted is None:
        return None
    if wanted is Scope.GLOBAL:
        return await store.global_id()
    if wish is None:
        return None
    if wish.id is not None:
        return wish.id if _fits(await store.read(wish.id), wanted) else None
    if wish.name is not None:
        return await store.read_name(wanted.value, wish.name)
    if not wish.tags:
        return None
    async for records in store.snapshot():
        for record in records:
            if record.scope is wanted and set(wish.tags) <= set(record.tags):
                return record.id
    return None


def _fits(record: Record | None, scope: Scope) -> bool:
    return record is not None and record.scope is scope
