"""Conditions: an instance's health as a word, with what else keeps it out of service."""

from hopper.model.policy import Maintenance
from hopper.model.record import Record
from hopper.model.story import moment

__all__ = ["condition", "maintenance_text"]


def condition(record: Record) -> str:
    """The health, and in parentheses `maintenance` and `flapping` where it is that too: `healthy (maintenance)`."""
    marks = [mark for mark, there in (("maintenance", record.maintenance), ("flapping", record.flapping)) if there]
    return f"{record.health} ({', '.join(marks)})" if marks else record.health.value


def maintenance_text(mark: Maintenance) -> str:
    """Until when an instance is in maintenance, and why."""
    until = "until it is ended" if mark.until_ms is None else f"until {moment(mark.until_ms)}"
    return f"{until}: {mark.reason}" if mark.reason else until
