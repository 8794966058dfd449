"""The checkup of the failed: those for whom no restart is to come, so that they stay failed until somebody acts."""

from hopper.errors import HopperError
from hopper.instance.replica import Replica
from hopper.model.finding import Finding, Level
from hopper.model.restart import Outcome, is_restartable
from hopper.model.restart_report import report_of
from hopper.model.selector import Selector
from hopper.model.state import State
from hopper.store.restarting import RestartStore, Standing

__all__ = ["look_at_failed"]

_SHOWN = 5
_BATCH = 500
_TO_COME = frozenset({Outcome.CLAIMED, Outcome.SENT, Outcome.FAILED})


async def look_at_failed(replica: Replica, store: RestartStore) -> list[Finding]:
    """Who has failed and stays so, but for those in maintenance; one finding. Unreadable ledgers are told elsewhere."""
    failed = replica.select(Selector(state=frozenset({State.FAILED})))
    ids = [record.id for record in failed if record.maintenance is None]
    left: list[str] = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        for id, standing in zip(batch, await store.standings(batch), strict=True):
            if not isinstance(standing, HopperError) and _stays(standing):
                left.append(id)
    silent = len(failed) - len(ids)
    more = f", and {silent} in maintenance" if silent else ""
    if not left:
        return [Finding("failed", Level.OK, f"no instance has failed for good{more}")]
    who = "1 instance has" if len(left) == 1 else f"{len(left)} instances have"
    text = f"{who} failed, and no restart is to come{more}: {_some(left)}"
    advice = "hopper explain ID tells why; start its program again, or hopper rm ID removes it"
    return [Finding("failed", Level.WARNING, text, advice)]


def _stays(standing: Standing) -> bool:
    record, ledger = standing.record, standing.ledger
    if record is None or record.state is not State.FAILED:
        return False
    if is_restartable(record) and not ledger.covers(record, standing.now_ms):
        return False  # the leading monitor is about to claim it
    report = report_of(record, ledger)
    return report is None or report.outcome not in _TO_COME


def _some(ids: list[str]) -> str:
    more = f", and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(sorted(ids)[:_SHOWN]) + more
