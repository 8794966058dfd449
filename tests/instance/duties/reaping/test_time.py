"""When: one that is down goes once it has been so for as long as its record allows."""

from typing import Any

import pytest

from hopper.instance.monitor import Monitor
from hopper.instance.replica import Replica
from hopper.model.health import Health
from hopper.model.selector import Selector
from hopper.model.state import Verb
from instance.duties.reaping.graves import (
    AT_ONCE,
    HOUR_MS,
    gone,
    is_gone,
    reaping_of,
    stays_while_another_goes,
)
from instance.lapses import leading, registered, standing_by
from specs import known
from waiting import wait_until


async def test_one_that_is_down_for_as_long_as_its_record_allows_goes(monitor, store, story):
    await registered(store, deregister_after_ms=1_200)
    down = await story.until("web", Health.DOWN)
    await wait_until(lambda: is_gone(store))
    event = await gone(story)
    assert (event.reason, event.actor) == ("reaped", "monitor")
    assert event.at_ms - down.at_ms >= 1_150
    assert event.evidence["down_ms"] == event.at_ms - event.evidence["down_at_ms"]


async def test_at_once_is_after_the_guard_could_know(settings, store, story):
    async with leading(settings.model_copy(update={"guard_settle_s": 1.0})):
        await registered(store, **AT_ONCE)
        down = await story.until("web", Health.DOWN)
        await wait_until(lambda: is_gone(store))
    assert (await gone(story)).at_ms - down.at_ms >= 950


async def test_one_that_may_be_down_for_ever_stays(monitor, store, story):
    await registered(store)
    await story.until("web", Health.DOWN)
    await stays_while_another_goes(store)


@pytest.mark.parametrize("verb", [Verb.FAIL, Verb.STOP], ids=str)
async def test_what_has_failed_or_stopped_is_not_reaped(verb, monitor, store, story):
    await registered(store, **AT_ONCE)
    await store.transition("web", verb)
    await registered(store, "witness", **AT_ONCE)
    await wait_until(lambda: is_gone(store, "witness"), 20)
    assert (await known(store, "web")).state in {"failed", "stopped"}


async def test_a_look_is_at_those_that_are_down_only_and_a_standby_looks_at_nobody(settings, store, story, monkeypatch):
    selected: list[Selector] = []
    original = Replica.select

    def select(replica: Replica, selector: Selector) -> Any:
        selected.append(selector)
        return original(replica, selector)

    async with leading(settings) as monitor:
        await registered(store, "well", ttl_ms=60_000)
        await registered(store, deregister_after_ms=HOUR_MS)
        await story.until("web", Health.DOWN)
        async with standing_by(settings) as standby:
            await wait_until(lambda: "web" in reaping_of(standby)._graves)
            looked: dict[Monitor, list[str]] = {monitor: [], standby: []}
            for one, ids in looked.items():
                monkeypatch.setattr(reaping_of(one), "_is_ripe", lambda record, _, ids=ids: ids.append(record.id))
                monkeypatch.setattr(reaping_of(one), "_bury", lambda record, ids=ids: ids.append(f"bury {record.id}"))
            monkeypatch.setattr(Replica, "select", select)
            await wait_until(lambda: len(looked[monitor]) >= 4)
    assert set(looked[monitor]) == {"web"}
    assert looked[standby] == []
    assert Selector(health=frozenset({Health.DOWN})) not in selected
