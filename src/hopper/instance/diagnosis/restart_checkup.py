"""The checkup of restarts: whether those that were claimed are carried out."""

from collections.abc import Sequence

from hopper.errors import HopperError
from hopper.instance.replica import Replica
from hopper.model.finding import Finding, Level
from hopper.model.record import Record
from hopper.model.restart import Outcome
from hopper.model.restart_report import report_of, waits_for_service
from hopper.model.state import State
from hopper.store.restarting import RestartStore, Standing

__all__ = ["look_at_restarts"]

_SHOWN = 5
_BATCH = 500


async def look_at_restarts(replica: Replica, store: RestartStore) -> list[Finding]:
    """Restarts that could not be carried out, that nobody takes, and that are used up; one finding of each kind."""
    stuck: dict[Level | Outcome, list[str]] = {}
    ids = [record.id for record in replica.records.values() if _may_wait(record)]
    for start in range(0, len(ids), _BATCH):
        for id, standing in zip(
            ids[start : start + _BATCH], await store.standings(ids[start : start + _BATCH]), strict=True
        ):
            if isinstance(standing, HopperError):
                stuck.setdefault(Level.UNKNOWN, []).append(str(standing))
            elif (outcome := _stuck(standing, lease_ms=round(store.settings.executor_lease_s * 1000))) is not None:
                detail = standing.ledger.detail
                stuck.setdefault(outcome, []).append(f"{id} ({detail})" if detail else id)
    findings: list[Finding] = []
    for kind, (level, what, advice) in _TOLD.items():
        if told := stuck.get(kind):
            findings.append(Finding("restarts", level, f"{what}: {_some(told)}", advice))
    return findings or [Finding("restarts", Level.OK, "no restart is stuck")]


_TOLD: dict[Level | Outcome, tuple[Level, str, str]] = {
    Level.UNKNOWN: (Level.PROBLEM, "the restarts of some cannot be read", "delete these keys: they are counted anew"),
    Outcome.FAILED: (
        Level.WARNING,
        "restarts could not be carried out, and are tried again",
        "let the receiver answer 2xx, and name its host in HOPPER_WEBHOOK_ALLOW of every monitor",
    ),
    Outcome.CLAIMED: (
        Level.WARNING,
        "restarts are due, and nobody carries them out",
        "who can is hopper run, a webhook of the policy with a leading monitor, or a callback",
    ),
    Outcome.SENT: (
        Level.WARNING,
        "restarts were sent, and the instance has not registered in its time",
        "a leading monitor tries again: see whether one leads, and what the receiver has done",
    ),
    Outcome.EXHAUSTED: (
        Level.WARNING,
        "restarts are used up",
        "hopper explain ID tells why it fails; hopper state ID restart begins anew",
    ),
}


def _may_wait(record: Record) -> bool:
    return record.state is State.FAILED or (record.restart is not None and record.restart.webhook is not None)


def _stuck(standing: Standing, *, lease_ms: int) -> Outcome | None:
    """How a restart is stuck, None where it is not, or not yet."""
    record, ledger = standing.record, standing.ledger
    report = None if record is None else report_of(record, ledger)
    if record is None or report is None or waits_for_service(record, ledger):
        return None
    match report.outcome:
        case Outcome.CLAIMED:
            due_ms = max(ledger.not_before_ms, ledger.executor_until_ms) + lease_ms
            return Outcome.CLAIMED if standing.now_ms > due_ms else None
        case Outcome.SENT:
            return Outcome.SENT if ledger.in_vain(record, standing.now_ms - lease_ms) else None
        case Outcome.FAILED | Outcome.EXHAUSTED as outcome:
            return outcome
    return None


def _some(words: Sequence[str]) -> str:
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(sorted(words)[:_SHOWN]) + more
