"""Flap history: recoveries from down are noted, and one too many of them makes an instance flapping."""

import orjson
import pytest

from census import events
from hopper.store.instances import InstanceStore
from hopper.store.surveillance import SurveillanceStore
from specs import known, spec
from store.verdicts import judge, revive

pytestmark = pytest.mark.usefixtures("agrees")

WINDOW_MS = 300_000


@pytest.fixture
async def web(store: InstanceStore) -> InstanceStore:
    await store.register(spec("project", "web"))
    return store


async def flap(store: InstanceStore, surveillance: SurveillanceStore, times: int) -> None:
    for _ in range(times):
        await judge(store, surveillance, "web")
        assert await revive(store, surveillance, "web") == "recovered"


async def history(store: InstanceStore) -> list[int]:
    noted = await store.client.hget(store.keys.restarts("web"), "flaps")
    return orjson.loads(noted or b"[]")


async def write_history(store: InstanceStore, *ago_ms: int) -> None:
    now_ms = (await known(store, "web")).updated_at_ms
    times = [now_ms - ago for ago in ago_ms]
    await store.client.hset(store.keys.restarts("web"), "flaps", orjson.dumps(times))


async def test_the_third_recovery_within_the_window_makes_it_flapping_in_the_same_event(web, surveillance):
    await flap(web, surveillance, 2)
    assert not (await known(web, "web")).flapping
    before = (await web.position()).revision
    await flap(web, surveillance, 1)
    assert (await known(web, "web")).flapping
    assert (await web.position()).revision == before + 2
    event = (await events(web))[-1]
    assert (event.type, event.previous["flapping"], event.evidence["flaps"]) == ("health_changed", False, 3)
    assert event.evidence["down_ms"] >= 0
    assert await history(web) == [event.at_ms for event in await events(web) if event.reason == "heartbeat"]


async def test_the_history_holds_no_more_than_counts(web, surveillance):
    await flap(web, surveillance, 5)
    assert len(await history(web)) == 3


async def test_a_recovery_from_suspect_is_none(web, surveillance):
    for _ in range(4):
        await judge(web, surveillance, "web", "suspect")
        await revive(web, surveillance, "web")
    assert await history(web) == []
    assert not (await known(web, "web")).flapping


async def test_recoveries_before_the_window_count_no_more(web, surveillance):
    await write_history(web, WINDOW_MS + 1, WINDOW_MS + 1)
    await flap(web, surveillance, 1)
    assert not (await known(web, "web")).flapping
    assert len(await history(web)) == 1


@pytest.mark.parametrize("kept", ["nonsense", "5", '{"a":1}', '["x",null]', "[9999999999999,9999999999999]"])
async def test_a_history_that_cannot_be_is_none(kept, web, surveillance):
    await web.client.hset(web.keys.restarts("web"), "flaps", kept)
    await flap(web, surveillance, 1)
    assert len(await history(web)) == 1


async def test_what_else_the_ledger_holds_is_left_alone(web, surveillance):
    await web.client.hset(web.keys.restarts("web"), "other", "kept")
    await flap(web, surveillance, 3)
    await surveillance.calm([("web", 1)])
    assert await web.client.hget(web.keys.restarts("web"), "other") == b"kept"


async def test_it_stays_flapping_until_the_window_has_been_quiet(web, surveillance):
    await flap(web, surveillance, 3)
    ((outcome, left_ms),) = await surveillance.calm([("web", 1)])
    assert outcome == "restless"
    assert WINDOW_MS - 5_000 < left_ms <= WINDOW_MS
    await write_history(web, WINDOW_MS + 1)
    assert await surveillance.calm([("web", 1)], reason="quiet", actor="monitor") == [["calm", 0]]
    event = (await events(web))[-1]
    assert (event.type, event.reason, event.actor, event.previous) == (
        "updated", "quiet", "monitor", {"flapping": True},
    )  # fmt: skip
    assert not (await known(web, "web")).flapping
    assert await surveillance.calm([("web", 1)]) == [["repeat", 0]]


async def test_one_that_went_down_within_the_window_is_not_quiet(web, surveillance):
    await flap(web, surveillance, 3)
    await judge(web, surveillance, "web")
    await write_history(web, WINDOW_MS + 1)
    ((outcome, left_ms),) = await surveillance.calm([("web", 1)])
    assert (outcome, left_ms > WINDOW_MS - 5_000) == ("restless", True)


async def test_a_registration_ends_no_flapping_and_a_stopped_one_becomes_calm_all_the_same(web, surveillance):
    await flap(web, surveillance, 3)
    again = await web.register(spec("project", "web", state="stopped"))
    assert (await known(web, "web")).flapping
    await write_history(web, WINDOW_MS + 1)
    assert await surveillance.calm([("web", again.incarnation)]) == [["calm", 0]]
