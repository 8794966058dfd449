"""The three scopes, and which may stand under which."""

from enum import StrEnum

__all__ = ["PARENT_SCOPE", "Scope", "child_scope"]


class Scope(StrEnum):
    """The level of an instance in the hierarchy. It never changes."""

    GLOBAL = "global"
    PROJECT = "project"
    ORCHESTRATION = "orchestration"


PARENT_SCOPE: dict[Scope, Scope | None] = {
    Scope.GLOBAL: None,
    Scope.PROJECT: Scope.GLOBAL,
    Scope.ORCHESTRATION: Scope.PROJECT,
}
"""The scope a parent must have. Lua enforces this table; levels only descend, so no cycle can be built."""


def child_scope(scope: Scope) -> Scope | None:
    """The scope of the children of `scope`, None where it has none."""
    return next((child for child, parent in PARENT_SCOPE.items() if parent is scope), None)
