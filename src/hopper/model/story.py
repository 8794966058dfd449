"""Stories: what one event means, as a sentence that an operator can read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hopper.model.changes import changed, json_of
from hopper.model.children import ChildrenMode
from hopper.model.event import Event, EventType
from hopper.model.policy import Maintenance
from hopper.model.record import Record

__all__ = ["exit_words", "maintenance_words", "moment", "tell"]

_FATES = {
    ChildrenMode.RESTRICT: "it has no children",
    ChildrenMode.ORPHAN: "its children become orphans",
    ChildrenMode.CASCADE: "all below it goes first",
    ChildrenMode.REPARENT: "its children move to '{}'",
}
_PROMPT_MS = 1_000
"""Milliseconds from which on a verdict is told to have waited, for a hold, a guard or a grace."""

_PLAIN = {
    "heartbeat": "it heartbeats again",
    "thresholds": "its metrics are over no threshold",
}
"""Reasons of verdicts without figures, as sentences."""


_FIRST_MS = 0
_LAST_MS = 253_402_300_799_000
"""The last second of the year 9999, the last year that Python's calendar has."""


def moment(at_ms: int) -> str:
    """A time of Redis' clock as operators write it: UTC, to the millisecond.

    One that no calendar has, as an end of maintenance that stands for never, is told in milliseconds.
    """
    if not _FIRST_MS <= at_ms <= _LAST_MS:
        return f"{at_ms} ms"
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def tell(event: Event) -> str:
    """One event as a sentence without its time, with who did it and why where that is known."""
    record = event.record
    what = str(event.type).replace("_", " ") if record is None else _what(event, record)
    by = f", by {event.actor}" if event.actor else ""
    why = f" ({event.reason})" if event.reason and event.type is not EventType.HEALTH_CHANGED else ""
    return f"{what}{by}{why}"


def _what(event: Event, record: Record) -> str:
    previous = event.previous
    match event.type:
        case EventType.REGISTERED:
            under = f" under '{record.parent_id}'" if record.parent_id else ""
            return f"registered as {record.scope} '{record.name}'{under}, {record.state}"
        case EventType.SUPERSEDED:
            return f"registered again as incarnation {record.incarnation}, superseding {previous.get('incarnation')}"
        case EventType.PARENT_CHANGED:
            return _move(previous.get("parent_id"), record.parent_id)
        case EventType.STATE_CHANGED:
            return f"{previous.get('state')} -> {record.state}{exit_words(event.evidence)}"
        case EventType.HEALTH_CHANGED:
            flapping = "; it is flapping" if "flapping" in previous and record.flapping else ""
            return f"{previous.get('health')} -> {record.health}: {_verdict(event.reason, event.evidence)}{flapping}"
        case EventType.RESTART_CLAIMED:
            return _claim(event.evidence)
        case EventType.RESTART_EXHAUSTED:
            count = event.evidence.get("count")
            told = "1 restart has" if count == 1 else f"{count} restarts have"
            return f"not restarted: {told} not helped, and no more are allowed{_in_vain(event.evidence)}"
        case EventType.UPDATED if "leaving" in previous:
            return _leaving(record)
        case EventType.UPDATED if "maintenance" in previous:
            mark = record.maintenance
            return "back in service: its maintenance ended" if mark is None else maintenance_words(mark)
        case EventType.UPDATED:
            return f"updated: {', '.join(changed(previous, json_of(record)))}"
        case EventType.DEREGISTERED:
            root = event.evidence.get("root")
            return f"deregistered with '{root}', below which it stood" if root else "deregistered"
        case other:
            return str(other).replace("_", " ")


def maintenance_words(mark: Maintenance) -> str:
    """That an instance is in maintenance, until when and why, where these are known."""
    until = "" if mark.until_ms is None else f" until {moment(mark.until_ms)}"
    return f"in maintenance{until}{f': {mark.reason}' if mark.reason else ''}"


