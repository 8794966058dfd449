"""Groups: instances that are guarded together, by name."""

from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["GLOBAL", "ORPHANS", "group_name", "groups_around", "is_group", "project_of"]

GLOBAL = "global"
ORPHANS = "orphans"
_PROJECT = "project:"


def group_name(record: Record) -> str:
    """The group of an instance: `project:ID` of its parent for an Orchestration, `orphans`, else `global`."""
    if record.scope is Scope.ORCHESTRATION and record.parent_id is not None:
        return f"{_PROJECT}{record.parent_id}"
    return ORPHANS if record.is_orphan else GLOBAL


def groups_around(record: Record) -> tuple[str, ...]:
    """The groups whose guard spares an instance, its own first: around those of all Projects is `global`."""
    own = group_name(record)
    return (own,) if own in (GLOBAL, ORPHANS) else (own, GLOBAL)


def is_group(name: str) -> bool:
    """Whether a name can be that of a group."""
    return name in (GLOBAL, ORPHANS) or project_of(name) is not None


def project_of(group: str) -> str | None:
    """The id of the Project whose Orchestrations a group is, None for another group."""
    return group.removeprefix(_PROJECT) if group.startswith(_PROJECT) else None
