"""Alerts: what an operator is told unasked, and how far that has come."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from hopper.model.event import Event
from hopper.model.record import Record
from hopper.model.story import exit_words, moment
from hopper.model.webhook import delivery_of

__all__ = ["FOUND", "Alert", "AlertKind", "AlertPosition", "AlertStatus", "KnownDeath", "KnownRelease"]

_RESTARTS = {"claimed": "; its restart is claimed", "exhausted": "; it is not restarted any more"}

FOUND = "resync"
"""The reason of an alert that no event gave: a view was compared with what is told."""


class AlertKind(StrEnum):
    """What an alert is about."""

    DOWN = "down"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    GUARD = "guard"
    HOLD = "hold"


class AlertStatus(StrEnum):
    """Whether it begins or is over."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing to tell. Of a guard or a hold `id` and `record` are None; of one that is gone `record` may be.

    `revision` and `at_ms` are those of the event it tells of. `origin` is the revision of the event that led to it: who
    reads the log from there on comes to it again. `mark` names its delivery where that event is not known.
    """

    kind: AlertKind
    status: AlertStatus
    id: str | None
    record: Record | None
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    at_ms: int
    revision: int
    origin: int
    text: str
    mark: str = ""

    @property
    def key(self) -> str:
        """What it is about, the same for its begin and its end: `down:ID`, `failed:ID`, `guard:GROUP`, `hold`."""
        if self.kind is AlertKind.HOLD:
            return str(self.kind)
        if self.kind is AlertKind.GUARD:
            return f"{self.kind}:{self.evidence.get('group', '')}"
        return f"{AlertKind.FAILED if self.kind is AlertKind.EXHAUSTED else self.kind}:{self.id}"

    def delivery(self, *, epoch: str) -> str:
        """What `Hopper-Delivery` says: the same for every repeat, by whichever leader."""
        return delivery_of(epoch, quote(self.mark, safe="@:") or self.revision, f"{self.kind}-{self.status}")

    @classmethod
    def of_event(
        cls,
        kind: AlertKind,
        status: AlertStatus,
        event: Event,
        record: Record | None,
        *,
        why: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> "Alert":
        """The alert that an event leads to at once. `why` says in words what its reason says in one."""
        return cls.make(
            kind,
            status,
            id=record.id if record else None,
            record=record,
            reason=event.reason or (str(event.type) if why else ""),
            why=why or event.reason,
            evidence={**event.evidence, **(more or {})},
            at_ms=event.at_ms,
            revision=event.revision,
            origin=event.revision,
        )

    @classmethod
    def make(
        cls,
        kind: AlertKind,
        status: AlertStatus,
        *,
        id: str | None = None,
        record: Record | None = None,
        reason: str = FOUND,
        why: str = "",
        evidence: Mapping[str, Any] | None = None,
        at_ms: int,
        revision: int,
        origin: int,
        mark: str = "",
    ) -> "Alert":
        """An alert with its sentence."""
        evidence = evidence or {}
        return cls(
            kind=kind,
            status=status,
            id=id,
            record=record,
            reason=reason,
            evidence=evidence,
            at_ms=at_ms,
            revision=revision,
            origin=origin,
            text=_describe(kind, status, id=id, record=record, reason=why, evidence=evidence, at_ms=at_ms),
            mark=mark,
        )

    def document(self, *, namespace: str, epoch: str) -> dict[str, Any]:
        """What is sent."""
        record = self.record
        return {
            "namespace": namespace,
            "alert": self.kind,
            "status": self.status,
            "id": self.id,
            "name": record.name if record else None,
            "scope": record.scope if record else None,
            "parent_id": record.parent_id if record else None,
            "reason": self.reason,
            "evidence": dict(self.evidence),
            "at_ms": self.at_ms,
            "revision": self.revision,
            "epoch": epoch,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class KnownDeath:
    """A death that is not told: revision and time of its verdict, and whether it is not to be told at all."""

    revision: int
    at_ms: int
    spared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRelease:
    """A guard that was released, and those it left silent, for whom its alert stands: each since which revision.

    `revision`, `at_ms`, `reason` and `evidence` are those of the release, `at_ms` None where it was missed. `mark`
    names the delivery of its end, `count` says how many it left. `again`: another guard of the group stands by now.
    """

    mark: str
    revision: int
    at_ms: int | None
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    left: Mapping[str, int] = field(default_factory=dict)
    again: bool = False

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "KnownRelease":
        """Read one. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        at_ms = document["at_ms"]
        return cls(
            mark=str(document["mark"]),
            revision=int(document["revision"]),
            at_ms=None if at_ms is None else int(at_ms),
            reason=str(document["reason"]),
            evidence=dict(document["evidence"]),
            count=int(document["count"]),
            left={str(id): int(revision) for id, revision in dict(document["left"]).items()},
            again=bool(document["again"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertPosition:
    """The last revision of an epoch that is dealt with, and what is so by then.

    `told` is what is told and not over, `down:ID` to its revision. `deaths` are the others that are down, by id. `read`
    is the last event that was read, revision and time: by it the log is known again in another epoch. `releases` has
    the guards that were released and whose alerts are not over, by their groups.
    """

    epoch: str
    revision: int
    told: Mapping[str, int] = field(default_factory=dict)
    deaths: Mapping[str, KnownDeath] = field(default_factory=dict)
    read: tuple[int, int] | None = None
    releases: Mapping[str, KnownRelease] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How much it holds beside what is told: deaths, and who was left by guards."""
        return len(self.deaths) + sum(len(release.left) for release in self.releases.values())

    def to_json(self) -> bytes:
        """The position as Redis holds it."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, value: bytes) -> "AlertPosition":
        """Read a position. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        document = orjson.loads(value)
        told = {str(key): int(revision) for key, revision in dict(document["told"]).items()}
        deaths = {
            str(id): KnownDeath(int(death["revision"]), int(death["at_ms"]), bool(death["spared"]))
            for id, death in dict(document.get("deaths", {})).items()
        }
        read = document.get("read")
        releases = {
            str(group): KnownRelease.from_document(one) for group, one in dict(document.get("releases", {})).items()
        }
        return cls(
            epoch=str(document["epoch"]),
            revision=int(document["revision"]),
            told=told,
            deaths=deaths,
            read=None if read is None else (int(read[0]), int(read[1])),
            releases=releases,
        )


def _describe(
    kind: AlertKind,
    status: AlertStatus,
    *,
    id: str | None,
    record: Record | None,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    at_ms: int = 0,
) -> str:
    """The sentence of an alert."""
    evidence = evidence or {}
    why = f": {reason}" if reason else ""
    match kind, status:
        case AlertKind.GUARD, AlertStatus.FIRING:
            lapsed, size = evidence.get("lapsed", "too many"), evidence.get("group_size", "its instances")
            group = evidence.get("group", "?")
            within = f" within {evidence['ttl_ms'] / 1000:g} s" if _is_number(evidence.get("ttl_ms")) else ""
            spared = "its silent ones are suspect, and none of it is judged down, restarted or reaped"
            return f"a guard stands over the group '{group}': {lapsed} of {size} lapsed{within}; {spared}"
        case AlertKind.GUARD, _:
            return f"the guard over the group '{evidence.get('group', '?')}' {_release_words(evidence, why)}"
        case AlertKind.HOLD, AlertStatus.FIRING:
            return f"nobody is judged any more{why}"
        case AlertKind.HOLD, _:
            since = (
                f" after a hold since {moment(evidence['since_ms'])} UTC"
                if _is_number(evidence.get("since_ms"))
                else ""
            )
            return f"instances are judged again{since}{why}"
    who = f"'{id}'" if record is None else _named(record)
    match kind, status:
        case _, AlertStatus.RESOLVED:
            return f"{who} is no longer {kind}{why}"
        case AlertKind.FAILED, _:
            return f"{who} has failed{why}{exit_words(evidence)}"
        case AlertKind.EXHAUSTED, _:
            return f"{who} has failed and is not restarted any more{why}"
    sentence = f"{who} is down since {moment(at_ms)} UTC"
    if evidence.get("reasons"):
        sentence += f": {'; '.join(evidence['reasons'])}"
    elif evidence.get("last_heartbeat_ms") is not None:
        sentence += f": its last heartbeat was at {moment(evidence['last_heartbeat_ms'])}"
    below = evidence.get("descendants_down", 0)
    if below:
        sentence += f"; {below} below it {'is' if below == 1 else 'are'} down too"
    sentence += _RESTARTS.get(evidence.get("restart", ""), "")
    return f"{sentence}; it is flapping" if record is not None and record.flapping else sentence


def _release_words(evidence: Mapping[str, Any], why: str) -> str:
    """When and why a guard was released, and what became of those it left silent."""
    left, at_ms = evidence.get("left_down", 0), evidence.get("released_at_ms")
    when = "is released" if at_ms is None else f"was released at {moment(at_ms)} UTC"
    if evidence.get("guarded_again"):
        return f"{when}{why}; another one stands over it since, and tells of the {left} that were silent then"
    return f"{when}{why}; {_back(left)}" if left else f"{when}{why}"


def _back(left: int) -> str:
    return (
        "the one that it left silent is back or gone"
        if left == 1
        else f"the {left} that it left silent are back or gone"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _named(record: Record) -> str:
    name = "" if record.name == record.id else f" ({record.name})"
    under = f" under '{record.parent_id}'" if record.parent_id is not None else ""
    return f"{record.scope} '{record.id}'{name}{under}"
