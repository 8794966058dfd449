"""Selectors: the criteria by which instances are found."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hopper.model.health import ALIVE, Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

__all__ = ["Selector", "in_service"]


def in_service(record: Record) -> bool:
    """Whether work may be sent to the instance: running, alive, not flapping, no maintenance, not being removed."""
    return (
        record.state is State.RUNNING
        and record.health in ALIVE
        and not record.flapping
        and record.maintenance is None
        and record.leaving is None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Criteria that must all hold; one that is absent asks nothing.

    Of `scope`, `state` and `health` an instance has one value each, so it must be among those named; `tags` and
    `metadata` must all be there. `name` is exact, or a glob where it contains `*`, `?` or `[`. `ancestor` needs the
    tree and is answered by the view.
    """

    scope: frozenset[Scope] = frozenset()
    state: frozenset[State] = frozenset()
    health: frozenset[Health] = frozenset()
    tags: frozenset[str] = frozenset()
    name: str | None = None
    parent: str | None = None
    ancestor: str | None = None
    version: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    orphan: bool | None = None
    available: bool | None = None

    @property
    def name_is_glob(self) -> bool:
        return self.name is not None and any(character in self.name for character in "*?[")

    def matches(self, record: Record) -> bool:
        """Whether every criterion but `ancestor` holds for `record`."""
        return (
            (not self.scope or record.scope in self.scope)
            and (not self.state or record.state in self.state)
            and (not self.health or record.health in self.health)
            and self.tags.issubset(record.tags)
            and self._name_matches(record.name)
            and (self.parent is None or record.parent_id == self.parent)
            and (self.version is None or record.version == self.version)
            and all(record.metadata.get(key) == value for key, value in self.metadata.items())
            and (self.orphan is None or record.is_orphan is self.orphan)
            and (self.available is None or in_service(record) is self.available)
        )

    def _name_matches(self, name: str) -> bool:
        if self.name is None:
            return True
        return fnmatchcase(name, self.name) if self.name_is_glob else name == self.name
