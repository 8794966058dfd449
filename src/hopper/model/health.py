"""Health: what the registry thinks of an instance, as opposed to what it says of itself."""

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["ALIVE", "Health", "severity", "worst"]


class Health(StrEnum):
    """The registry's judgement of an instance."""

    UNKNOWN = "unknown"
    """Not monitored: its state asks for no heartbeat."""
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Alive, but its metrics or its check are over the first threshold."""
    UNHEALTHY = "unhealthy"
    """Alive, but its metrics or its check are over the second threshold."""
    SUSPECT = "suspect"
    """Its heartbeat lapsed, but it is not judged yet: grace, or a guard."""
    DOWN = "down"
    """Its heartbeat lapsed, and Redis worked well enough to be sure."""


ALIVE: frozenset[Health] = frozenset({Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY})

_SEVERITY = {
    health: rank
    for rank, health in enumerate(
        (Health.UNKNOWN, Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY, Health.SUSPECT, Health.DOWN)
    )
}


def severity(health: Health) -> int:
    """The rank of a health: the greater, the worse."""
    return _SEVERITY[health]


def worst(counts: Mapping[Health, int]) -> Health:
    """The most severe health that at least one instance has; `unknown` for an empty group."""
    return max((health for health, count in counts.items() if count), key=_SEVERITY.__getitem__, default=Health.UNKNOWN)
