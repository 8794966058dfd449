"""The scripts by which instances change their parent: one by one, many in a pipeline, or orphans that are adopted."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from hopper.errors import Conflict, HopperError, Unavailable
from hopper.model.record import Record
from hopper.store.departing import DepartureWriter
from hopper.store.faults import border
from hopper.store.writing import Call

__all__ = ["LinkWriter", "parent_of"]

T = TypeVar("T")
_MANY = 100
"""Calls in one pipeline: Redis' other clients wait no longer than for these."""


class LinkWriter(DepartureWriter):
    """Links, unlinks and adoptions, and how many calls are made at once."""

    async def link(
        self,
        child_id: str,
        parent_id: str,
        *,
        known: Record | None = None,
        require_live_parent: bool | None = None,
        actor: str = "",
    ) -> int:
        """Put a child under a parent, leaving the one it had; answers the revision. Idempotent."""

        async def attempt(seen: Record | None) -> int:
            keys, arguments = self._link(
                child_id, parent_id, parent_of(seen), live=self._live(require_live_parent), actor=actor
            )
            (revision,) = await self._write("link", keys=keys, arguments=arguments)
            return int(revision)

        return await self._settle(child_id, attempt, known)

    async def link_many(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        require_live_parent: bool | None = None,
        actor: str = "",
    ) -> list[int | HopperError]:
        """Put each child under its parent, in order, as `link` would; answers the revision or the error of each.

        One that others move meanwhile comes after the others.
        """
        live, parents = self._live(require_live_parent), await self._parents([child for child, _ in pairs])
        calls = []
        for child, parent in pairs:
            calls.append(self._link(child, parent, parents[child], live=live, actor=actor))
            parents[child] = parent

        async def again(at: int) -> int:
            return await self.link(*pairs[at], require_live_parent=require_live_parent, actor=actor)

        return await self._each("link", calls, lambda _, reply: int(reply[0]), again)

    async def _parents(self, ids: Sequence[str]) -> dict[str, str]:
        """The parent that each instance has now, '' for none."""
        with border():
            async with self.client.pipeline(transaction=False) as pipe:
                for id in ids:
                    pipe.hget(self.keys.record(id), "parent_id")
                found = await pipe.execute()
        return {id: parent.decode() if parent else "" for id, parent in zip(ids, found, strict=True)}

    async def adopt_many(self, pairs: Sequence[tuple[Record, str]], *, actor: str = "") -> list[int | HopperError]:
        """Put orphans under the parents they look for, each only if its record is still the one that is known.

        Answers the revision or the error of each, `Conflict` where it has changed; nothing is tried again.
        """
        live = self._live(None)
        calls = [
            self._link(orphan.id, parent_id, "", live=live, actor=actor, seen_revision=orphan.revision)
            for orphan, parent_id in pairs
        ]
        answers: list[int | HopperError] = []
        for start in range(0, len(calls), _MANY):
            replies = await self._write_many("link", calls[start : start + _MANY])
            answers += [reply if isinstance(reply, HopperError) else int(reply[0]) for reply in replies]
        return answers

    def _link(
        self,
        child_id: str,
        parent_id: str,
        seen_parent: str,
        *,
        live: int,
        actor: str,
        seen_revision: int | None = None,
    ) -> Call:
        """Keys and arguments of `lua/link.lua`."""
        keys = {
            "child": self.keys.record(child_id),
            "parent": self.keys.record(parent_id),
            "siblings": self.keys.children(parent_id),
            "old_siblings": self.keys.children(seen_parent),
            "orphans": self.keys.orphans,
        }
        arguments = {
            "child_id": child_id,
            "parent_id": parent_id,
            "seen_parent": seen_parent,
            "seen_revision": "" if seen_revision is None else seen_revision,
            "live": live,
            "actor": actor,
        }
        return keys, arguments

    async def unlink(self, child_id: str, *, known: Record | None = None, actor: str = "") -> int:
        """Take a child from its parent and clear its wish; answers the revision. Idempotent."""

        async def attempt(seen: Record | None) -> int:
            seen_parent = parent_of(seen)
            (revision,) = await self._write(
                "unlink",
                keys={
                    "child": self.keys.record(child_id),
                    "siblings": self.keys.children(seen_parent),
                    "orphans": self.keys.orphans,
                },
                arguments={"child_id": child_id, "seen_parent": seen_parent, "actor": actor},
            )
            return int(revision)

        return await self._settle(child_id, attempt, known)

    def _live(self, asked: bool | None) -> int:
        """The argument that asks for a live parent: what the caller said, else the setting."""
        return int(self.settings.require_live_parent if asked is None else asked)

    async def _each(
        self,
        name: str,
        calls: Sequence[Call],
        read: Callable[[int, list[Any]], T],
        again: Callable[[int], Awaitable[T]],
    ) -> list[T | HopperError]:
        """What became of each call; one that met a conflict or a broken connection is made again by itself.

        Once Redis is away for one of them it is away for the rest, which are not tried.
        """
        answers: list[T | HopperError] = []
        away: Unavailable | None = None
        for start in range(0, len(calls), _MANY):
            if away is not None:
                answers += [away] * len(calls[start : start + _MANY])
                continue
            for reply in await self._write_many(name, calls[start : start + _MANY]):
                at = len(answers)
                if not isinstance(reply, HopperError):
                    answers.append(read(at, reply))
                elif away is not None or not isinstance(reply, (Conflict, Unavailable)):
                    answers.append(reply)
                else:
                    try:
                        answers.append(await again(at))
                    except Unavailable as error:
                        lost = isinstance(reply, Unavailable) and reply.outcome == "unknown"
                        error.outcome = "unknown" if lost else error.outcome
                        away = Unavailable(str(error))
                        answers.append(error)
                    except HopperError as error:
                        answers.append(error)
        return answers


def parent_of(seen: Record | None) -> str:
    """The parent that the caller believes an instance has, as the scripts take it."""
    return (seen.parent_id if seen else None) or ""
