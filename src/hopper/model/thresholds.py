"""Thresholds: what the metrics of one heartbeat say of an instance, and how many in a row must say so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hopper.model.health import Health, severity
from hopper.model.heartbeat import highest
from hopper.model.policy import Threshold

__all__ = ["GOOD", "Hysteresis", "Judgement", "effective_thresholds", "evaluate", "flaw_of"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one sample says: the level, a sentence for each metric over a limit, and the figures of the worst of them.

    `metric`, `value` and `limit` are None where no metric is over a limit.
    """

    level: Health
    reasons: tuple[str, ...] = ()
    metric: str | None = None
    value: float | None = None
    limit: float | None = None

    @property
    def evidence(self) -> dict[str, Any]:
        """The figures as an event carries them."""
        return {"metric": self.metric, "value": self.value, "limit": self.limit, "reasons": list(self.reasons)}


GOOD: Final = Judgement(Health.HEALTHY)
"""What a sample says that is over no limit."""


def flaw_of(metric: str, threshold: Threshold) -> str | None:
    """Why a threshold of a metric could never be meant, None where it could."""
    degraded, unhealthy = threshold.degraded, threshold.unhealthy
    if degraded is None and unhealthy is None:
        return "a threshold has a value for degraded, for unhealthy or for both"
    if degraded is not None and unhealthy is not None and unhealthy < degraded:
        return f"unhealthy ({_number(unhealthy)}) is below degraded ({_number(degraded)})"
    most = highest(metric)
    for level, limit in (("degraded", degraded), ("unhealthy", unhealthy)):
        if limit is not None and limit > most:
            return f"{level} ({_number(limit)}) is never reached: {metric} is at most {_number(most)}"
    return None


def effective_thresholds(defaults: Mapping[str, Threshold], own: Mapping[str, Threshold]) -> Mapping[str, Threshold]:
    """The thresholds in force: each metric's own one, else its default."""
    if not own:
        return defaults
    return {**defaults, **own} if defaults else own


def evaluate(metrics: Mapping[str, Any], thresholds: Mapping[str, Threshold]) -> Judgement:
    """Hold the metrics of one heartbeat against thresholds. One that is missing or no number is over none."""
    found = GOOD
    reasons: list[str] = []
    for metric, threshold in thresholds.items():
        value = metrics.get(metric)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        if threshold.unhealthy is not None and value >= threshold.unhealthy:
            level, limit = Health.UNHEALTHY, threshold.unhealthy
        elif threshold.degraded is not None and value >= threshold.degraded:
            level, limit = Health.DEGRADED, threshold.degraded
        else:
            continue
        reasons.append(f"{metric} is {_number(value)}, at or over {_number(limit)} ({level})")
        if severity(level) > severity(found.level):
            found = Judgement(level, (), metric, value, limit)
    if not reasons:
        return GOOD
    return Judgement(found.level, tuple(reasons), found.metric, found.value, found.limit)


def _number(value: float) -> str:
    """A number as people write it: a whole one without a fraction."""
    return str(int(value)) if float(value).is_integer() else str(value)


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """The last samples of one instance that were not at its level, the newest last: at most one less than decide."""

    recent: tuple[Judgement, ...] = ()

    def take(self, level: Health, sample: Judgement, *, count: int) -> tuple["Hysteresis", Judgement | None]:
        """Take in a sample of an instance at `level`; answers what to remember, and the new level where it changes.

        `count` samples in a row that are all worse lead to the mildest of them, as many that are all better to the
        worst of them.
        """
        if sample.level is level:
            return Hysteresis(), None
        recent = (*self.recent, sample)[-count:]
        changed = None
        if len(recent) == count:
            mildest = min(recent, key=_severity)
            worst = max(recent, key=_severity)
            if _severity(mildest) > severity(level):
                changed = mildest
            elif _severity(worst) < severity(level):
                changed = worst
        if changed is not None:
            level = changed.level
            changed = next(taken for taken in reversed(recent) if taken.level is level)
        kept = recent[-(count - 1) :] if count > 1 else ()
        return Hysteresis(kept if any(taken.level is not level for taken in kept) else ()), changed


def _severity(judgement: Judgement) -> int:
    return severity(judgement.level)
