"""Gaps in the log of a view: never a silent hole, and no snapshot too many."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.model.event import Event, EventType
from hopper.model.spec import apply_patch
from hopper.model.state import Verb
from hopper.store.keys import Keys
from hopper.store.surveillance import SurveillanceStore
from instance.view.viewers import Viewer, viewer, writer
from specs import spec
from waiting import wait_until


async def behind(one: Viewer, act: Callable[[], Any]) -> None:
    """Do something while the view does not read, so that it comes to it late."""
    hold = asyncio.Event()
    follow = one.log.follow

    async def waiting_follow(after: int) -> list[Event]:
        await hold.wait()
        return await follow(after)

    one.log.follow = waiting_follow  # type: ignore[method-assign]
    await one.store.transition("g", Verb.PAUSE)  # ends the read under way
    await wait_until(lambda: one.view.replica.records["g"].state == "paused")
    await act()
    one.log.follow = follow  # type: ignore[method-assign]
    hold.set()


@pytest.mark.parametrize("lose", ["trimmed by the log's length", "trimmed by hand", "deleted"])
async def test_a_log_that_lost_what_comes_next_means_a_new_snapshot_and_a_difference(lose, new_settings, client):
    settings = new_settings(log_length=100, log_block_ms=100)
    keys = Keys(settings.namespace)
    async with writer(settings) as store, viewer(settings) as one:
        await store.register(spec("global", "g"))
        await store.register(spec("project", "p", parent_id="g"))
        await wait_until(lambda: one.ids == {"g", "p"})
        one.events.clear()

        async def act() -> None:
            await store.deregister("p")
            for number in range(300 if "length" in lose else 3):
                await store.register(spec("project", f"n{number}", parent_id="g"))
            if "hand" in lose:
                await client.xtrim(keys.events, maxlen=1, approximate=False)
            elif lose == "deleted":
                await client.delete(keys.events)
            await store.update("g", lambda record: apply_patch(record, {"version": "2"})) if "hand" in lose else None

        await behind(one, act)
        await wait_until(lambda: one.view.reloads == 2)
        await one.agrees(client)
        told = one.told(resync=True)
        assert told[0] == (EventType.DEREGISTERED, "p")
        assert (EventType.REGISTERED, "n0") in told
        assert len(told) == len(set(told))


async def test_holds_and_guards_that_changed_in_a_gap_are_told_though_no_record_did(tree, client, settings):
    async with viewer(settings) as one, contextlib.aclosing(SurveillanceStore(settings)) as leader:
        await leader.pulse("m")
        await leader.start_hold(monitor_id="m", reason="a stall", since_ms=1)
        await leader.raise_guard("project:p", monitor_id="m", reason="many", evidence={"group": "project:p"})
        await wait_until(lambda: one.view.replica.guards)

        async def act() -> None:
            one.events.clear()
            await leader.end_hold(monitor_id="m", reason="it works")
            await tree.release_guard("project:p")
            await leader.raise_guard("orphans", monitor_id="m", reason="many", evidence={"group": "orphans"})
            await client.delete(one.store.keys.events)

        await behind(one, act)
        await wait_until(lambda: one.view.reloads == 2)
        kinds = (EventType.HOLD_ENDED, EventType.GUARD_RELEASED, EventType.GUARD_RAISED)
        assert one.told(resync=True) == [(kind, None) for kind in kinds]
        assert [event.evidence.get("group") for event in one.events] == [None, "project:p", "orphans"]
        assert (list(one.view.replica.guards), one.view.replica.hold) == (["orphans"], None)
        await leader.resign("m")


async def test_a_log_that_lost_what_was_read_already_is_no_gap(tree, client, settings):
    async with viewer(settings) as one:
        await client.delete(one.store.keys.events)
        await tree.register(spec("project", "q"))
        await wait_until(lambda: "q" in one.ids)
        assert one.view.reloads == 1
        assert one.told(resync=False) == [(EventType.REGISTERED, "q")]


async def test_scripts_that_were_flushed_are_sent_again(tree, client, settings):
    async with viewer(settings) as one:
        await client.script_flush()
        await tree.register(spec("project", "q"))
        await one.view.catch_up()
        assert "q" in one.ids


async def test_a_strange_entry_of_the_log_costs_one_snapshot_and_is_said(tree, client, settings):
    with capture_logs() as logs:
        async with viewer(settings) as one:
            async with client.pipeline(transaction=True) as pipe:
                pipe.xadd(one.store.keys.events, {"what": "is this"}, id="4-0").set(one.store.keys.revision, 4)
                await pipe.execute()
            await wait_until(lambda: one.view.reloads == 2)
            await tree.register(spec("project", "q"))
            await wait_until(lambda: "q" in one.ids)
            await asyncio.sleep(0)
            assert (one.view.reloads, one.view.complete, one.view.trouble) == (2, True, None)
    assert "4-0" in next(entry["detail"] for entry in logs if entry["event"] == "view.fault")


async def test_an_entry_that_nobody_can_pass_does_not_spin_and_keeps_what_is_there(tree, client, settings):
    """An id that Redis made up lies beyond every revision: nothing can follow it, and each snapshot meets it again."""
    async with viewer(settings) as one:
        await client.xadd(one.store.keys.events, {"what": "is this"})
        began = time.monotonic()
        await wait_until(lambda: one.view.reloads >= 4)
        assert time.monotonic() - began > 0.05 + 0.1 + 0.2 - 0.01
        assert one.view._pause_s >= 0.4
        assert one.ids == {"g", "p", "o"}
        await client.delete(one.store.keys.events)
        one.view._pause_s = 0.05
        await tree.register(spec("project", "q"))
        await wait_until(lambda: "q" in one.ids)
