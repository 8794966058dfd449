"""The store of instances: one typed method per script that changes them, beside the reads.

Every method converts redis-py's errors. A write that loses its reply is repeated with the same request token, so it is
applied once; a write that depends on what was read before reads again and repeats while it meets a `Conflict`.
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import tenacity

from hopper.errors import (
    Conflict,
    HopperError,
    NotFound,
    PreconditionFailed,
    TooLarge,
    Unavailable,
)
from hopper.model.heartbeat import MAX_HEARTBEAT_BYTES, seconds_of
from hopper.model.record import Record
from hopper.model.spec import InstanceSpec, hash_values
from hopper.model.state import Verb
from hopper.model.takeover import Takeover
from hopper.store.faults import border
from hopper.store.reading import RecordReader, readable
from hopper.store.scripts import script

__all__ = ["InstanceStore", "Registration"]

T = TypeVar("T")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of a registration. `superseded` tells that the id existed before."""

    id: str
    revision: int
    incarnation: int
    superseded: bool


class InstanceStore(RecordReader):
    """The records of one namespace, read and changed. Close it with `aclose`."""

    # -- changes ---------------------------------------------------------------------------------------------------

    async def register(
        self,
        spec: InstanceSpec,
        *,
        takeover: Takeover = Takeover.ALWAYS,
        known: Record | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> Registration:
        """Register, or supersede, an instance. `known` is the record the caller believes is there, if any.

        Idempotent for one `token` within 60 s, also in the id that is made up where the spec has none. Raises every
        error of `lua/register.lua`, and `Unavailable`.
        """
        if spec.id is None and token is not None:
            spec = replace(spec, id=_id_of(spec.scope, token))
        spec = spec.completed(ttl_ms=self.settings.ttl_ms)
        id, parent_id = str(spec.id), spec.parent_id or ""
        fields = [word for pair in hash_values(spec).items() for word in pair]
        request = self._request(token)

        async def attempt(seen: Record | None) -> Registration:
            seen_parent = (seen.parent_id if seen else None) or ""
            revision, incarnation, outcome = await self._write(
                "register",
                keys={
                    "record": self.keys.record(id),
                    "heartbeat": self.keys.heartbeat(id),
                    "instances": self.keys.instances,
                    "names": self.keys.names,
                    "global": self.keys.globe,
                    "parent": self.keys.record(parent_id),
                    "siblings": self.keys.children(parent_id),
                    "old_siblings": self.keys.children(seen_parent),
                    "orphans": self.keys.orphans,
                    "down": self.keys.down,
                    "request": request,
                },
                arguments={
                    "id": id,
                    "scope": spec.scope.value,
                    "state": spec.state.value,
                    "parent_id": parent_id,
                    "seen_parent": seen_parent,
                    "takeover": takeover.value,
                    "actor": actor,
                    "fields": fields,
                },
            )
            return Registration(id, int(revision), int(incarnation), outcome == "superseded")

        return await self._settle(id, attempt, known)

    async def update(
        self,
        id: str,
        change: Callable[[Record], InstanceSpec],
        *,
        known: Record | None = None,
        if_revision: int | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> int:
        """Change a record's mutable fields to what `change` makes of it; answers the revision.

        `change` may be called again with a newer record. With `if_revision` the record must be at that revision, else
        `PreconditionFailed`. Idempotent for one `token` within 60 s.
        """
        request = self._request(token)

        async def attempt(seen: Record | None) -> int:
            record = seen or await self.read(id)
            refusal = _refusal(id, record, if_revision)
            if refusal is not None and seen is not None:
                record = await self.read(id)
                refusal = _refusal(id, record, if_revision)
            if refusal is not None or record is None:
                answered = await self._answered(request) if token is not None else None
                if answered is not None:
                    return answered
                raise refusal or NotFound(f"there is no instance '{id}'")
            spec = change(record).completed(ttl_ms=self.settings.ttl_ms)
            (revision,) = await self._write(
                "update",
                keys={"record": self.keys.record(id), "names": self.keys.names, "request": request},
                arguments={
                    "id": id,
                    "seen_revision": record.revision,
                    "actor": actor,
                    "fields": [word for pair in hash_values(spec).items() for word in pair],
                },
            )
            return int(revision)

        return await self._settle(id, attempt, known)

    async def deregister(
        self,
        id: str,
        *,
        known: Record | None = None,
        incarnation: int | None = None,
        if_revision: int | None = None,
        token: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> int:
        """Remove an instance without children; answers the revision. Idempotent for one `token` within 60 s."""
        request = self._request(token)

        async def attempt(seen: Record | None) -> int:
            seen_parent = (seen.parent_id if seen else None) or ""
            (revision,) = await self._write(
                "deregister",
                keys={
                    "record": self.keys.record(id),
                    "heartbeat": self.keys.heartbeat(id),
                    "children": self.keys.children(id),
                    "siblings": self.keys.children(seen_parent),
                    "instances": self.keys.instances,
                    "names": self.keys.names,
                    "global": self.keys.globe,
                    "orphans": self.keys.orphans,
                    "down": self.keys.down,
                    "restarts": self.keys.restarts(id),
                    "claims": self.keys.claims,
                    "request": request,
                },
                arguments={
                    "id": id,
                    "seen_parent": seen_parent,
                    "incarnation": "" if incarnation is None else incarnation,
                    "seen_revision": "" if if_revision is None else if_revision,
                    "reason": reason,
                    "actor": actor,
                },
            )
            return int(revision)

        return await self._settle(id, attempt, known)

    async def link(self, child_id: str, parent_id: str, *, known: Record | None = None, actor: str = "") -> int:
        """Put a child under a parent, leaving the one it had; answers the revision. Idempotent."""

        async def attempt(seen: Record | None) -> int:
            seen_parent = (seen.parent_id if seen else None) or ""
            (revision,) = await self._write(
                "link",
                keys={
                    "child": self.keys.record(child_id),
                    "parent": self.keys.record(parent_id),
                    "siblings": self.keys.children(parent_id),
                    "old_siblings": self.keys.children(seen_parent),
                    "orphans": self.keys.orphans,
                },
                arguments={
                    "child_id": child_id,
                    "parent_id": parent_id,
                    "seen_parent": seen_parent,
                    "actor": actor,
                },
            )
            return int(revision)

        return await self._settle(child_id, attempt, known)

    async def unlink(self, child_id: str, *, known: Record | None = None, actor: str = "") -> int:
        """Take a child from its parent and clear its wish; answers the revision. Idempotent."""

        async def attempt(seen: Record | None) -> int:
            seen_parent = (seen.parent_id if seen else None) or ""
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

    async def transition(
        self, id: str, verb: Verb, *, incarnation: int | None = None, reason: str = "", actor: str = ""
    ) -> int:
        """Carry an instance to the state a verb leads to; answers the revision. Idempotent."""
        (revision,) = await self._write(
            "transition",
            keys={
                "record": self.keys.record(id),
                "heartbeat": self.keys.heartbeat(id),
                "down": self.keys.down,
            },
            arguments={
                "id": id,
                "verb": verb.value,
                "incarnation": "" if incarnation is None else incarnation,
                "reason": reason,
                "actor": actor,
            },
        )
        return int(revision)

    async def heartbeat(self, id: str, *, ttl_ms: int, value: bytes = b"") -> int:
        """One heartbeat, as an instance writes it: SETEX of its key. Unconditional, and therefore repeatable.

        Answers when it expires, in milliseconds of Redis' clock. Raises `TooLarge` for a value over 4 KiB.
        """
        if len(value) > MAX_HEARTBEAT_BYTES:
            raise TooLarge(f"the heartbeat of '{id}' has {len(value)} bytes, over {MAX_HEARTBEAT_BYTES}")
        key = self.keys.heartbeat(id)
        with border():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.execute_command("SETEX", key, seconds_of(ttl_ms), value)
                pipe.pexpiretime(key)
                _, expires_at_ms = await pipe.execute()
        return int(expires_at_ms)

    # -- how a write is carried out --------------------------------------------------------------------------------

    def _request(self, token: str | None) -> str:
        return self.keys.request(token or secrets.token_hex(12))

    async def _answered(self, request: str) -> int | None:
        """The revision that was answered to an earlier delivery of a request, None for the first."""
        with border():
            kept = await self.client.get(request)
        with readable(request):
            return int(kept.split()[0]) if kept else None

    async def _write(self, name: str, *, keys: dict[str, str], arguments: dict[str, Any]) -> list[Any]:
        """Run a changing script, again after a lost connection; an outcome that was unknown once stays unknown."""
        keys = keys | self.keys.log()
        arguments = arguments | {"log_length": self.settings.log_length}
        outcome = "not-applied"
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.write_retries + 1),
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.2),
            retry=tenacity.retry_if_exception(_connection_lost),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    try:
                        with border():
                            return await script(name)(self.client, keys=keys, arguments=arguments)
                    except Unavailable as error:
                        outcome = "unknown" if error.outcome == "unknown" else outcome
                        raise
        except Unavailable as error:
            error.outcome = outcome
            raise
        raise AssertionError("unreachable: tenacity re-raises")

    async def _settle(self, id: str, attempt: Callable[[Record | None], Awaitable[T]], known: Record | None) -> T:
        """Try with what the caller knows, then with what Redis has, while others change the same record."""
        seen = known
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.conflict_retries),
            wait=tenacity.wait_random_exponential(multiplier=0.002, max=0.1),
            retry=tenacity.retry_if_exception_type(Conflict),
            reraise=True,
        )
        async for trial in retrying:
            with trial:
                if trial.retry_state.attempt_number > 1:
                    seen = await self.read(id)
                return await attempt(seen)
        raise AssertionError("unreachable: tenacity re-raises")


def _connection_lost(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and str(error).startswith("Redis is away")


def _refusal(id: str, record: Record | None, if_revision: int | None) -> HopperError | None:
    """Why an update that asks for a revision cannot be made of this record."""
    if record is None:
        return NotFound(f"there is no instance '{id}'")
    if if_revision is not None and record.revision != if_revision:
        return PreconditionFailed(f"instance '{id}' is at revision {record.revision}, not {if_revision}")
    return None


def _id_of(scope: str, token: str) -> str:
    """The id that a registration without one gets by its request token, so that a repeat gets the same."""
    digest = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8])
    return f"{scope}-{''.join(_ALPHABET[digest // len(_ALPHABET) ** place % len(_ALPHABET)] for place in range(8))}"
