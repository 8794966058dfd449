"""What a registration does about an id that exists already."""

from enum import StrEnum

__all__ = ["Takeover"]


class Takeover(StrEnum):
    """When a registration may supersede the holder of its id."""

    ALWAYS = "always"
    IF_DEAD = "if-dead"
    """Only where its heartbeat has lapsed, or its state asks for none."""
    NEVER = "never"
