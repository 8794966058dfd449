"""Hopper's instance registry: a legal tree, quick discovery and prompt failure detection on Redis."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hopper.config import Settings
    from hopper.errors import HopperError, Invalid, NotFound, Refused, Superseded, Unavailable
    from hopper.instance.registry import InstanceRegistry
    from hopper.instance.session import InstanceSession
    from hopper.model.event import Event, EventType
    from hopper.model.health import Health
    from hopper.model.record import Record
    from hopper.model.scope import Scope
    from hopper.model.selector import Selector
    from hopper.model.spec import InstanceSpec
    from hopper.model.state import State, Verb
    from hopper.model.takeover import Takeover

__all__ = [
    "Event",
    "EventType",
    "Health",
    "HopperError",
    "InstanceRegistry",
    "InstanceSession",
    "InstanceSpec",
    "Invalid",
    "NotFound",
    "Record",
    "Refused",
    "Scope",
    "Selector",
    "Settings",
    "State",
    "Superseded",
    "Takeover",
    "Unavailable",
    "Verb",
]

_HOMES = {
    "Event": "model.event",
    "EventType": "model.event",
    "Health": "model.health",
    "HopperError": "errors",
    "InstanceRegistry": "instance.registry",
    "InstanceSession": "instance.session",
    "InstanceSpec": "model.spec",
    "Invalid": "errors",
    "NotFound": "errors",
    "Record": "model.record",
    "Refused": "errors",
    "Scope": "model.scope",
    "Selector": "model.selector",
    "Settings": "config",
    "State": "model.state",
    "Superseded": "errors",
    "Takeover": "model.takeover",
    "Unavailable": "errors",
    "Verb": "model.state",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `hopper --help` need not import them all."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hopper' has no attribute {name!r}")
    return getattr(import_module(f"hopper.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
