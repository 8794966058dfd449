"""Terms: what a session's instance is registered as, at first and again."""

from dataclasses import replace

from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec, spec_of

__all__ = ["carried", "looking_for_the_global", "without_parent"]


def looking_for_the_global(spec: InstanceSpec) -> InstanceSpec:
    """The same; a Project that names no parent looks for the Global."""
    if spec.scope is Scope.PROJECT and spec.parent_id is None and spec.wish is None:
        return replace(spec, wish=Wish())
    return spec


def carried(spec: InstanceSpec, record: Record) -> InstanceSpec:
    """What registers `record` again as it stands, patches and moves by others included.

    It names the parent where `spec` named one, or where there is no wish that would find one.
    """
    names = spec.parent_id is not None or record.wish is None
    return replace(spec_of(record), parent_id=record.parent_id if names else None)


def without_parent(spec: InstanceSpec) -> InstanceSpec:
    """The same without the parent that it names, which is looked for instead: by its id, where nothing else is said."""
    if spec.scope is Scope.ORCHESTRATION and spec.wish is None:
        return replace(spec, parent_id=None, wish=Wish(id=spec.parent_id))
    return looking_for_the_global(replace(spec, parent_id=None))