def exit_words(evidence: Mapping[str, Any]) -> str:
    """How a command ended by the evidence of its failure, after a comma; nothing where that is not told."""
    if "signal" in evidence:
        return f", ended by signal {evidence['signal']}"
    return f", exit code {evidence['exit_code']}" if "exit_code" in evidence else ""


def _claim(evidence: Mapping[str, Any]) -> str:
    count, delay_ms = evidence.get("count", 0), evidence.get("delay_ms", 0)
    which = f"restart {count} of {evidence.get('max_restarts')}" if count else "a restart"
    return f"{which} claimed, {f'in {delay_ms} ms' if delay_ms else 'at once'}{_in_vain(evidence)}"


def _in_vain(evidence: Mapping[str, Any]) -> str:
    """That the restart before came to nothing; nothing where it is not that."""
    if "register_by_ms" not in evidence:
        return ""
    sent, by = moment(evidence["sent_at_ms"]), moment(evidence["register_by_ms"])
    return f": the one sent at {sent} was in vain, as it had not registered by {by}"


def _move(old: str | None, new: str | None) -> str:
    if old is None:
        return f"put under '{new}'"
    return f"moved from '{old}' to '{new}'" if new is not None else f"taken from '{old}': an orphan"


def _leaving(record: Record) -> str:
    mark = record.leaving
    if mark is None:
        return "no longer being removed"
    return f"its removal began: {_FATES[mark.children].format(mark.reparent_to)}"


def _verdict(reason: str, evidence: Mapping[str, Any]) -> str:
    """The figures behind a verdict; the reason alone where there are none."""
    if "deadline_ms" not in evidence:
        return "; ".join(evidence.get("reasons") or [_PLAIN.get(reason, reason or "no reason given")])
    words = [_end(evidence)]
    lapsed, size = evidence.get("lapsed", 1), evidence.get("group_size", 0)
    if lapsed > 1:
        words.append(f"with {lapsed - 1} more of the {size} in {_group(evidence)}")
    if evidence.get("descendants_total"):
        words.append(f"and {evidence['descendants_gone']} of the {evidence['descendants_total']} below it were too")
    comma = "," if evidence.get("reasons") and len(words) > 1 else ""
    return " ".join([words[0] + comma, *words[1:]]) + _spared(reason, evidence)


def _spared(reason: str, evidence: Mapping[str, Any]) -> str:
    """Why the verdict is no worse, after a semicolon; nothing where that needs no word."""
    match reason:
        case "grace":
            return "; it is in its grace"
        case "guard":
            return f"; {_group(evidence)} is guarded, since so many lapsed together"
        case "lapsed" | "check":
            return ""
    return f" [{reason}]"


def _group(evidence: Mapping[str, Any]) -> str:
    """The group of which the figures are; older evidence does not name it."""
    return f"the group '{evidence['group']}'" if "group" in evidence else "its group"


def _end(evidence: Mapping[str, Any]) -> str:
    """How a heartbeat ended: by a check that failed, by its time, or nobody knows."""
    if evidence.get("reasons"):
        return "; ".join(evidence["reasons"])
    last_ms, ended = evidence.get("last_heartbeat_ms"), moment(evidence["deadline_ms"])
    if last_ms is None:
        return f"its heartbeat was gone at {ended}, and when it was written is not known"
    return f"its heartbeat of {moment(last_ms)} ended at {ended} and was {_found(evidence)}"


def _found(evidence: Mapping[str, Any]) -> str:
    """How long after its end a heartbeat was found gone, and the verdict given where that was not at once."""
    late_ms, noticed_ms = evidence["lateness_ms"], evidence.get("noticed_ms")
    if noticed_ms is None:
        return f"{'judged' if late_ms > _PROMPT_MS else 'found'} gone {late_ms} ms later"
    found_ms = max(0, noticed_ms - evidence["deadline_ms"])
    if late_ms - found_ms <= _PROMPT_MS:
        return f"found gone {late_ms} ms later"
    return f"found gone {found_ms} ms later, and this verdict given {late_ms - found_ms} ms after that"
