"""Auto-discovery: where an instance that has no parent finds one, from Redis or from a replica."""

from collections.abc import Iterable

from hopper.instance.discovery import has_room
from hopper.instance.replica import Replica
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.selector import Selector
from hopper.store.instances import InstanceStore

__all__ = ["find_parent", "fits_wish", "parent_of_wish"]


def fits_wish(scope: Scope, wish: Wish | None, parent: Record) -> bool:
    """Whether an instance of a scope looks for this parent. One without a wish looks for nobody.

    A Project looks for the Global, whichever it is, unless its wish names more; an Orchestration for what it names.
    """
    if wish is None or parent.scope is not PARENT_SCOPE[scope] or parent.leaving is not None:
        return False
    if parent.scope is not Scope.GLOBAL and wish == Wish():
        return False
    return (
        (wish.id is None or parent.id == wish.id)
        and (wish.name is None or parent.name == wish.name)
        and set(wish.tags).issubset(parent.tags)
    )


def parent_of_wish(replica: Replica, scope: Scope, wish: Wish | None) -> Record | None:
    """The parent that an instance of a scope looks for, None for nobody: of several the oldest that has room."""
    wanted = PARENT_SCOPE[scope]
    if wanted is None or wish is None:
        return None
    fitting = [record for record in _candidates(replica, wanted, wish) if fits_wish(scope, wish, record)]
    roomy = [record for record in fitting if has_room(replica, record)]
    return min(roomy, key=lambda record: record.created_revision, default=None)


def _candidates(replica: Replica, wanted: Scope, wish: Wish) -> Iterable[Record]:
    if wanted is Scope.GLOBAL:
        found = [replica.records.get(replica.global_id or "")]
    elif wish.id is not None:
        found = [replica.records.get(wish.id)]
    elif wish.name is not None:
        found = [replica.named(wanted, wish.name)]
    elif wish.tags:
        return replica.select(Selector(scope=frozenset({wanted}), tags=frozenset(wish.tags)))
    else:
        return []
    return [record for record in found if record is not None]


async def find_parent(store: InstanceStore, scope: Scope, wish: Wish | None) -> str | None:
    """The id of the parent that an instance looks for, read straight from Redis. Raises `Unavailable`."""
    wanted = PARENT_SCOPE[scope]
    if wanted is None or wish is None:
        return None
    if wanted is Scope.GLOBAL:
        id = await store.global_id()
    elif wish.id is not None:
        id = wish.id
    elif wish.name is not None:
        id = await store.read_name(wanted.value, wish.name)
    elif wish.tags:
        tagged = [record for record in await store.of_scope(wanted) if fits_wish(scope, wish, record)]
        return min(tagged, key=lambda record: record.created_revision).id if tagged else None
    else:
        return None
    record = await store.read(id) if id is not None else None
    return record.id if record is not None and fits_wish(scope, wish, record) else None
