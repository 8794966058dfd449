"""Reasons: why an instance is not healthy, or not in service, in sentences that an operator can read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.policy import Threshold
from hopper.model.record import Record
from hopper.model.story import maintenance_words, moment
from hopper.model.thresholds import evaluate

__all__ = ["BADLY", "reasons_of", "told_by"]

BADLY: Final = frozenset({Health.DEGRADED, Health.UNHEALTHY, Health.SUSPECT, Health.DOWN})
_ASSESSED: Final = frozenset({Health.DEGRADED, Health.UNHEALTHY})


def told_by(event: Event) -> tuple[str, ...] | None:
    """Why an instance does badly from an event on, () where it does not or has only fallen silent.

    None where the event does not speak of its health.
    """
    if event.type is EventType.HEALTH_CHANGED and event.record is not None:
        if event.record.health in _ASSESSED or "reasons" in event.evidence:
            return tuple(event.evidence.get("reasons") or (event.reason,))
        return ()
    return () if event.type is EventType.DEREGISTERED or "health" in event.previous else None


def reasons_of(
    record: Record,
    metrics: Mapping[str, Any],
    thresholds: Mapping[str, Threshold],
    *,
    heartbeat: bool | None,
    found: Sequence[str] = (),
    guard: str | None = None,
) -> tuple[str, ...]:
    """What keeps an instance from being healthy and in service; nothing where it is both.

    `metrics` are those of its heartbeat as it is now, `thresholds` the ones in force for it. `heartbeat` tells whether
    there is one, None where that is not known: then nothing is said of the metrics. `found` is why it was found to do
    badly, and `guard` why its group is guarded, where that is known.
    """
    told = tuple(_reasons(record, metrics, thresholds, heartbeat, found))
    return told if guard is None or not record.monitored else (*told, f"its group is guarded: {guard}")


def _reasons(
    record: Record,
    metrics: Mapping[str, Any],
    thresholds: Mapping[str, Threshold],
    heartbeat: bool | None,
    found: Sequence[str],
) -> Iterator[str]:
    if not record.monitored:
        yield f"it is {record.state}, and not monitored"
    elif record.health in (Health.SUSPECT, Health.DOWN):
        yield _lapse(record, heartbeat)
        yield from found
    elif heartbeat is not None:
        over = evaluate(metrics, thresholds).reasons
        yield from over
        if not heartbeat:
            yield "no heartbeat, and not judged yet"
        elif not over and record.health is not Health.HEALTHY:
            yield f"it was found {record.health}: {'; '.join(found) or 'explain tells why'}"
    if record.maintenance is not None:
        yield maintenance_words(record.maintenance)
    if record.flapping:
        yield "flapping: it went down and came back again and again"
    if record.leaving is not None:
        yield "it is being removed"


def _lapse(record: Record, heartbeat: bool | None) -> str:
    if record.down_at_ms is None:
        lapse = "no heartbeat, and not judged yet"
    else:
        lapse = f"no heartbeat since {moment(record.down_at_ms)}"
    return f"{lapse}, and now there is one again" if heartbeat else lapse
