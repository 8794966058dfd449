"""Children: those of one that is reaped look for its successor."""

from typing import Any

from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.health import Health
from hopper.model.policy import Wish
from instance.duties.reaping.graves import AT_ONCE, HOUR_MS, gone, is_gone, parent_of
from instance.lapses import TTL_MS, leading, registered
from specs import known, patching, spec
from waiting import wait_until


async def test_the_children_of_one_that_is_reaped_are_adopted_by_its_successor(monitor, store, story):
    await registered(store, name="the web", **AT_ONCE)
    await store.register(spec("orchestration", "plain", parent_id="web"))
    await store.register(spec("orchestration", "picky", parent_id="web", wish={"tags": ["eu"]}))
    await wait_until(lambda: is_gone(store))
    assert (await gone(story)).reason == "reaped"
    assert [(await known(store, id)).wish for id in ("plain", "picky")] == [Wish(name="the web"), Wish(tags=("eu",))]
    await store.register(spec("project", "other", tags=["eu"]))
    await store.register(spec("project", "web-2", name="the web"))

    async def adopted() -> bool:
        return [await parent_of(store, id) for id in ("plain", "picky")] == ["web-2", "other"]

    await wait_until(adopted)


async def test_the_projects_of_a_global_that_is_reaped_are_adopted_by_the_next(monitor, store):
    await store.register(spec("global", "g", ttl_ms=TTL_MS, deregister_after_ms=0))
    await store.register(spec("project", "web", parent_id="g"))
    await wait_until(lambda: is_gone(store, "g"))
    await store.register(spec("global", "g2"))

    async def adopted() -> bool:
        return await parent_of(store, "web") == "g2"

    await wait_until(adopted)


async def test_one_that_comes_back_while_its_children_leave_stays_and_has_them_again(
    monitor, store, story, monkeypatch
):
    original = monitor._store.reparent

    async def late(children: Any, **more: Any) -> Any:
        done = await original(children, **more)
        await store.heartbeat("web", ttl_ms=60_000)
        return done

    monkeypatch.setattr(monitor._store, "reparent", late)
    await registered(store, **AT_ONCE)
    await store.register(spec("orchestration", "run", parent_id="web"))
    await story.until("web", Health.HEALTHY)

    async def restored() -> bool:
        return (await known(store, "web")).leaving is None and await parent_of(store, "run") == "web"

    await wait_until(restored)
    assert (await story.of("run"))[1].previous["parent_id"] == "web"


async def test_a_reaping_that_was_abandoned_is_finished_only_if_it_is_still_down(settings, store, story):
    async with leading(settings):
        for id in ("dead", "back"):
            await registered(store, id)
            await store.register(spec("orchestration", f"run-{id}", parent_id=id))
        for id in ("dead", "back"):
            await story.until(id, Health.DOWN)
    for id in ("dead", "back"):
        await store.update(id, patching(deregister_after_ms=HOUR_MS))
        mark = Departure(children=ChildrenMode.ORPHAN, wish=Wish(name=id), reaped=True)
        assert (await store.reap(await known(store, id), mark))[0] == "marked"
    await store.heartbeat("back", ttl_ms=60_000)
    async with leading(settings):
        await wait_until(lambda: is_gone(store, "dead"))

        async def stays() -> bool:
            back = await known(store, "back")
            return back.leaving is None and await parent_of(store, "run-back") == "back"

        await wait_until(stays)
