"""Restart reports: what became of the restart that an instance waits for, as an operator wants to be told."""

from dataclasses import dataclass

from hopper.model.event import Reason
from hopper.model.record import Record
from hopper.model.restart import Outcome, RestartLedger, has_died
from hopper.model.story import moment

__all__ = ["RestartReport", "report_of", "waits_for_service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartReport:
    """The last claim for the present incarnation. Times are milliseconds of Redis' clock, None where there is none yet.

    `detail` is why it could not be carried out, '' where it could. `text` is all of it in a sentence.
    """

    outcome: Outcome
    count: int
    reason: str
    claimed_at_ms: int
    not_before_ms: int
    settled_at_ms: int | None
    register_by_ms: int | None
    detail: str
    text: str


def report_of(record: Record, ledger: RestartLedger) -> RestartReport | None:
    """The restart that an instance waits for, or will not have; None where that is no question.

    It is none for one that lives, but for a restart of it that is still to come, or that an operator has asked for.
    """
    outcome = ledger.outcome
    if outcome is None or ledger.incarnation != record.incarnation:
        return None
    wished = ledger.reason == Reason.OPERATOR and outcome is Outcome.SENT
    if record.monitored and not has_died(record) and not (ledger.is_open(record.incarnation) or wished):
        return None
    return RestartReport(
        outcome=outcome,
        count=ledger.count,
        reason=ledger.reason,
        claimed_at_ms=ledger.claimed_at_ms,
        not_before_ms=ledger.not_before_ms,
        settled_at_ms=ledger.settled_at_ms or None,
        register_by_ms=ledger.register_by_ms or None,
        detail=ledger.detail,
        text=_sentence(record, ledger, outcome),
    )


def waits_for_service(record: Record, ledger: RestartLedger) -> bool:
    """Whether the restart is not carried out before the maintenance of the instance has ended."""
    asked = ledger.reason == Reason.OPERATOR
    return record.maintenance is not None and ledger.is_open(record.incarnation) and not asked


def _sentence(record: Record, ledger: RestartLedger, outcome: Outcome) -> str:
    allowed = f" of {record.restart.max_restarts}" if record.restart is not None else ""
    which = f"restart {ledger.count}{allowed}" if ledger.count else "the restart that an operator asked for"
    at = f" at {moment(ledger.settled_at_ms)}" if ledger.settled_at_ms else ""
    later = "; it waits for the end of its maintenance" if waits_for_service(record, ledger) else ""
    match outcome:
        case Outcome.CLAIMED:
            whose = "has been taken" if ledger.executor else "has been taken by nobody yet"
            return f"{which} is due at {moment(ledger.not_before_ms)}, and {whose}{later}"
        case Outcome.SENT:
            until = f", and has until {moment(ledger.register_by_ms)}" if ledger.waits_for(record) else ""
            return f"{which} was sent{at}; it has not registered since{until}"
        case Outcome.FAILED:
            why = f": {ledger.detail}" if ledger.detail else ""
            return f"{which} could not be carried out{at}{why}{later or '; it is tried again'}"
        case Outcome.CANCELLED:
            return f"{which} was given up{at}: its supervisor was asked to end"
        case Outcome.EXHAUSTED:
            return f"no more restarts are allowed: {ledger.count} have not helped"
