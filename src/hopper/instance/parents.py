"""Auto-discovery: where an instance that has no parent finds one, from Redis or from a replica."""

from collections import deque
from collections.abc import Iterable

from hopper.instance.discovery import has_room
from hopper.instance.replica import Replica
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import PARENT_SCOPE, Scope
from hopper.model.selector import Selector
from hopper.store.instances import InstanceStore

__all__ = ["find_parent", "fits_wish", "matched"]


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


def matched(replica: Replica, orphans: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Each orphan with the parent it looks for: of several the oldest that still has room. Who finds none is left out.

    The parents that a wish fits are looked up once, however many have that wish.
    """
    fitting: dict[tuple[Scope, Wish], deque[Record]] = {}
    given: dict[str, int] = {}
    pairs: list[tuple[Record, Record]] = []
    for orphan in orphans:
        wanted, wish = PARENT_SCOPE[orphan.scope], orphan.wish
        if wanted is None or wish is None or not orphan.is_orphan or orphan.leaving is not None:
            continue
        key = (orphan.scope, wish)
        if key not in fitting:
            found = (record for record in _candidates(replica, wanted, wish) if fits_wish(orphan.scope, wish, record))
            fitting[key] = deque(sorted(found, key=lambda record: record.created_revision))
        parents = fitting[key]
        while parents and not has_room(replica, parents[0], for_more=given.get(parents[0].id, 0) + 1):
            parents.popleft()
        if parents:
            given[parents[0].id] = given.get(parents[0].id, 0) + 1
            pairs.append((orphan, parents[0]))
    return pairs


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
