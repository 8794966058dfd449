"""Callbacks: which are called with what, in which order, and what a bad one does to the others."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.errors import StoreFault, Unavailable
from hopper.instance import callbacks as callbacks_module
from hopper.instance.callbacks import Callbacks
from hopper.instance.replica import Replica
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.scope import Scope
from waiting import wait_until


def event(kind: EventType, revision: int, parent_id: str | None = None, **fields: Any) -> Event:
    record = Record(id="o", name="o", scope=Scope.ORCHESTRATION, parent_id=parent_id, revision=revision)
    return Event(revision=revision, type=kind, id="o", at_ms=0, record=record, **fields)


class Log:
    """A view and its log in one: events that are taken in, and kept for whoever reads them again."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.loaded = asyncio.Event()
        self.epoch = "first"
        self.events: list[Event] = []
        self.trouble: list[Exception] = []

    @property
    def revision(self) -> int:
        return self.replica.revision

    def grow(self, *events: Event) -> list[Event]:
        """Events happen; answers them as the view tells of them."""
        for event in events:
            self.replica.apply(event)
        self.events += [event for event in events if not event.resync]
        return list(events)

    async def catch_up(self) -> None:
        await asyncio.sleep(0)

    async def between(self, first: int, last: int) -> list[Event]:
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble.pop()
        return [event for event in self.events if first <= event.revision <= last][:500]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def callbacks(log: Log) -> AsyncIterator[Callbacks]:
    fake: Any = log
    made = Callbacks(fake, fake, namespace="n")
    task = asyncio.create_task(made.run())
    log.loaded.set()
    await asyncio.sleep(0)
    yield made
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def updates(first: int, last: int) -> list[Event]:
    return [event(EventType.UPDATED, revision) for revision in range(first, last + 1)]


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


async def test_nothing_is_kept_while_nobody_listens(callbacks, log):
    callbacks.take(log.grow(*updates(1, 3)))
    assert not callbacks._queue
    assert callbacks.revision == 3


async def test_the_revision_is_that_of_the_last_event_that_every_callback_has_heard(callbacks, log):
    gate = asyncio.Event()

    async def slow(_: Event) -> None:
        await gate.wait()

    callbacks.on(None, slow)
    callbacks.take(log.grow(*updates(1, 2)))
    await asyncio.sleep(0)
    assert callbacks.revision == 0
    gate.set()
    await wait_until(lambda: callbacks.revision == 2)


