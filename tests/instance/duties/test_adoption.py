"""Links through the registry, and orphans that are adopted by the parent they look for."""

import pytest

from specs import ids

pytestmark = pytest.mark.usefixtures("redis_is_left_quiet")


async def test_a_link_moves_and_a_repeat_changes_nothing(tree):
    moved = await tree.link("run-1", "shop")
    assert moved.parent_id == "shop"
    revision = tree.view.revision
    assert (await tree.link("run-1", "shop")) is moved
    assert tree.view.revision == revision
    assert ids(await tree.children("web")) == ["run-2"]


async def test_an_unlink_makes_an_orphan_that_looks_for_nobody(tree):
    await tree.register(scope="orchestration", id="run-3", wish={"name": "the web"}, parent_id="web")
    gone = await tree.unlink("run-3")
    assert (gone.parent_id, gone.wish) == (None, None)
    assert ids(await tree.orphans()) == ["run-3"]
    assert await tree.adopt() == []


async def test_orphans_are_adopted_by_the_parent_they_look_for(registry):
    for name, wish in {"by-id": {"id": "web"}, "by-name": {"name": "the web"}, "by-tags": {"tags": ["eu"]}}.items():
        await registry.register(scope="orchestration", id=name, wish=wish)
    await registry.register(scope="orchestration", id="content")
    await registry.register(scope="orchestration", id="elsewhere", wish={"name": "nobody"})
    await registry.register(scope="project", id="web", name="the web", tags=["eu", "fast"], wish={})
    await registry.register(scope="project", id="younger", tags=["eu"], wish={"id": "g"})
    await registry.register(scope="project", id="apart")
    await registry.register(scope="project", id="stranger", wish={"id": "another"})
    adopted = await registry.adopt(actor="test")
    assert {record.id: record.parent_id for record in adopted} == dict.fromkeys(["by-id", "by-name", "by-tags"], "web")
    await registry.register(scope="global", id="g")
    assert {record.id: record.parent_id for record in await registry.adopt()} == {"web": "g", "younger": "g"}
    assert ids(await registry.orphans()) == ["content", "elsewhere", "apart", "stranger"]
    assert await registry.adopt() == []


async def test_an_orphan_whose_parent_is_full_stays_one_and_the_others_are_adopted(registry):
    await registry.register(scope="project", id="small", max_children=1)
    for number in range(3):
        await registry.register(scope="orchestration", id=f"o{number}", wish={"id": "small"})
    assert ids(await registry.adopt()) == ["o0"]
    assert ids(await registry.orphans()) == ["small", "o1", "o2"]


async def test_a_wish_for_an_instance_of_the_wrong_scope_is_not_fulfilled(registry):
    await registry.register(scope="global", id="g")
    await registry.register(scope="orchestration", id="o", wish={"id": "g"})
    assert await registry.adopt() == []
