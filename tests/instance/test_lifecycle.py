"""The lifecycle: what a replacement of a record may and may not say."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hopper import InstanceRegistry, Settings
from hopper.errors import Invalid, NotFound, PreconditionFailed
from hopper.model.spec import MUTABLE_FIELDS


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[InstanceRegistry]:
    async with InstanceRegistry(settings) as entered:
        await entered.register(scope="global", id="g")
        await entered.register(
            scope="project", id="web", name="the web", parent_id="g", tags=["a"], metadata={"x": "1"}, ttl_ms=5000
        )
        yield entered


async def test_a_replacement_sets_every_field_of_the_owner_and_none_of_the_registry(registry):
    before = await registry.get("web")
    await registry.lifecycle.replace("web", {"version": "2"})
    after = await registry.get("web", consistent=True)
    kept = [name for name in after.__slots__ if name not in {*MUTABLE_FIELDS, "revision", "updated_at_ms"}]
    assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
    assert (after.version, after.name, after.tags, after.metadata, after.ttl_ms) == ("2", "web", (), {}, 15_000)


async def test_a_replacement_may_repeat_what_it_may_not_change(registry):
    same = {"id": "web", "scope": "project", "parent_id": "g", "state": "running"}
    revision = await registry.lifecycle.replace("web", same | {"tags": ["b"]})
    assert revision == 3


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "other"}, "id"),
        ({"scope": "global"}, "scope"),
        ({"state": "paused"}, "state"),
        ({"parent_id": None}, "parent_id"),
        ({"parent_id": "x"}, "parent_id"),
        ({"health": "down"}, "health"),
        ({"ttl_ms": 1}, "ttl_ms"),
        ("no object", ""),
    ],
)
async def test_a_replacement_that_would_change_more_is_refused_by_the_fields_name(document: Any, field, registry):
    with pytest.raises(Invalid) as refused:
        await registry.lifecycle.replace("web", document)
    assert refused.value.field == field
    assert registry.view.revision == 2


async def test_a_replacement_of_nobody_and_at_another_revision(registry):
    with pytest.raises(NotFound, match="'nobody'"):
        await registry.lifecycle.replace("nobody", {})
    with pytest.raises(PreconditionFailed, match="revision 2, not 1"):
        await registry.lifecycle.replace("web", {}, if_revision=1)
