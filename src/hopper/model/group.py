"""Groups: instances that are guarded together, by name."""

from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["GLOBAL", "ORPHANS", "group_name"]

GLOBAL = "global"
ORPHANS = "orphans"


def group_name(record: Record) -> str:
    """The group of an instance: `project:ID` of its parent for an Orchestration, `orphans`, else `global`."""
    if record.scope is Scope.ORCHESTRATION and record.parent_id is not None:
        return f"project:{record.parent_id}"
    return ORPHANS if record.is_orphan else GLOBAL
