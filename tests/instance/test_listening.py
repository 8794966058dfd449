"""Listening to the registry: callbacks, watches, and waiting for instances."""

import asyncio
import contextlib
from typing import Any

import pytest

from hopper import Selector
from hopper.errors import Compacted
from hopper.model.event import EventType
from hopper.model.scope import Scope
from hopper.model.spec import parse_spec
from hopper.model.state import State, Verb
from specs import ids
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("redis_is_left_quiet")


async def test_callbacks_hear_what_others_change_in_order(registry, other):
    heard: list[tuple[Any, ...]] = []
    registry.on("state_changed", lambda event: heard.append(("state", event.id)))
    registry.on_child_added(lambda parent_id, child: heard.append(("added", parent_id, child.id)))
    registry.on_child_removed(lambda parent_id, child: heard.append(("removed", parent_id, child.id)))
    registry.on_parent_changed(lambda child, old, new: heard.append(("moved", child.id, old, new)))
    for fields in (
        {"scope": "global", "id": "g"},
        {"scope": "project", "id": "p", "parent_id": "g"},
        {"scope": "project", "id": "q"},
    ):
        await other.register(parse_spec(fields))
    await other.link("q", "g")
    await other.transition("q", Verb.PAUSE)
    await other.unlink("q")
    await other.deregister("p")
    await wait_until(lambda: len(heard) == 9)
    assert heard == [
        ("added", "g", "p"),
        ("moved", "p", None, "g"),
        ("added", "g", "q"),
        ("moved", "q", None, "g"),
        ("state", "q"),
        ("removed", "g", "q"),
        ("moved", "q", "g", None),
        ("removed", "g", "p"),
        ("moved", "p", "g", None),
    ]


async def test_a_watch_tells_everything_since_a_revision_and_then_what_comes(tree):
    async with contextlib.aclosing(tree.watch(since=2)) as events:
        seen = [await anext(events) for _ in range(3)]
        await tree.transition("run-1", "pause")
        seen.append(await anext(events))
    assert [event.revision for event in seen] == [3, 4, 5, 6]
    assert (seen[-1].type, seen[-1].id) == (EventType.STATE_CHANGED, "run-1")


async def test_a_watch_of_a_revision_that_is_not_reached_is_refused(tree):
    with pytest.raises(Compacted, match="99"):
        await anext(tree.watch(since=99))


async def test_waiting_for_instances_ends_when_they_are_there(registry, other):
    wanted = Selector(scope=frozenset({Scope.PROJECT}), state=frozenset({State.PAUSED}))
    waiting = asyncio.create_task(registry.wait_for(wanted, 2, timeout_s=5))
    for id in ("p", "q"):
        await other.register(parse_spec({"scope": "project", "id": id}))
    await other.transition("q", Verb.PAUSE)
    await wait_until(lambda: registry.view.revision == 3)
    assert not waiting.done()
    await other.transition("p", Verb.PAUSE)
    assert ids(await waiting) == ["p", "q"]
    assert ids(await registry.wait_for(wanted)) == ["p", "q"]
    assert await registry.wait_for(Selector(name="nobody"), 0) == []
    assert len(registry.view._listeners) == 1


async def test_waiting_for_instances_that_do_not_come_ends_with_the_count(tree):
    with pytest.raises(TimeoutError, match=r"2 of 3 instances are there after 0\.05 s"):
        await tree.wait_for(Selector(scope=frozenset({Scope.PROJECT})), 3, timeout_s=0.05)
    assert len(tree.view._listeners) == 1