@pytest.mark.parametrize("many", [0, 1, 7, 10_000])
async def test_a_callback_that_falls_behind_loses_nothing_and_holds_little_in_memory(callbacks, log, many, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", many)
    heard, most = Calls(), 0

    async def slow(one: Event) -> None:
        await asyncio.sleep(0)
        heard(one)

    callbacks.on(None, slow)
    for revision in range(1, 1201):
        callbacks.take(log.grow(event(EventType.UPDATED, revision)))
        most = max(most, len(callbacks._queue))
        if revision % 3 == 0:
            await asyncio.sleep(0)
    assert [one.revision for (one,) in await heard.heard(1200)] == list(range(1, 1201))
    assert most <= many
    assert callbacks.revision == 1200


async def test_a_log_that_cannot_be_read_just_now_is_read_again(callbacks, log, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", 1)
    monkeypatch.setattr(callbacks_module, "_PAUSE_S", 0.001)
    log.trouble = [Unavailable("Redis is away"), Unavailable("Redis is away")]
    heard = Calls()
    callbacks.on(None, heard)
    callbacks.take(log.grow(*updates(1, 9)))
    assert [one.revision for (one,) in await heard.heard(9)] == list(range(1, 10))


@pytest.mark.parametrize("how", ["trimmed", "another epoch"])
async def test_one_that_fell_behind_what_the_log_still_has_hears_the_difference(how, callbacks, log, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", 2)
    gate, heard = asyncio.Event(), Calls()

    async def slow(one: Event) -> None:
        await gate.wait()
        heard(one)

    callbacks.on(None, slow)
    callbacks.take(log.grow(event(EventType.REGISTERED, 1, "p")))
    await asyncio.sleep(0)
    callbacks.take(log.grow(*[event(EventType.PARENT_CHANGED, n, f"p{n}") for n in range(2, 9)]))
    if how == "trimmed":
        log.events = log.events[-2:]
    else:
        callbacks.take(log.grow(event(EventType.PARENT_CHANGED, 9, "p9", resync=True)))
    gate.set()
    first, second = [one for (one,) in await heard.heard(2)]
    assert (first.revision, first.record.parent_id) == (1, "p")
    assert (second.resync, second.type, second.previous) == (True, EventType.PARENT_CHANGED, {"parent_id": "p"})
    assert second.record is log.replica.records["o"]
    callbacks.take(log.grow(event(EventType.UPDATED, 10)))
    assert (await heard.heard(3))[-1][0].revision == 10


async def test_a_callback_goes_on_from_a_revision_and_then_hears_with_the_others(callbacks, log):
    first, second = Calls(), Calls()
    callbacks.on(None, first)
    callbacks.take(log.grow(*updates(1, 700)))
    await first.heard(700)
    callbacks.on(None, second, since=3)
    callbacks.take(log.grow(*updates(701, 705)))
    assert [one.revision for (one,) in await second.heard(702)] == list(range(4, 706))
    assert [one.revision for (one,) in await first.heard(705)] == list(range(1, 706))


async def test_the_revision_waits_for_whoever_still_hears_of_the_past(callbacks, log):
    callbacks.take(log.grow(*updates(1, 30)))
    gate, heard = asyncio.Event(), Calls()

    async def slow(one: Event) -> None:
        heard(one)
        if one.revision == 10:
            await gate.wait()

    callbacks.on(None, slow, since=4)
    await heard.heard(6)
    assert callbacks.revision == 9
    gate.set()
    await heard.heard(26)
    await wait_until(lambda: callbacks.revision == 30)


async def test_a_difference_counts_as_heard_at_its_end(callbacks, log):
    gate, heard = asyncio.Event(), Calls()

    async def slow(one: Event) -> None:
        heard(one)
        if len(heard) == 3:
            await gate.wait()

    callbacks.on(None, slow)
    changes = [
        Event(revision=50, type=EventType.UPDATED, id=f"o{n}", at_ms=0, record=None, resync=True) for n in range(5)
    ]
    callbacks.take(log.grow(*changes))
    await heard.heard(3)
    assert callbacks.revision == 0
    gate.set()
    await wait_until(lambda: callbacks.revision == 50)


async def test_a_large_difference_is_told_once_though_more_happens_meanwhile(callbacks, log, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", 3)
    heard = Calls()

    async def slow(one: Event) -> None:
        await asyncio.sleep(0)
        heard(one)

    callbacks.on(None, slow)
    callbacks.take(log.grow(*updates(1, 2)))
    log.replica = Replica()
    records = [Record(id=f"p{n}", name=f"p{n}", scope=Scope.PROJECT, revision=60) for n in range(40)]
    changes = [Event(revision=60, type=EventType.REGISTERED, id=r.id, at_ms=0, record=r, resync=True) for r in records]
    callbacks.take(log.grow(*changes))
    for revision in range(61, 81):
        callbacks.take(log.grow(event(EventType.UPDATED, revision)))
        await asyncio.sleep(0)
    await wait_until(lambda: callbacks.revision == 80)
    told = [one.id for (one,) in heard if one.resync and one.record.scope is Scope.PROJECT]
    assert sorted(told) == sorted(record.id for record in records)
    assert [one.revision for (one,) in heard if not one.resync][-1] in (2, 80)


@pytest.mark.parametrize("trouble", [StoreFault("an entry that cannot be read")], ids=["unreadable"])
async def test_what_cannot_be_read_from_the_log_is_told_as_a_difference(trouble, callbacks, log, monkeypatch):
    monkeypatch.setattr(callbacks_module, "_MANY", 1)
    log.trouble = [trouble]
    heard = Calls()
    callbacks.on(None, heard)
    callbacks.take(log.grow(event(EventType.REGISTERED, 1, "p"), *updates(2, 9)))
    ((only,),) = await heard.heard(1)
    assert (only.resync, only.type) == (True, EventType.REGISTERED)
    await wait_until(lambda: callbacks.revision == 9)


async def test_one_that_goes_on_from_a_revision_ahead_of_redis_hears_of_all_there_is(callbacks, log):
    callbacks.take(log.grow(event(EventType.REGISTERED, 1, "p"), *updates(2, 3)))
    heard = Calls()
    callbacks.on(None, heard, since=1_000_000)
    ((only,),) = await heard.heard(1)
    assert (only.resync, only.type) == (True, EventType.REGISTERED)
    callbacks.take(log.grow(event(EventType.UPDATED, 4)))
    assert (await heard.heard(2))[-1][0].revision == 4


async def test_one_that_goes_on_from_what_the_log_no_longer_has_hears_of_all_there_is(callbacks, log):
    callbacks.take(log.grow(event(EventType.REGISTERED, 1, "p"), *updates(2, 9)))
    log.events.clear()
    heard, children = Calls(), Calls()
    callbacks.on(None, heard, since=1)
    callbacks.on_child_added(children, since=1)
    ((only,),) = await heard.heard(1)
    assert (only.resync, only.type, only.record) == (True, EventType.REGISTERED, log.replica.records["o"])
    callbacks.take(log.grow(event(EventType.PARENT_CHANGED, 10, "q", previous={"parent_id": None})))
    assert [parent for parent, _ in await children.heard(1)] == ["q"]
