"""Departures: instances removed together with what becomes of those below them, in batches that leave a legal tree.

First the instance is marked as leaving, so that nobody joins it. Then its children are removed, moved or made orphans,
at most 20 in one script call; then it goes itself. Whoever dies in between leaves the mark, by which the leading
monitor finishes the work: doing a part of it twice changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

import orjson
import structlog

from hopper.errors import (
    Conflict,
    HasChildren,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refused,
    StaleIncarnation,
    Unavailable,
)
from hopper.instance.replica import Replica
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import Scope, child_scope
from hopper.store.departing import BATCH
from hopper.store.instances import InstanceStore

__all__ = ["Departures", "departure_of", "departure_set", "moved_set"]

_PARALLEL = 2
"""Script calls on their way at once: while Redis runs one, the next is made ready."""

_CASCADE = "cascade"


def departure_of(children: ChildrenMode | str, reparent_to: str | None = None) -> Departure:
    """How an instance is to be removed. Raises `Invalid` where the mode is none, or lacks or cannot use a target."""
    try:
        mode = ChildrenMode(children)
    except ValueError:
        allowed = ", ".join(ChildrenMode)
        raise Invalid(f"children is {children!r}, not one of {allowed}", field="children", value=children) from None
    if mode is ChildrenMode.REPARENT and not reparent_to:
        raise Invalid("reparent_to is missing: children=reparent moves them there", field="reparent_to", value=None)
    if mode is not ChildrenMode.REPARENT and reparent_to:
        message = f"reparent_to is {reparent_to!r}, and children={mode} moves nobody"
        raise Invalid(message, field="reparent_to", value=reparent_to)
    return Departure(children=mode, reparent_to=reparent_to or None)


def departure_set(replica: Replica, id: str, how: Departure) -> list[str]:
    """The ids that a removal would remove, in its order: leaves first.

    Raises `NotFound` for an unknown id, and `HasChildren` where the mode forbids children and it has some.
    """
    record = replica.records.get(id)
    if record is None:
        raise NotFound(f"there is no instance '{id}'")
    if how.children is ChildrenMode.CASCADE:
        return [below.id for below in reversed(replica.descendants(id))] + [id]
    count = replica.count("parent", id)
    if how.children is ChildrenMode.RESTRICT and count:
        raise HasChildren(f"{record.scope} '{id}' cannot be removed: it still has children ({count})")
    return [id]


def moved_set(replica: Replica, id: str, how: Departure) -> list[str]:
    """The children that a removal would make orphans, or move, in the order of creation."""
    return [] if how.children is ChildrenMode.CASCADE else [child.id for child in replica.children(id)]


class Departures:
    """Removes instances and sees to their children. Needs Redis only, no view."""

    def __init__(self, store: InstanceStore) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(_PARALLEL)
        self._logger = structlog.get_logger().bind(namespace=store.settings.namespace)

    async def remove(
        self,
        id: str,
        how: Departure,
        *,
        known: Record | None = None,
        incarnation: int | None = None,
        if_revision: int | None = None,
        dead: bool = False,
        token: str | None = None,
        removed: list[str] | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Remove an instance, and see to its children as `how` says; answers the revision of its removal.

        The ids below it that this call removes are added to `removed`, leaves first.

        With `dead` it must be judged down, stopped or failed, else `Exists`. Raises every error of
        `lua/deregister.lua` and `lua/leave.lua` before anything has changed. Where children cannot move to where they
        should, those that have moved stay there, the mark is taken back, and the refusal is raised. After
        `Unavailable` the removal may be under way: the leading monitor finishes it.
        """
        how = replace(how, token=token)
        if how.reparent_to is not None:
            answered = await self._store.answered(token) if token is not None else None
            if answered is not None:
                return answered
            await self._store.leave(id, how, incarnation=incarnation, dry=True)
        if not dead:
            try:
                return await self._store.deregister(
                    id,
                    known=known,
                    incarnation=incarnation,
                    if_revision=if_revision,
                    token=token,
                    reason=reason,
                    actor=actor,
                )
            except HasChildren:
                if how.children is ChildrenMode.RESTRICT:
                    raise
            except PreconditionFailed:
                # Its own mark may have changed the revision: this is then the second delivery of what goes on.
                marked = await self._store.read(id)
                if marked is None or marked.leaving != how:
                    raise
        fence = await self._store.leave(
            id, how, incarnation=incarnation, if_revision=if_revision, dead=dead, reason=reason, actor=actor
        )
        try:
            return await self.finish(id, how, incarnation=fence, removed=removed, reason=reason, actor=actor)
        except Unavailable as error:
            error.outcome = "unknown"  # it has begun, and the leading monitor finishes it
            raise

    async def finish(
        self,
        id: str,
        how: Departure,
        *,
        incarnation: int,
        removed: list[str] | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Carry out the removal of an instance that has this mark; answers the revision. Several may do so at once.

        Raises `Conflict` where it no longer has the mark: another has taken it back, and says why in the log.
        """
        idle, gone = 0, [] if removed is None else removed
        while True:
            known = await self._store.read(id)
            if known is None or known.incarnation != incarnation:
                return await self._finished(how)
            if known.leaving != how:
                raise Conflict(f"instance '{id}' is no longer being removed so: its mark is {known.leaving}")
            try:
                if how.reaped:
                    return await self._reap(known, how, reason=reason, actor=actor)
                return await self._store.deregister(
                    id, known=known, incarnation=incarnation, token=how.token, reason=reason, actor=actor
                )
            except (NotFound, StaleIncarnation):
                return await self._finished(how)
            except HasChildren as refused:
                done = await self._see_to_children(id, known, how, gone, actor=actor)
                idle = 0 if done else idle + 1
                if idle >= self._store.settings.conflict_retries:
                    raise Conflict(f"instance '{id}' gets children as fast as they are seen to") from refused

    async def reap(self, known: Record, *, monitor_id: str, reason: str = "", actor: str = "") -> int | None:
        """Remove an instance that is down, its children becoming orphans that a successor can adopt; the revision.

        None where it stays, since it is not down any more, or something speaks for it. A child that looks for something
        goes on to do so; another looks for the name of the one that is gone, a Project for the Global. Raises
        `NotLeader` where the monitor of that id does not lead, and `Conflict` where it came back while its children
        left: they look for it again.
        """
        wish = Wish() if known.scope is Scope.GLOBAL else Wish(name=known.name)
        how = Departure(children=ChildrenMode.ORPHAN, wish=wish, reaped=True)
        outcome, revision = await self._store.reap(known, how, monitor_id=monitor_id, reason=reason, actor=actor)
        if outcome == "marked":
            return await self.finish(known.id, how, incarnation=known.incarnation, reason=reason, actor=actor)
        return revision if outcome == "removed" else None

    async def _reap(self, known: Record, how: Departure, *, reason: str, actor: str) -> int:
        """Remove one that is marked as reaped; where it came back meanwhile its mark is taken back instead."""
        outcome, revision = await self._store.reap(known, how, reason=reason, actor=actor)
        match outcome:
            case "removed":
                return revision
            case "gone":
                raise NotFound(f"there is no instance '{known.id}'")
            case "marked" | "moved":
                raise HasChildren(f"{known.scope} '{known.id}' cannot be removed: it still has children")
            case _:
                await self._store.stay(known.id, how, reason=outcome, actor=actor)
                raise Conflict(f"instance '{known.id}' is not removed: it is {outcome}")

    async def _finished(self, how: Departure) -> int:
        """The revision of a removal that another has finished, as far as that is known: else one that came after it."""
        answered = await self._store.answered(how.token) if how.token is not None else None
        return (await self._store.position()).revision if answered is None else answered

    async def _see_to_children(self, id: str, record: Record, how: Departure, gone: list[str], *, actor: str) -> int:
        """One pass over the children; answers how many have gone or moved."""
        if how.children is ChildrenMode.CASCADE:
            return await self._cascade(id, record.scope, gone, evidence=orjson.dumps({"root": id}), actor=actor)
        try:
            return await self._move(id, how, actor=actor)
        except (NotFound, Refused) as refused:
            await self._store.stay(id, how, reason=str(refused), actor=actor)
            raise

    async def _move(self, id: str, how: Departure, *, actor: str) -> int:
        async def move(children: Sequence[str]) -> int:
            async with self._turns:
                outcomes = await self._store.reparent(
                    children,
                    seen_parent=id,
                    parent_id=how.reparent_to,
                    wish=how.wish,
                    keep_wishes=how.reaped,
                    reason=how.children.value,
                    actor=actor,
                )
            return outcomes.count("moved")

        return await self._each_batch(id, move)

    async def _cascade(self, id: str, scope: Scope, gone: list[str], *, evidence: bytes, actor: str) -> int:
        below, mark = child_scope(scope), Departure(children=ChildrenMode.CASCADE)

        async def remove(children: Sequence[str]) -> int:
            if below is not None and child_scope(below) is not None:
                counts = await self._store.counts_of_children(children)
                parents = [child for child, count in zip(children, counts, strict=True) if count]
                await self._store.leave_many(parents, mark, reason=_CASCADE, actor=actor)
                for parent in parents:
                    await self._cascade(parent, below, gone, evidence=evidence, actor=actor)
            async with self._turns:
                members = [(child, id) for child in children]
                outcomes = await self._store.deregister_many(members, evidence=evidence, reason=_CASCADE, actor=actor)
            gone.extend(child for child, outcome in zip(children, outcomes, strict=True) if outcome == "removed")
            return outcomes.count("removed")

        return await self._each_batch(id, remove)

    async def _each_batch(self, id: str, work: Callable[[Sequence[str]], Awaitable[int]]) -> int:
        """Do something with the children of an instance, 20 at a time; answers the sum."""
        done = 0
        async for part in self._store.children_of(id):
            done += await _sum(work(part[start : start + BATCH]) for start in range(0, len(part), BATCH))
        return done


async def _sum(works: Iterable[Awaitable[int]]) -> int:
    async def one(work: Awaitable[int]) -> int:
        return await work

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(work)) for work in works]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return sum(task.result() for task in running)
