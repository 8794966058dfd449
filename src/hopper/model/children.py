"""What becomes of the children of an instance that is removed."""

from enum import StrEnum

__all__ = ["ChildrenMode"]


class ChildrenMode(StrEnum):
    """What becomes of the children of an instance that is removed."""

    RESTRICT = "restrict"
    """There may be none."""
    ORPHAN = "orphan"
    """They stay, without a parent; one with a wish is adopted again."""
    CASCADE = "cascade"
    """They are removed before it, and all below them: leaves first."""
    REPARENT = "reparent"
    """They move to another instance of the same scope."""
