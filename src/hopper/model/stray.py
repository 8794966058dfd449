"""Strays: heartbeats that belong to nobody, or not to the present incarnation."""

from enum import StrEnum

__all__ = ["StrayKind"]


class StrayKind(StrEnum):
    """What is wrong with a heartbeat."""

    NO_RECORD = "no-record"
    NOT_MONITORED = "not-monitored"
    OLD_INCARNATION = "old-incarnation"
