"""The scripts by which restarts are claimed, carried out and settled, and the ledgers they keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import redis.exceptions

from hopper.errors import HopperError, StoreFault, Unavailable
from hopper.model.record import Record
from hopper.model.restart import Claim, Exhausted, Outcome, RestartLedger
from hopper.store.faults import border, convert, reading
from hopper.store.reading import readable
from hopper.store.scripts import script
from hopper.store.writing import RecordWriter

__all__ = ["Claimed", "RestartStore", "Standing", "Taking"]

_DETAIL = 500
"""Characters kept of why a restart failed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an instance stands: its record and its ledger, read at once, and Redis' clock then."""

    record: Record | None
    ledger: RestartLedger
    now_ms: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim was answered: `claimed`, `exhausted`, or `repeat` where one stood already."""

    outcome: str
    revision: int
    count: int
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class Taking:
    """What an executor was answered: `taken`, `early`, `held` by another, or `ended`; and the milliseconds left.

    They are left until the restart may be carried out, or until the other's lease ends.
    """

    outcome: str
    left_ms: int


class RestartStore(RecordWriter):
    """The restarts of one namespace. Built over the client of another store, it needs no closing."""

    async def standing(self, id: str) -> Standing:
        """Where one instance stands. Raises `StoreFault` for what Hopper did not write."""
        (standing,) = await self.standings([id])
        if isinstance(standing, HopperError):
            raise standing
        return standing

    async def standings(self, ids: Sequence[str]) -> list[Standing | HopperError]:
        """Where up to 500 instances stand, in one pipeline; the `StoreFault` of each that cannot be read.

        Raises `Unavailable` where Redis refused any of it for now, and `StoreFault` where it does not tell the time.
        """
        with reading():
            async with self.client.pipeline(transaction=False) as pipe:
                pipe.time()
                for id in ids:
                    pipe.hgetall(self.keys.record(id)).hgetall(self.keys.restarts(id))
                time, *hashes = await pipe.execute(raise_on_error=False)
            for reply in (time, *hashes):
                if _refused(reply) and (reply is time or isinstance(convert(reply), Unavailable)):
                    raise reply
        seconds, microseconds = time
        now_ms = seconds * 1000 + microseconds // 1000
        return [
            self._standing(id, record, ledger, now_ms)
            for id, record, ledger in zip(ids, hashes[::2], hashes[1::2], strict=True)
        ]

    def _standing(self, id: str, record: Any, ledger: Any, now_ms: int) -> Standing | HopperError:
        for answer in (record, ledger):
            if _refused(answer):
                return convert(answer)
        try:
            with readable(self.keys.record(id)):
                known = Record.from_hash(record) if record else None
            with readable(self.keys.restarts(id)):
                return Standing(known, RestartLedger.from_hash(ledger), now_ms)
        except StoreFault as fault:
            return fault

    async def ledger(self, id: str) -> RestartLedger:
        """The ledger of one instance, also of one that never had a restart. `StoreFault` where it cannot be read."""
        with reading():
            found = await self.client.hgetall(self.keys.restarts(id))
        with readable(self.keys.restarts(id)):
            return RestartLedger.from_hash(found)

    async def stands(self, id: str, incarnation: int) -> bool:
        """Whether a restart of this incarnation was claimed or refused for good: one small read, to be repeated."""
        with reading():
            claimed, outcome = await self.client.hmget(self.keys.restarts(id), ["incarnation", "outcome"])
        return claimed == str(incarnation).encode() and bool(outcome)

    async def claim(
        self,
        standing: Standing,
        decision: Claim | Exhausted,
        *,
        alive: bool = False,
        operator: bool = False,
        monitor_id: str = "",
        token: str | None = None,
        reason: str = "",
        actor: str = "",
    ) -> Claimed:
        """Write down what was decided of a standing. Idempotent, and claimed once for each incarnation.

        With `alive` it may be claimed, but not exhausted, though it has not failed; an `operator` claims in maintenance
        too, and over another claim. Raises every error of `lua/claim_restart.lua`, and `Unavailable`.
        """
        record = standing.record
        if record is None:
            raise ValueError("nobody stands there")
        policy = record.restart
        claim = decision if isinstance(decision, Claim) else None
        outcome, revision, count, not_before_ms = await self._write(
            "claim_restart",
            keys={
                "record": self.keys.record(record.id),
                "heartbeat": self.keys.heartbeat(record.id),
                "down": self.keys.down,
                "restarts": self.keys.restarts(record.id),
                "monitor": self.keys.monitor,
                "request": self._request(token),
            },
            arguments={
                "id": record.id,
                "incarnation": record.incarnation,
                "outcome": (Outcome.CLAIMED if claim else Outcome.EXHAUSTED).value,
                "seen_count": standing.ledger.count,
                "count": decision.count,
                "max_restarts": policy.max_restarts if policy else 0,
                "delay_ms": claim.delay_ms if claim else 0,
                "mode": policy.mode if policy else "never",
                "alive": int(alive),
                "operator": int(operator),
                "monitor_id": monitor_id,
                "reason": reason,
                "actor": actor,
            },
        )
        return Claimed(outcome, int(revision), int(count), int(not_before_ms))

    async def take(
        self, id: str, incarnation: int, *, executor: str, claimed_at_ms: int | None = None, early: bool = False
    ) -> Taking:
        """Take a claimed restart for `executor_lease_s`, or renew that. With `early` also before it may be carried out.

        With `claimed_at_ms` only that claim, and no other of the same incarnation. Idempotent for one executor.
        """
        with border():
            outcome, left_ms = await script("take_restart")(
                self.client,
                keys={"record": self.keys.record(id), "restarts": self.keys.restarts(id)},
                arguments={
                    "incarnation": incarnation,
                    "executor": executor,
                    "lease_ms": round(self.settings.executor_lease_s * 1000),
                    "early": int(early),
                    "claimed_at_ms": "" if claimed_at_ms is None else claimed_at_ms,
                },
            )
        return Taking(outcome, int(left_ms))

    async def settle(
        self,
        id: str,
        incarnation: int,
        outcome: Outcome,
        *,
        executor: str,
        claimed_at_ms: int | None = None,
        detail: str = "",
    ) -> bool:
        """Write down what became of a restart, and why; whether this executor still had it.

        With `claimed_at_ms` of that claim only, as for `take`. Idempotent, but for the time to register after one that
        was sent: that begins anew.
        """
        answer: list[Any]
        with border():
            answer = await script("settle_restart")(
                self.client,
                keys={"restarts": self.keys.restarts(id)},
                arguments={
                    "incarnation": incarnation,
                    "executor": executor,
                    "outcome": outcome.value,
                    "detail": detail[:_DETAIL],
                    "wait_ms": round(self.settings.restart_wait_s * 1000),
                    "claimed_at_ms": "" if claimed_at_ms is None else claimed_at_ms,
                },
            )
        return bool(answer[0])


def _refused(reply: Any) -> TypeGuard[redis.exceptions.RedisError]:
    """Whether one reply of a pipeline is an error."""
    return isinstance(reply, redis.exceptions.RedisError)
