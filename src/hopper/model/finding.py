"""Findings: what `hopper doctor` says, each with a judgement and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Level", "gravest"]


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be looked at: Redis refuses that to this user."""
    WARNING = "warning"
    PROBLEM = "problem"


_GRAVITY = {level: gravity for gravity, level in enumerate((Level.OK, Level.UNKNOWN, Level.WARNING, Level.PROBLEM))}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: the name of the check, a sentence, and what to do, '' for nothing."""

    check: str
    level: Level
    text: str
    advice: str = ""


def gravest(findings: Iterable[Finding]) -> Level:
    """The gravest level among findings, `ok` where there are none."""
    return max((finding.level for finding in findings), key=_GRAVITY.__getitem__, default=Level.OK)
