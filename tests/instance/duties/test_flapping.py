"""Flapping: the leading monitor ends it after a quiet window."""

from collections.abc import Callable

import pytest

from hopper import Settings
from hopper.errors import Unavailable
from hopper.model.event import Event
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from instance.lapses import TTL_MS, Story, leading, registered
from specs import known
from waiting import wait_until

WINDOW_S = 3.0


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(flap_count=2, flap_window_s=WINDOW_S, recovery_ms=50)


async def flap(store: InstanceStore, story: Story, times: int) -> None:
    """Let an instance go down and come back so often; it then lives on for a minute."""
    await registered(store)
    for count in range(1, times + 1):
        await store.client.delete(store.keys.heartbeat("web"))
        await story.until("web", Health.DOWN, count=count)
        left_ms = 60_000 if count == times else TTL_MS
        await store.heartbeat("web", ttl_ms=left_ms)
        await story.until("web", Health.HEALTHY, count=count)


async def is_calm(store: InstanceStore) -> bool:
    return not (await known(store, "web")).flapping


async def quiet(story: Story) -> Event:
    (event,) = [event for event in await story.of("web") if event.reason == "quiet"]
    return event


async def last_recovery_ms(story: Story) -> int:
    return [event for event in await story.of("web") if event.reason == "heartbeat"][-1].at_ms


async def test_one_that_went_down_and_came_back_too_often_is_flapping_until_it_was_quiet(monitor, store, story):
    await flap(store, story, 2)
    assert not await is_calm(store)
    await wait_until(lambda: is_calm(store))
    assert (await quiet(story)).at_ms - await last_recovery_ms(story) >= WINDOW_S * 1000


async def test_a_new_leader_ends_what_began_before_it(settings, store, story):
    async with leading(settings):
        await flap(store, story, 2)
    async with leading(settings):
        await wait_until(lambda: is_calm(store))
    assert (await quiet(story)).at_ms - await last_recovery_ms(story) >= WINDOW_S * 1000


async def test_a_fault_of_redis_keeps_nobody_flapping_for_ever(monitor, store, story, monkeypatch):
    original, failures = monitor._surveillance.calm, []

    async def fails_once(flapping: list[tuple[str, int]], **more: str) -> object:
        if not failures:
            failures.append(flapping)
            raise Unavailable("away")
        return await original(flapping, **more)

    monkeypatch.setattr(monitor._surveillance, "calm", fails_once)
    await flap(store, story, 2)
    await wait_until(lambda: is_calm(store))
    assert len(failures) == 1
