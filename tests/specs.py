"""Specs and patches in a word, and the records and ids that came of them."""

from collections.abc import Callable
from typing import Any

from hopper.model.record import Record
from hopper.model.spec import InstanceSpec, apply_patch, parse_spec
from hopper.store.instances import InstanceStore

__all__ = ["ids", "known", "patching", "spec"]


def spec(scope: str, id: str, **fields: Any) -> InstanceSpec:
    return parse_spec({"scope": scope, "id": id, **fields})


def patching(**patch: Any) -> Callable[[Record], InstanceSpec]:
    """The change of an update that sets these fields."""
    return lambda record: apply_patch(record, patch)


async def known(store: InstanceStore, id: str) -> Record:
    """The record of an instance that must be there."""
    record = await store.read(id)
    assert record is not None
    return record


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]
