"""Restarts: what a policy allows after a failure, how long it waits, and the ledger of what was claimed."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import tenacity

from hopper.model.health import Health
from hopper.model.policy import LONGEST_DELAY_S, RestartPolicy
from hopper.model.record import Record
from hopper.model.state import State

__all__ = ["Claim", "Exhausted", "Outcome", "RestartLedger", "decide", "delay_s", "has_died", "is_restartable"]


class Outcome(StrEnum):
    """What became of the restart that was claimed last."""

    CLAIMED = "claimed"
    """It is to be carried out, or is just now."""
    SENT = "sent"
    """Whoever was asked to start the instance has taken the request."""
    FAILED = "failed"
    """An executor could not; another may try once its lease has ended."""
    CANCELLED = "cancelled"
    """The supervisor that was to carry it out was asked to end."""
    EXHAUSTED = "exhausted"
    """There is none: the policy's restarts are used up."""


_OPEN: Final = frozenset({Outcome.CLAIMED, Outcome.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartLedger:
    """What Redis keeps of an instance's restarts. Times are milliseconds of Redis' clock.

    `count` restarts were claimed since the instance was last stable. The other fields tell of the last claim, which is
    that of `incarnation`, and ends with the next registration or start; `alive` where the instance was when it was
    claimed. `executor` carries it out, alone until `executor_until_ms`. At `settled_at_ms` its outcome was written
    down, with the `detail` of a failure; one that was sent is in vain where the instance has not registered by
    `register_by_ms`. Its event has the `revision`. Of a Project, `started_revision` is that of its last start by hand.
    """

    count: int = 0
    incarnation: int = 0
    alive: bool = False
    revision: int = 0
    claimed_at_ms: int = 0
    not_before_ms: int = 0
    reason: str = ""
    executor: str = ""
    executor_until_ms: int = 0
    outcome: Outcome | None = None
    settled_at_ms: int = 0
    register_by_ms: int = 0
    detail: str = ""
    started_revision: int = 0

    @classmethod
    def from_hash(cls, values: Mapping[bytes, bytes]) -> "RestartLedger":
        """Read a ledger as HGETALL answers it; of an instance that never had one too. Other fields are left out.

        Raises `ValueError` where it is not the hash of a ledger.
        """
        texts = {name.decode(): value.decode(errors="replace") for name, value in values.items() if value}
        return cls(
            **{name: int(texts[name]) for name in _INTEGERS if name in texts},
            alive=texts.get("alive") == "1",
            reason=texts.get("reason", ""),
            executor=texts.get("executor", ""),
            detail=texts.get("detail", ""),
            outcome=Outcome(texts["outcome"]) if "outcome" in texts else None,
        )

    def stands(self, incarnation: int) -> bool:
        """Whether this incarnation's restart has been claimed, or refused for good."""
        return self.incarnation == incarnation and self.outcome is not None

    def is_open(self, incarnation: int) -> bool:
        """Whether this incarnation's restart is still to be carried out."""
        return self.incarnation == incarnation and self.outcome in _OPEN

    def covers(self, record: Record, now_ms: int) -> bool:
        """Whether the claim that stands for an instance leaves no room for another.

        One that was in vain does, and so does one that was given up while the instance lived, once that has died.
        """
        if self.alive and self.outcome is Outcome.CANCELLED and has_died(record):
            return False
        return self.stands(record.incarnation) and not self.in_vain(record, now_ms)

    def in_vain(self, record: Record, now_ms: int) -> bool:
        """Whether the restart of an instance that has died was sent, and it has not registered in its time.

        Where more than twice that time is left the clock was set back, and the time counts as over.
        """
        left_ms, time_ms = self.register_by_ms - now_ms, self.register_by_ms - self.settled_at_ms
        return self.waits_for(record) and not 0 < left_ms <= 2 * time_ms

    def waits_for(self, record: Record) -> bool:
        """Whether the restart of an instance that has died was sent, and it has a time by which to register."""
        sent = self.incarnation == record.incarnation and self.outcome is Outcome.SENT and self.register_by_ms > 0
        return sent and has_died(record)

    def left_ms(self, now_ms: int) -> int:
        """Milliseconds of Redis' clock until the restart, never more than were claimed, should that be set back."""
        return max(0, min(self.not_before_ms - now_ms, self.not_before_ms - self.claimed_at_ms))

    def is_exhausted(self, incarnation: int) -> bool:
        """Whether this incarnation will not be restarted: the policy's restarts are used up."""
        return self.incarnation == incarnation and self.outcome is Outcome.EXHAUSTED


_INTEGERS: Final = (
    "count", "incarnation", "revision", "claimed_at_ms", "not_before_ms", "executor_until_ms", "settled_at_ms",
    "register_by_ms", "started_revision",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """One restart: the `count`-th since the instance was last stable, not before a time of Redis' clock."""

    count: int
    delay_ms: int
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No restart: `count` have not helped, and the policy allows no more."""

    count: int


def delay_s(policy: RestartPolicy, count: int) -> float:
    """Seconds before the `count`-th restart: `min(max_delay_s, initial_delay_s * multiplier ** (count - 1))`.

    Never more than `LONGEST_DELAY_S`, whatever an older record says: what cannot be reckoned would end all restarts.
    """
    trial = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    trial.attempt_number = count
    return tenacity.wait_exponential(
        multiplier=policy.initial_delay_s, exp_base=policy.multiplier, max=min(policy.max_delay_s, LONGEST_DELAY_S)
    )(trial)


def has_died(record: Record) -> bool:
    """Whether an instance is failed or down."""
    return record.state is State.FAILED or (record.monitored and record.health is Health.DOWN)


def is_restartable(record: Record) -> bool:
    """Whether an instance has failed in a way that its policy restarts. Why one has stopped its supervisor knows."""
    if record.restart is None or record.restart.mode == "never" or record.leaving is not None:
        return False
    return has_died(record)


def decide(
    policy: RestartPolicy, ledger: RestartLedger, record: Record, now_ms: int, spread: float = 0.0
) -> Claim | Exhausted:
    """What the policy says after this failure of the record's incarnation.

    The count begins anew once an incarnation has lived for the policy's window, from its start to its last sign of
    life, and when somebody has started an instance again whose restarts were used up; not for another restart after the
    same death. One that ended before it started counts as stable: the clock was set back. `spread` is in -1..1 and is
    multiplied by the policy's jitter.
    """
    count = ledger.count
    if ledger.incarnation != record.incarnation or ledger.alive:
        given_up = ledger.outcome is Outcome.EXHAUSTED
        count = 0 if given_up or _was_stable(record, policy.window_s * 1000, now_ms) else ledger.count
    if count >= policy.max_restarts:
        return Exhausted(count)
    delay_ms = round(delay_s(policy, count + 1) * (1 + policy.jitter * spread) * 1000)
    return Claim(count + 1, delay_ms, now_ms + delay_ms)


def _was_stable(record: Record, window_ms: float, now_ms: int) -> bool:
    if record.started_at_ms is None:
        return False
    ended_ms, silent_ms = now_ms, 0
    if record.stopped_at_ms is not None:
        ended_ms = record.stopped_at_ms
    elif record.down_at_ms is not None:
        ended_ms, silent_ms = record.down_at_ms, record.ttl_ms + record.grace_ms
    return ended_ms < record.started_at_ms or ended_ms - silent_ms - record.started_at_ms >= window_ms
