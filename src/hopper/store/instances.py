"""The store of instances: one typed method per script that changes them, beside the reads.

Every method converts redis-py's errors. A write that loses its reply is repeated with the same request token, so it is
applied once; a write that depends on what was read before reads again and repeats while it meets a `Conflict`.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from hopper.errors import HopperError, Invalid, NotFound, PreconditionFailed, TooLarge
from hopper.model.heartbeat import MAX_HEARTBEAT_BYTES, seconds_of
from hopper.model.record import Record
from hopper.model.spec import InstanceSpec, hash_values, spec_of
from hopper.model.state import State, Verb
from hopper.model.takeover import Takeover
from hopper.store.faults import border
from hopper.store.linking import LinkWriter, parent_of
from hopper.store.maintaining import MaintenanceWriter
from hopper.store.vouching import VouchWriter
from hopper.store.writing import Call

__all__ = ["InstanceStore", "Registration"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Registration:
    """What became of a registration. `superseded` tells that the id existed before.

    `at_ms` is its time by Redis' clock: a revision is counted again where Redis has lost it, a time is not. It is None
    for the repeat of a request that an older version answered.
    """

    id: str
    revision: int
    incarnation: int
    superseded: bool
    at_ms: int | None = None


class InstanceStore(LinkWriter, MaintenanceWriter, VouchWriter):
    """The records of one namespace, read and changed. Close it with `aclose`."""

    # -- changes ---------------------------------------------------------------------------------------------------

    async def register(
        self,
        spec: InstanceSpec,
        *,
        takeover: Takeover = Takeover.ALWAYS,
        known: Record | None = None,
        carries: int | None = None,
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> Registration:
        """Register, or supersede, an instance. `known` is the record the caller believes is there, if any.

        With `carries` the spec says what the record says at that revision; it must still be at that, else
        `PreconditionFailed`, and is superseded whatever `takeover` says. With `require_live_parent` the parent named
        must be alive. Idempotent for one `token` within 60 s, also in the id that is made up where the spec has none.
        Raises every error of `lua/register.lua`, and `Unavailable`.
        """
        spec, request = self._completed(spec, token), self._request(token)

        async def attempt(seen: Record | None) -> Registration:
            keys, arguments = self._registration(
                spec, parent_of(seen), request, takeover=takeover, live=self._live(require_live_parent), actor=actor
            )
            if carries is not None:
                arguments["takeover"] = carries
            return _registered(spec, await self._write("register", keys=keys, arguments=arguments))

        return await self._settle(str(spec.id), attempt, known)

    async def register_many(
        self,
        specs: Sequence[InstanceSpec],
        *,
        takeover: Takeover = Takeover.ALWAYS,
        require_live_parent: bool | None = None,
        token: str | None = None,
        actor: str = "",
    ) -> list[Registration | HopperError]:
        """Register instances in their order, each as `register` would; answers what became of each.

        An instance may name one before it as its parent. One that others change meanwhile comes after the others.
        """
        tokens = [f"{token or secrets.token_hex(12)}:{number}" for number in range(len(specs))]
        described = [self._described(spec, word) for spec, word in zip(specs, tokens, strict=True)]
        fit = [(spec, word) for spec, word in zip(described, tokens, strict=True) if not isinstance(spec, Invalid)]
        answers = iter(
            await self._register_each(fit, takeover=takeover, require_live_parent=require_live_parent, actor=actor)
        )
        return [spec if isinstance(spec, Invalid) else next(answers) for spec in described]

    async def _register_each(
        self,
        entries: Sequence[tuple[InstanceSpec, str]],
        *,
        takeover: Takeover,
        require_live_parent: bool | None,
        actor: str,
    ) -> list[Registration | HopperError]:
        """Register completed specs in their order, each with its token."""
        parents = await self._parents([str(spec.id) for spec, _ in entries])
        calls = []
        for spec, word in entries:
            id = str(spec.id)
            call = self._registration(
                spec,
                parents[id],
                self._request(word),
                takeover=takeover,
                live=self._live(require_live_parent),
                actor=actor,
            )
            calls.append(call)
            parents[id] = spec.parent_id or parents[id]

        async def again(at: int) -> Registration:
            spec, word = entries[at]
            return await self.register(
                spec,
                takeover=takeover,
                require_live_parent=require_live_parent,
                token=word,
                actor=actor,
            )

        return await self._each("register", calls, lambda at, reply: _registered(entries[at][0], reply), again)

    def _described(self, spec: InstanceSpec, token: str) -> InstanceSpec | Invalid:
        try:
            return self._completed(spec, token)
        except Invalid as error:
            return error

    def _completed(self, spec: InstanceSpec, token: str | None) -> InstanceSpec:
        if spec.id is None and token is not None:
            spec = replace(spec, id=_id_of(spec.scope, token))
        return spec.completed(ttl_ms=self.settings.ttl_ms)

    def _registration(
        self, spec: InstanceSpec, seen_parent: str, request: str, *, takeover: Takeover, live: int, actor: str
    ) -> Call:
        """Keys and arguments of `lua/register.lua` for a completed spec."""
        id, parent_id = str(spec.id), spec.parent_id or ""
        keys = {
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
        }
        arguments = {
            "id": id,
            "scope": spec.scope.value,
            "state": spec.state.value,
            "parent_id": parent_id,
            "seen_parent": seen_parent,
            "takeover": takeover.value,
            "live": live,
            "actor": actor,
            "fields": [word for pair in hash_values(spec).items() for word in pair],
        }
        return keys, arguments

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
            before = hash_values(spec_of(record))
            after = hash_values(change(record).completed(ttl_ms=self.settings.ttl_ms))
            (revision,) = await self._write(
                "update",
                keys={"record": self.keys.record(id), "names": self.keys.names, "request": request},
                arguments={
                    "id": id,
                    "seen_revision": record.revision,
                    "actor": actor,
                    "fields": [word for pair in after.items() if pair[1] != before[pair[0]] for word in pair],
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
            seen_parent = parent_of(seen)
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

    async def transition(
        self,
        id: str,
        verb: Verb,
        *,
        incarnation: int | None = None,
        expected: State | None = None,
        reason: str = "",
        actor: str = "",
        evidence: Mapping[str, Any] | None = None,
    ) -> int:
        """Carry an instance to the state a verb leads to; answers the revision. Idempotent.

        With `expected` it must be in that state, else `PreconditionFailed`; a repeat is one all the same. `evidence`
        goes into the event.
        """
        (revision,) = await self._write(
            "transition",
            keys={
                "record": self.keys.record(id),
                "heartbeat": self.keys.heartbeat(id),
                "down": self.keys.down,
                "restarts": self.keys.restarts(id),
            },
            arguments={
                "id": id,
                "verb": verb.value,
                "incarnation": "" if incarnation is None else incarnation,
                "expected": "" if expected is None else expected.value,
                "reason": reason,
                "actor": actor,
                "evidence": orjson.dumps(evidence or {}),
            },
        )
        return int(revision)

    async def release_guard(self, group: str, *, reason: str = "", actor: str = "") -> bool:
        """Release the guard of a group by hand; whether there was one. Idempotent."""
        _, released = await self._write(
            "release_guard",
            keys={"holds": self.keys.holds, "monitor": self.keys.monitor},
            arguments={"monitor_id": "", "group": group, "reason": reason, "actor": actor},
        )
        return bool(released)

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


def _registered(spec: InstanceSpec, reply: Sequence[Any]) -> Registration:
    revision, incarnation, outcome, *at_ms = reply
    superseded = outcome == "superseded"
    return Registration(str(spec.id), int(revision), int(incarnation), superseded, int(at_ms[0]) if at_ms else None)


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
