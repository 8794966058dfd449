"""The scripts by which instances with children are removed: a mark, then batches, each of them safe to repeat."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from hopper.errors import HopperError
from hopper.model.departure import Departure
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.store.faults import border
from hopper.store.writing import Call, RecordWriter

__all__ = ["BATCH", "DepartureWriter"]

BATCH = 20
"""Instances changed by one script call: few enough that nobody waits for long, as `benchmarks/cascade` measures."""

_SCAN = 500


class DepartureWriter(RecordWriter):
    """Marks, batches of removals and batches of moves."""

    async def leave(
        self,
        id: str,
        mark: Departure,
        *,
        incarnation: int | None = None,
        if_revision: int | None = None,
        dead: bool = False,
        dry: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Mark an instance as leaving; answers its incarnation, which stays the same while it leaves. Idempotent.

        With `dead` it must be judged down, stopped or failed, else `Exists`; with `dry` it is only checked. Raises
        `Leaving` where another mark stands, and every other error of `lua/leave.lua`.
        """
        keys, arguments = self._leave(
            id, mark, incarnation=incarnation, if_revision=if_revision, dead=dead, dry=dry, reason=reason, actor=actor
        )
        _, found = await self._write("leave", keys=keys, arguments=arguments)
        return int(found)

    async def stay(self, id: str, mark: Departure, *, reason: str = "", actor: str = "") -> int:
        """Take the mark of an instance back, if it still has this one; answers the revision. Idempotent."""
        (revision,) = await self._write(
            "stay",
            keys={"record": self.keys.record(id)},
            arguments={"id": id, "leaving": mark.to_json(), "reason": reason, "actor": actor},
        )
        return int(revision)

    async def leave_many(
        self, ids: Sequence[str], mark: Departure, *, reason: str = "", actor: str = ""
    ) -> list[HopperError | None]:
        """Mark instances as leaving; answers the error of each, None where it is marked."""
        calls = [self._leave(id, mark, reason=reason, actor=actor) for id in ids]
        replies = await self._write_many("leave", calls)
        return [reply if isinstance(reply, HopperError) else None for reply in replies]

    def _leave(
        self,
        id: str,
        mark: Departure,
        *,
        incarnation: int | None = None,
        if_revision: int | None = None,
        dead: bool = False,
        dry: bool = False,
        reason: str,
        actor: str,
    ) -> Call:
        heir_id = mark.reparent_to or ""
        keys = {
            "record": self.keys.record(id),
            "children": self.keys.children(id),
            "heir": self.keys.record(heir_id),
            "heir_children": self.keys.children(heir_id),
        }
        arguments = {
            "id": id,
            "heir_id": heir_id,
            "leaving": mark.to_json(),
            "token": mark.token or "",
            "incarnation": "" if incarnation is None else incarnation,
            "seen_revision": "" if if_revision is None else if_revision,
            "dead": int(dead),
            "dry": int(dry),
            "reason": reason,
            "actor": actor,
        }
        return keys, arguments

    async def reap(
        self, known: Record, mark: Departure, *, monitor_id: str = "", reason: str = "", actor: str = ""
    ) -> tuple[str, int]:
        """Remove an instance that is down, if it is still the one that is known and nothing speaks for it.

        Answers `removed`; `marked` where it has children, and is removed by another call once it has none; or why it
        stays: `gone alive spared moved leaving`; with the revision. With `monitor_id` that monitor must lead, else
        `NotLeader`. A repeat after a lost reply answers `gone`, or `marked` again.
        """
        id, parent_id, keys = known.id, known.parent_id or "", self.keys
        outcome, revision = await self._write(
            "reap",
            keys={
                "record": keys.record(id),
                "heartbeat": keys.heartbeat(id),
                "children": keys.children(id),
                "siblings": keys.children(parent_id),
                "instances": keys.instances,
                "names": keys.names,
                "global": keys.globe,
                "orphans": keys.orphans,
                "down": keys.down,
                "restarts": keys.restarts(id),
                "claims": keys.claims,
                "holds": keys.holds,
                "monitor": keys.monitor,
            },
            arguments={
                "id": id,
                "seen_parent": parent_id,
                "incarnation": known.incarnation,
                "down_at_ms": "" if known.down_at_ms is None else known.down_at_ms,
                "leaving": mark.to_json(),
                "monitor_id": monitor_id,
                "reason": reason,
                "actor": actor,
            },
        )
        return str(outcome), int(revision)

    async def deregister_many(
        self, members: Sequence[tuple[str, str]], *, evidence: bytes = b"{}", reason: str = "", actor: str = ""
    ) -> list[str]:
        """Remove a batch of instances, each with its parent; answers `removed`, `gone`, `moved` or `has-children`.

        A repeat after a lost reply answers `gone` for what the first delivery removed.
        """
        keys: dict[str, Any] = {
            "instances": self.keys.instances,
            "names": self.keys.names,
            "orphans": self.keys.orphans,
            "down": self.keys.down,
            "claims": self.keys.claims,
            "members": [key for id, parent_id in members for key in self._member(id, parent_id)],
        }
        arguments = {
            "reason": reason,
            "actor": actor,
            "evidence": evidence,
            "parents": [parent_id for _, parent_id in members],
        }
        return await self._write("deregister_many", keys=keys, arguments=arguments)

    def _member(self, id: str, parent_id: str) -> tuple[str, ...]:
        keys = self.keys
        return keys.record(id), keys.heartbeat(id), keys.children(id), keys.children(parent_id), keys.restarts(id)

    async def reparent(
        self,
        children: Sequence[str],
        *,
        seen_parent: str,
        parent_id: str | None,
        wish: Wish | None = None,
        keep_wishes: bool = False,
        reason: str = "",
        actor: str = "",
    ) -> list[str]:
        """Move a batch of children of one parent to another, or make them orphans where that is None.

        Answers `moved`, `gone`, `elsewhere` or `refused` of each; raises the refusal of the first. `wish` is what they
        look for from then on, None for what they looked for before; with `keep_wishes` only for those that looked for
        nothing. A repeat answers `elsewhere` for what was moved.
        """
        to = parent_id or ""
        keys: dict[str, Any] = {
            "parent": self.keys.record(to),
            "siblings": self.keys.children(to),
            "old_siblings": self.keys.children(seen_parent),
            "orphans": self.keys.orphans,
            "children": [self.keys.record(child) for child in children],
        }
        arguments = {
            "seen_parent": seen_parent,
            "parent_id": to,
            "wish": "" if wish is None else wish.to_json(),
            "keep": int(keep_wishes),
            "reason": reason,
            "actor": actor,
        }
        return await self._write("reparent", keys=keys, arguments=arguments)

    async def children_of(self, id: str) -> AsyncIterator[list[str]]:
        """The ids of an instance's children as Redis has them, in parts; one that comes or goes meanwhile may miss."""
        cursor = 0
        while True:
            with border():
                cursor, found = await self.client.sscan(self.keys.children(id), cursor, count=_SCAN)
            if found:
                yield [child.decode() for child in found]
            if not cursor:
                return

    async def counts_of_children(self, ids: Sequence[str]) -> list[int]:
        """How many children each instance has."""
        with border():
            async with self.client.pipeline(transaction=False) as pipe:
                for id in ids:
                    pipe.scard(self.keys.children(id))
                return list(await pipe.execute())
