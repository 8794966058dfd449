"""Auto-discovery: where an instance that has no parent finds one, from Redis or from a replica."""

from hopper.instance.replica import Replica
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.selector import Selector
from hopper.store.instances import InstanceStore

__all__ = ["find_parent", "parent_of_wish"]


def parent_of_wish(replica: Replica, scope: Scope, wish: Wish | None) -> Record | None:
    """The parent for an instance of a scope: the Global for a Project, else the one of its wish, None for nobody.

    Of several that have all the tags of a wish the oldest is taken.
    """
    wanted = PARENT_SCOPE[scope]
    if wanted is None:
        return None
    if wanted is Scope.GLOBAL:
        return replica.records.get(replica.global_id) if replica.global_id else None
    if wish is None:
        return None
    if wish.id is not None:
        found = replica.records.get(wish.id)
        return found if _fits(found, wanted) else None
    if wish.name is not None:
        return replica.named(wanted, wish.name)
    if not wish.tags:
        return None
    selector = Selector(scope=frozenset({wanted}), tags=frozenset(wish.tags))
    return min(replica.select(selector), key=lambda record: record.created_revision, default=None)


async def find_parent(store: InstanceStore, scope: Scope, wish: Wish | None) -> str | None:
    """The id of the parent that `parent_of_wish` tells of, read straight from Redis. Raises `Unavailable`."""
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
    tagged = [record for record in await store.of_scope(wanted) if set(wish.tags) <= set(record.tags)]
    return min(tagged, key=lambda record: record.created_revision).id if tagged else None


def _fits(record: Record | None, scope: Scope) -> bool:
    return record is not None and record.scope is scope
