"""What the leading monitor does beside judging: it adopts orphans, and finishes removals that were abandoned."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from census import Census
from effort import LONG
from hopper import Settings
from hopper.instance.departures import Departures, departure_of
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import EventType
from hopper.model.policy import Wish
from hopper.store.instances import InstanceStore
from instance.lapses import leading
from specs import known, patching, spec
from waiting import wait_until

QUIET_MS = 200
REMOVER = Path(__file__).parents[2] / "remover.py"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"departure_quiet_ms": QUIET_MS})


async def parent_of(store: InstanceStore, id: str) -> str | None:
    return (await known(store, id)).parent_id


# -- adoption ----------------------------------------------------------------------------------------------------------


async def test_an_orphan_is_adopted_as_soon_as_its_parent_appears(monitor, store, story):
    wishes = {"by-id": {"id": "web"}, "by-name": {"name": "the web"}, "by-tags": {"tags": ["eu", "fast"]}}
    for id, wish in wishes.items():
        await store.register(spec("orchestration", id, wish=wish))
    await store.register(spec("orchestration", "content"))
    await store.register(spec("project", "web", name="the web", tags=["fast", "eu"], wish={}))
    await wait_until(lambda: are_under(store, list(wishes), "web"))
    await store.register(spec("global", "g"))
    await wait_until(lambda: is_under(store, "web", "g"))
    assert await parent_of(store, "content") is None
    moves = [event for event in await story.all() if event.type is EventType.PARENT_CHANGED]
    assert {event.actor for event in moves} == {"monitor"}
    assert len(moves) == 4


async def are_under(store: InstanceStore, ids: list[str], parent_id: str) -> bool:
    return {await parent_of(store, id) for id in ids} == {parent_id}


async def is_under(store: InstanceStore, id: str, parent_id: str) -> bool:
    return await parent_of(store, id) == parent_id


async def test_an_orphan_whose_parent_is_there_already_is_adopted_and_so_is_one_whose_parent_changes(monitor, store):
    await store.register(spec("project", "web"))
    await store.register(spec("orchestration", "late", wish={"id": "web"}))
    await store.register(spec("orchestration", "picky", wish={"tags": ["gpu"]}))
    await wait_until(lambda: is_under(store, "late", "web"))
    await store.update("web", patching(tags=["gpu"]))
    await wait_until(lambda: is_under(store, "picky", "web"))


async def test_one_for_whom_there_was_no_room_is_adopted_when_there_is(monitor, store):
    await store.register(spec("project", "web", max_children=1))
    await store.register(spec("orchestration", "first", parent_id="web"))
    await store.register(spec("orchestration", "second", wish={"id": "web"}))
    await store.deregister("first")
    await wait_until(lambda: is_under(store, "second", "web"))


async def test_those_for_whom_the_oldest_parent_has_no_room_are_adopted_by_the_next(monitor, store):
    await store.register(spec("project", "small", tags=["x"], max_children=1))
    await store.register(spec("project", "large", tags=["x"]))
    await store.register_many([spec("orchestration", f"run-{n}", wish={"tags": ["x"]}) for n in range(5)])
    await wait_until(lambda: are_counted(store, {"small": 1, "large": 4}))


async def are_counted(store: InstanceStore, counts: dict[str, int]) -> bool:
    return await store.counts_of_children(list(counts)) == list(counts.values())


async def test_one_that_was_taken_from_its_parent_stays_an_orphan(monitor, store):
    await store.register(spec("project", "web"))
    await store.register(spec("orchestration", "apart", wish={"id": "web"}))
    await wait_until(lambda: is_under(store, "apart", "web"))
    await store.unlink("apart")
    await store.register(spec("orchestration", "other", wish={"id": "web"}))
    await wait_until(lambda: is_under(store, "other", "web"))
    assert await parent_of(store, "apart") is None


async def test_a_new_leader_adopts_whoever_has_waited(settings, store):
    await store.register(spec("orchestration", "waiting", wish={"name": "web"}))
    await store.register(spec("project", "web"))
    async with leading(settings):
        await wait_until(lambda: is_under(store, "waiting", "web"))


async def test_the_children_of_a_dead_project_are_adopted_by_its_successor(monitor, store):
    await store.register(spec("project", "web"))
    await store.register(spec("orchestration", "run", parent_id="web"))
    how = Departure(children=ChildrenMode.ORPHAN, wish=Wish(name="web"))
    await Departures(store).remove("web", how)
    await store.register(spec("project", "web-2", name="web"))
    await wait_until(lambda: is_under(store, "run", "web-2"))


# -- abandoned removals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [ChildrenMode.CASCADE, ChildrenMode.ORPHAN, ChildrenMode.REPARENT], ids=str)
async def test_a_removal_that_was_only_begun_is_finished(mode, monitor, store, story):
    await store.register(spec("project", "web"))
    await store.register(spec("project", "heir"))
    for number in range(3):
        await store.register(spec("orchestration", f"run-{number}", parent_id="web"))
    mark = departure_of(mode, "heir" if mode is ChildrenMode.REPARENT else None)
    await store.leave("web", mark)
    await wait_until(lambda: is_gone(store, "web"))
    left = {event.id for event in await story.all() if event.type is EventType.DEREGISTERED} - {"web"}
    assert left == ({f"run-{number}" for number in range(3)} if mode is ChildrenMode.CASCADE else set())
    if mode is ChildrenMode.REPARENT:
        assert await store.counts_of_children(["heir"]) == [3]


async def is_gone(store: InstanceStore, id: str) -> bool:
    return await store.read(id) is None


async def test_a_removal_that_cannot_be_finished_is_taken_back_and_says_why(monitor, store, story):
    await store.register(spec("project", "web"))
    await store.register(spec("project", "heir"))
    await store.register(spec("orchestration", "run", parent_id="web"))
    await store.leave("web", departure_of("reparent", "heir"))
    await store.deregister("heir")
    await wait_until(lambda: stays(store, "web"))
    (told,) = [event for event in await story.of("web") if event.previous.get("leaving") is not None]
    assert "'heir' cannot be the parent of 'run': it does not exist" in told.reason


async def stays(store: InstanceStore, id: str) -> bool:
    return (await known(store, id)).leaving is None


# -- killed while it removes -------------------------------------------------------------------------------------------

KILLS = 50 if LONG else 4
PROJECTS, EACH = 50, 99
SPREAD_S = 0.9
"""Within so many seconds a process that removes 5,000 instances is killed; it needs about as long."""


@contextlib.asynccontextmanager
async def removing(settings: Settings, id: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has begun to remove an instance with all below it."""
    command = [sys.executable, REMOVER, str(settings.redis_url), settings.namespace, id]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"removing\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def planted(store: InstanceStore) -> None:
    """A Global over 50 Projects with 99 Orchestrations each, and three that are no part of it."""
    specs = [spec("global", "g"), spec("project", "apart"), spec("orchestration", "alone")]
    specs += [spec("project", f"p{number}", parent_id="g") for number in range(PROJECTS)]
    specs += [
        spec("orchestration", f"p{number}-{child}", parent_id=f"p{number}")
        for number in range(PROJECTS)
        for child in range(EACH)
    ]
    specs.append(spec("orchestration", "beside", parent_id="apart"))
    done = await store.register_many(specs)
    assert not [answer for answer in done if isinstance(answer, Exception)]


@pytest.mark.parametrize("kill", range(KILLS))
async def test_whoever_is_killed_in_a_removal_leaves_a_legal_tree_and_the_next_one_ends_it(kill, settings, store):
    await planted(store)
    async with removing(settings, "g") as process:
        await asyncio.sleep(random.uniform(0, SPREAD_S))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    census = await Census.take(store.client, settings.namespace)
    assert census.problems == []
    if await store.read("g") is not None:
        await Departures(store).remove("g", departure_of("cascade"))
    after = await Census.take(store.client, settings.namespace)
    assert after.problems == []
    assert set(after.records) == {"apart", "alone", "beside"}


async def test_a_monitor_ends_the_removal_of_one_that_was_killed(settings, store, monitor):
    await planted(store)
    async with removing(settings, "g"):
        await wait_until(lambda: is_shrinking(store))
    await wait_until(lambda: is_gone(store, "g"), 20)
    after = await Census.take(store.client, settings.namespace)
    assert after.problems == []
    assert set(after.records) == {"apart", "alone", "beside"}


async def is_shrinking(store: InstanceStore) -> bool:
    return await store.client.zcard(store.keys.instances) < PROJECTS * EACH - 200
