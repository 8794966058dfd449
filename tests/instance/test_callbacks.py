"""Callbacks: which are called with what, in which order, and what a bad one does to the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.instance import callbacks as callbacks_module
from hopper.instance.callbacks import Callbacks
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.scope import Scope
from waiting import wait_until


def event(kind: EventType, revision: int, parent_id: str | None = None, **fields: Any) -> Event:
    record = Record(id="o", name="o", scope=Scope.ORCHESTRATION, parent_id=parent_id)
    return Event(revision=revision, type=kind, id="o", at_ms=0, record=record, **fields)


@pytest.fixture
async def callbacks() -> AsyncIterator[Callbacks]:
    made = Callbacks(namespace="n")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class Calls(list[Any]):
    def __call__(self, *arguments: Any) -> None:
        self.append(arguments)

    async def heard(self, count: int) -> list[Any]:
        await wait_until(lambda: len(self) >= count)
        return list(self)


async def test_a_callback_hears_events_of_its_type_and_one_for_none_hears_all(callbacks):
    states, every = Calls(), Calls()
    callbacks.on("state_changed", states)
    callbacks.on(None, every)
    events = [event(EventType.REGISTERED, 1), event(EventType.STATE_CHANGED, 2), event(EventType.UPDATED, 3)]
    callbacks.take(events)
    assert [heard.revision for (heard,) in await every.heard(3)] == [1, 2, 3]
    assert [heard.revision for (heard,) in states] == [2]


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (event(EventType.REGISTERED, 1, "p"), None, "p"),
        (event(EventType.PARENT_CHANGED, 1, "p", previous={"parent_id": None}), None, "p"),
        (event(EventType.PARENT_CHANGED, 1, "q", previous={"parent_id": "p"}), "p", "q"),
        (event(EventType.PARENT_CHANGED, 1, None, previous={"parent_id": "p"}), "p", None),
        (event(EventType.SUPERSEDED, 1, "q", previous={"parent_id": "p"}), "p", "q"),
        (event(EventType.DEREGISTERED, 1, "p"), "p", None),
    ],
    ids=["registered under", "linked", "moved", "unlinked", "superseded elsewhere", "deregistered"],
)
async def test_a_change_of_parent_is_told_to_both_parents_and_the_child(callbacks, change, old, new):
    added, removed, moved = Calls(), Calls(), Calls()
    callbacks.on_child_added(added)
    callbacks.on_child_removed(removed)
    callbacks.on_parent_changed(moved)
    callbacks.take([change])
    assert await moved.heard(1) == [(change.record, old, new)]
    assert added == ([(new, change.record)] if new else [])
    assert removed == ([(old, change.record)] if old else [])


@pytest.mark.parametrize(
    "change",
    [
        event(EventType.REGISTERED, 1),
        event(EventType.STATE_CHANGED, 1, "p"),
        event(EventType.SUPERSEDED, 1, "p"),
        Event(revision=1, type=EventType.HOLD_STARTED, id=None, at_ms=0, record=None),
    ],
    ids=["an orphan comes", "a state", "the same parent kept", "a hold"],
)
async def test_what_leaves_the_parent_as_it_was_is_no_change_of_parent(callbacks, change):
    moved, every = Calls(), Calls()
    callbacks.on_parent_changed(moved)
    callbacks.on_child_added(moved)
    callbacks.on_child_removed(moved)
    callbacks.on(None, every)
    callbacks.take([change])
    await every.heard(1)
    assert moved == []


async def test_a_coroutine_is_awaited_before_the_next_call(callbacks):
    order: list[str] = []

    async def slow(heard: Event) -> None:
        order.append(f"begins {heard.revision}")
        await asyncio.sleep(0)
        order.append(f"ends {heard.revision}")

    callbacks.on(None, slow)
    callbacks.take([event(EventType.UPDATED, 1), event(EventType.UPDATED, 2)])
    await wait_until(lambda: len(order) == 4)
    assert order == ["begins 1", "ends 1", "begins 2", "ends 2"]


async def given_up(_: Event) -> None:
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited.cancel()
    await waited


def broken(_: Event) -> None:
    raise RuntimeError("a fault of the caller's")


@pytest.mark.parametrize("bad", [broken, given_up], ids=["raises", "waits for what was cancelled"])
async def test_a_callback_that_fails_is_reported_and_stops_neither_the_others_nor_the_next_event(callbacks, bad):
    heard = Calls()
    callbacks.on(None, bad)
    callbacks.on(None, heard)
    with capture_logs() as logs:
        callbacks.take([event(EventType.UPDATED, 1), event(EventType.UPDATED, 2)])
        await heard.heard(2)
    assert [entry["revision"] for entry in logs if entry["event"] == "callback.failed"] == [1, 2]


async def test_nothing_is_kept_while_nobody_listens(callbacks):
    callbacks.take([event(EventType.UPDATED, 1)])
    assert callbacks._queue.empty()


async def test_a_callback_that_falls_behind_is_warned_of_and_loses_nothing(callbacks, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", 10)
    slow = Callbacks(namespace="n")
    heard = Calls()
    slow.on(None, heard)
    with capture_logs() as logs:
        for revision in range(1, 26):
            slow.take([event(EventType.UPDATED, revision)])
    assert [entry["events"] for entry in logs if entry["event"] == "callbacks.behind"] == [10, 20]
    task = asyncio.create_task(slow.run())
    assert [one.revision for (one,) in await heard.heard(25)] == list(range(1, 26))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
