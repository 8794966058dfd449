"""Guards that are raised and released, and what becomes of those whom they leave silent."""

from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Maintenance
from hopper.model.state import State
from instance.alerting.alarms.scene import Scene

__all__ = [
    "ENDS",
    "GROUP",
    "is_claimed",
    "is_maintained",
    "is_registered_again",
    "is_removed",
    "is_restarted",
    "is_suspect",
    "leaves",
    "raises",
    "recovers",
    "releases",
]

GROUP = "project:p1"


def raises(scene: Scene, group: str = GROUP) -> None:
    evidence = {"group": group, "lapsed": 9, "group_size": 40, "since_ms": int(scene.now_s * 1000), "ttl_ms": 1000}
    scene.happens(EventType.GUARD_RAISED, evidence=evidence)


def releases(scene: Scene, group: str = GROUP) -> int:
    event = scene.happens(EventType.GUARD_RELEASED, evidence=scene.replica.guards[group], reason="after 5 TTLs")
    return event.revision


def is_suspect(scene: Scene, *ids: str) -> None:
    for id in ids:
        scene.happens(EventType.HEALTH_CHANGED, id, health=Health.SUSPECT, down_at_ms=None, reason="guard")


def leaves(scene: Scene, *ids: str, group: str = GROUP) -> int:
    """Let a guard be raised and released over these, who are silent then and judged right after."""
    raises(scene, group)
    is_suspect(scene, *ids)
    lapsed_ms = int(scene.now_s * 1000)
    scene.passes(5)
    revision = releases(scene, group)
    scene.goes_down(*ids, deadline_ms=lapsed_ms)
    scene.passes()
    return revision


def recovers(scene: Scene, id: str) -> None:
    scene.comes_back(id, down_at_ms=None)


def is_stopped(scene: Scene, id: str) -> None:
    scene.happens(EventType.STATE_CHANGED, id, state=State.STOPPED, health=Health.UNKNOWN)


def is_registered_again(scene: Scene, id: str) -> None:
    changes = {"state": State.RUNNING, "health": Health.HEALTHY, "down_at_ms": None}
    scene.happens(EventType.SUPERSEDED, id, incarnation=scene.replica.revision + 1, **changes)


def is_removed(scene: Scene, id: str) -> None:
    scene.happens(EventType.DEREGISTERED, id)


def is_maintained(scene: Scene, id: str) -> None:
    scene.happens(EventType.UPDATED, id, maintenance=Maintenance())


def is_claimed(scene: Scene, id: str) -> None:
    scene.happens(EventType.RESTART_CLAIMED, id, state=State.FAILED, health=Health.UNKNOWN, stopped_at_ms=1)


def is_restarted(scene: Scene, id: str) -> None:
    is_claimed(scene, id)
    is_registered_again(scene, id)


ENDS = [recovers, is_stopped, is_registered_again, is_removed, is_maintained, is_restarted]
