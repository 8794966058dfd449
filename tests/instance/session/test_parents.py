"""The parent of a session: found on entry, or adopting it later."""

import pytest

from hopper import InstanceSession
from instance.session.onlookers import add, adopted, parent_of
from waiting import wait_until


async def test_a_project_finds_the_global(store, settings):
    await add(store, "global", "g")
    async with InstanceSession(scope="project", id="p", settings=settings):
        assert await parent_of(store, "p") == "g"


@pytest.mark.parametrize(
    "wish", [{"id": "web"}, {"name": "the web"}, {"tags": ["eu", "fast"]}], ids=lambda wish: next(iter(wish))
)
async def test_an_orchestration_finds_the_project_of_its_wish(wish, store, settings):
    await add(store, "project", "slow", tags=["eu"])
    await add(store, "project", "web", name="the web", tags=["fast", "eu"])
    await add(store, "project", "younger", tags=["fast", "eu"])
    async with InstanceSession(scope="orchestration", id="o", wish=wish, settings=settings):
        assert await parent_of(store, "o") == "web"


@pytest.mark.parametrize(
    "wish", [{"id": "web"}, {"name": "the web"}, {"tags": ["eu"]}], ids=lambda wish: next(iter(wish))
)
async def test_it_is_adopted_when_the_parent_appears_later(wish, store, settings):
    async with InstanceSession(scope="orchestration", id="o", wish=wish, settings=settings):
        assert await parent_of(store, "o") is None
        await add(store, "project", "web", name="the web", tags=["eu"])
        await wait_until(lambda: adopted(store, "o", "web"))


async def test_a_project_is_adopted_when_the_global_appears_later(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings):
        await add(store, "global", "g")
        await wait_until(lambda: adopted(store, "p", "g"))


async def test_without_a_wish_an_orchestration_stays_an_orphan(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", settings=settings) as session:
        await wait_until(lambda: not session._orphan)
        assert await parent_of(store, "o") is None


async def test_a_parent_of_a_wish_that_is_full_makes_an_orphan_that_waits_for_room(store, settings):
    await add(store, "project", "web", max_children=1)
    await add(store, "orchestration", "first", parent_id="web")
    async with InstanceSession(scope="orchestration", id="o", wish={"id": "web"}, settings=settings):
        assert await parent_of(store, "o") is None
        await store.deregister("first")
        await wait_until(lambda: adopted(store, "o", "web"))


async def test_a_new_incarnation_keeps_the_parent_it_was_moved_to(store, settings):
    await add(store, "project", "web", tags=["eu"])
    await add(store, "project", "other")
    fields = {"scope": "orchestration", "id": "o", "wish": {"tags": ["eu"]}, "ephemeral": False, "settings": settings}
    async with InstanceSession(**fields):
        await store.link("o", "other")
    async with InstanceSession(**fields):
        assert await parent_of(store, "o") == "other"
    async with InstanceSession(**fields | {"wish": {"name": "web"}}):
        assert await parent_of(store, "o") == "web"
