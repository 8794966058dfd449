"""Active checks by a leading monitor, against real servers."""

import contextlib
from typing import Any

import orjson
import pytest

from hopper.errors import Unavailable
from hopper.instance.duties.checking import Checking
from hopper.instance.health import HealthReports
from hopper.instance.history import History
from hopper.instance.monitor import Monitor
from hopper.model.health import Health
from hopper.model.hold import HoldLedger
from hopper.model.state import Verb
from hopper.model.story import tell
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from instance.lapses import Story, gated, leading, standing_by
from responder import responding
from servers import free_port
from specs import known, patching, spec
from waiting import wait_until

TTL_MS = 2_500
CHECK: dict[str, Any] = {"interval_s": 1, "timeout_s": 0.5, "threshold": 2}
HTTP: dict[str, Any] = {"http": "/healthz", **CHECK}

Heard = list[tuple[str, Health, dict[str, Any]]]


def checking_of(monitor: Monitor) -> Checking:
    return next(duty for duty in monitor._duties if isinstance(duty, Checking))


@pytest.fixture
def heard(monitor: Monitor) -> Heard:
    """What levels the checks of `monitor` find."""
    told: Heard = []
    checking_of(monitor)._report = lambda *said: told.append(said)
    return told


async def register(store: InstanceStore, address: str, check: dict[str, Any], id: str = "web", **fields: Any) -> None:
    fields = {"ttl_ms": TTL_MS, **fields}
    await store.register(spec("project", id, address=address, check=check, **fields))


async def beat_of(store: InstanceStore, id: str = "web") -> dict[str, Any]:
    value, _ = await store.read_heartbeat(id)
    return orjson.loads(value) if value else {}


async def is_vouched_for(store: InstanceStore, id: str = "web") -> bool:
    return "check" in await beat_of(store, id)


async def past(store: InstanceStore, ms: int, id: str = "web") -> None:
    """Wait until so much of Redis' time has passed since the record changed last."""
    from_ms = (await known(store, id)).updated_at_ms

    async def passed() -> bool:
        seconds, micros = await store.client.time()
        return seconds * 1000 + micros // 1000 - from_ms > ms

    await wait_until(passed, 20)


# -- alive -----------------------------------------------------------------------------------------------------------


async def test_one_whose_check_passes_lives_on_without_a_heartbeat_of_its_own(monitor, store, story, heard):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
        beat = await beat_of(store)
        assert (beat["check"], beat["response_time_ms"] > 0) == ("http", True)
        await past(store, 2 * TTL_MS)
        assert (await known(store, "web")).health is Health.HEALTHY
        assert await story.verdicts("web") == []
        assert set(server.paths) == {"/healthz"}
        assert 4 <= len(server.paths) <= 8
        assert {(id, level) for id, level, _ in heard} == {("web", Health.HEALTHY)}


async def test_a_connection_is_enough_for_tcp(monitor, store, story):
    async with responding() as server:
        await register(store, f"127.0.0.1:{server.port}", {"tcp": True, **CHECK})
        await past(store, TTL_MS + 500)
        assert (await known(store, "web")).health is Health.HEALTHY
        assert (await beat_of(store))["check"] == "tcp"


async def test_one_that_heartbeats_by_itself_keeps_its_metrics_and_outlives_them_by_its_check(monitor, store, story):
    """Its heartbeat would lapse between two checks: the one that is due before that comes sooner."""
    async with responding() as server:
        await register(store, server.url, {**HTTP, "interval_s": 4}, ttl_ms=9_000)
        await wait_until(lambda: is_vouched_for(store))
        await store.heartbeat("web", ttl_ms=6_000, value=b'{"queue_depth":7}')
        await wait_until(lambda: len(server.paths) >= 2)
        assert await beat_of(store) == {"queue_depth": 7}
        await past(store, 7_000)
        assert (await beat_of(store))["check"] == "http"
        assert await story.verdicts("web") == []


async def test_one_failure_below_the_threshold_is_no_lapse(monitor, store, story):
    async with responding() as server:
        await register(store, server.url, {**HTTP, "threshold": 4})
        await wait_until(lambda: is_vouched_for(store))
        await server.stop()

        async def has_failed() -> bool:
            return (await beat_of(store)).get("failures", 0) >= 2

        await wait_until(has_failed)
        assert "check: " in (await beat_of(store))["problem"]
        await server.start()
        await past(store, 2 * TTL_MS)
        assert await story.verdicts("web") == []
        assert "failures" not in await beat_of(store)


# -- silent ----------------------------------------------------------------------------------------------------------


async def test_one_that_answers_no_more_is_judged_as_any_other_and_comes_back_with_its_server(monitor, store, story):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
        await server.stop()
        down = await story.until("web", Health.DOWN, timeout_s=10)
        assert (down.reason, down.actor) == ("check", "monitor")
        assert (down.evidence["check"], down.evidence["failures"]) == ("http", 2)
        assert down.evidence["last_heartbeat_ms"] is None
        (reason,) = down.evidence["reasons"]
        assert reason.startswith("its check failed 2 times in a row: ")
        assert tell(down).startswith(f"healthy -> down: {reason}")
        await wait_until(lambda: monitor.view.replica.records["web"].health is Health.DOWN)
        log = ChangeLog(store.settings, client=store.client)
        assert reason in (await HealthReports(store, monitor.view, History(log)).instance("web")).reasons
        await server.start()
        await story.until("web", Health.HEALTHY, timeout_s=10)
        assert await story.verdicts("web") == ["down/check", "healthy/heartbeat"]


async def test_one_that_lapses_after_its_check_was_well_again_has_lapsed(monitor, store, story):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
        await server.stop()
        await story.until("web", Health.DOWN, timeout_s=10)
        await server.start()
        await story.until("web", Health.HEALTHY, timeout_s=10)
        await store.update("web", patching(check=None))
        assert (await story.until("web", Health.DOWN, count=2, timeout_s=10)).reason == "lapsed"


async def test_the_heartbeat_is_taken_back_at_the_threshold_and_does_not_last_its_ttl(monitor, store, story):
    monitor.pulse.holds = HoldLedger()  # of a monitor that has led for longer than this TTL
    async with responding() as server:
        await register(store, server.url, HTTP, ttl_ms=20_000)
        await wait_until(lambda: is_vouched_for(store))
        at_ms = (await known(store, "web")).updated_at_ms
        await server.stop()
        down = await story.until("web", Health.DOWN, timeout_s=10)
        assert down.at_ms - at_ms < 10_000


async def test_one_that_hangs_is_silent(monitor, store, story):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
        server.status = None
        await story.until("web", Health.DOWN, timeout_s=10)


async def test_one_that_heartbeats_by_itself_lives_though_its_check_fails(monitor, store, story):
    await register(store, f"127.0.0.1:{free_port()}", {"tcp": True, **CHECK})
    await store.heartbeat("web", ttl_ms=20_000, value=b'{"queue_depth":7}')
    await past(store, 2 * TTL_MS)
    assert await beat_of(store) == {"queue_depth": 7}
    assert await story.verdicts("web") == []


async def test_one_that_is_down_is_not_revived_by_the_first_failures_of_a_new_leader(settings, store, story):
    async with leading(settings):
        await register(store, f"127.0.0.1:{free_port()}", {**HTTP, "threshold": 5})
        await store.client.delete(store.keys.heartbeat("web"))
        await story.until("web", Health.DOWN, timeout_s=10)
    async with leading(settings) as monitor:
        await wait_until(lambda: "web" in checking_of(monitor)._running)
        await store.register(spec("project", "witness", ttl_ms=1_000))
        await story.until("witness", Health.DOWN, timeout_s=10)
    assert await story.verdicts("web") == ["down/lapsed"]


async def test_a_hold_keeps_who_is_silent_from_being_judged(monitor, store, story, monkeypatch):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
        gate = gated(monkeypatch, monitor._surveillance, "end_hold")
        monitor.pulse.hold("somebody asked for it")
        await server.stop()

        async def is_disavowed() -> bool:
            return not await store.client.exists(store.keys.heartbeat("web"))

        await wait_until(is_disavowed)
        assert (await known(store, "web")).health is Health.HEALTHY
        gate.set()
        await story.until("web", Health.DOWN, timeout_s=10)


# -- not well --------------------------------------------------------------------------------------------------------


async def test_one_that_answers_badly_is_alive_and_reported_unhealthy_until_it_is_well(monitor, store, story, heard):
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: heard)
        server.status = 503
        await wait_until(lambda: heard[-1][1] is Health.UNHEALTHY)
        _, _, evidence = heard[-1]
        assert (evidence["check"], evidence["failures"], evidence["problem"]) == ("http", 2, "check: status 503")
        await past(store, 2 * TTL_MS)
        assert await story.verdicts("web") == []
        server.status = 200
        await wait_until(lambda: heard[-1][1] is Health.HEALTHY)


async def test_one_whose_check_is_taken_away_is_reported_well_and_has_to_heartbeat(monitor, store, story, heard):
    async with responding(status=500) as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: heard and heard[-1][1] is Health.UNHEALTHY)
        await store.update("web", patching(check=None))
        await wait_until(lambda: heard[-1][1:] == (Health.HEALTHY, {"check": None}))
        await story.until("web", Health.DOWN, timeout_s=10)


# -- whom, and when --------------------------------------------------------------------------------------------------


async def test_the_first_check_waits_for_no_interval(monitor, store):
    async with responding() as server:
        await register(store, server.url, {**HTTP, "interval_s": 30}, ttl_ms=60_000)
        await wait_until(lambda: is_vouched_for(store))


async def test_one_that_registers_before_a_new_leader_has_looked_waits_neither(monitor, store, monkeypatch):
    """The spread of all others is as wide as it can be."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    async with responding() as server:
        await register(store, server.url, {**HTTP, "interval_s": 30}, "old", ttl_ms=60_000)
        await wait_until(lambda: server.paths)
        checking = checking_of(monitor)
        settle = checking._settle
        monkeypatch.setattr(checking, "_settle", lambda *_: None)
        checking.begin()
        await register(store, server.url, {**HTTP, "interval_s": 30}, ttl_ms=60_000)
        await wait_until(lambda: "web" in checking._changed)
        monkeypatch.setattr(checking, "_settle", settle)
        await wait_until(lambda: is_vouched_for(store))
        assert "old" in checking._running


async def test_a_check_begins_with_the_registration_and_ends_with_the_instance(monitor, store):
    running = checking_of(monitor)._running
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: "web" in running)
        await store.transition("web", Verb.FAIL)
        await wait_until(lambda: "web" not in running)
        await store.transition("web", Verb.START)
        await wait_until(lambda: "web" in running)
        await store.deregister("web")
        await wait_until(lambda: "web" not in running)


async def test_another_address_is_checked_from_now_on_and_another_event_changes_nothing(monitor, store):
    running = checking_of(monitor)._running
    async with responding() as first, responding() as second:
        await register(store, first.url, HTTP)
        await wait_until(lambda: first.paths)
        task = running["web"][1]
        await store.update("web", patching(version="2"))
        await wait_until(lambda: monitor.view.replica.records["web"].version == "2")
        await wait_until(lambda: len(first.paths) >= 2)
        assert running["web"][1] is task
        await store.update("web", patching(address=second.url))
        await wait_until(lambda: second.paths)
        assert running["web"][1] is not task


async def test_a_new_leader_checks_whoever_is_there(settings, store, story):
    async with responding() as server:
        async with leading(settings):
            await register(store, server.url, HTTP)
            await wait_until(lambda: is_vouched_for(store))
        server.paths.clear()
        async with leading(settings):
            await wait_until(lambda: server.paths, 2)
            await past(store, TTL_MS)
        assert await story.verdicts("web") == []


async def test_a_standby_checks_nobody(settings, store, monitor):
    async with standing_by(settings) as standby, responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: len(server.paths) >= 2)
        await wait_until(lambda: "web" in standby.view.replica.records)
        assert not checking_of(standby)._running
        assert not checking_of(standby)._changed


async def test_who_finds_no_slot_in_time_lives_on(new_settings, story):
    settings = new_settings(checks_at_once=1)
    async with contextlib.aclosing(InstanceStore(settings)) as store, contextlib.aclosing(Story(settings)) as told:
        await store.open()
        async with leading(settings) as monitor, responding() as server:
            await register(store, server.url, HTTP)
            await wait_until(lambda: is_vouched_for(store))
            slots = checking_of(monitor)._slots
            await slots.acquire()
            await past(store, 2 * TTL_MS)
            assert (await known(store, "web")).health is Health.HEALTHY
            assert await told.verdicts("web") == []
            slots.release()


async def test_a_fault_of_redis_or_of_one_check_ends_no_other(monitor, store, story, monkeypatch):
    original, faults = monitor._store.vouch, [Unavailable("away"), ZeroDivisionError("a fault of Hopper")]

    async def fails(id: str, **more: Any) -> Any:
        if faults and id == "web":
            raise faults.pop()
        return await original(id, **more)

    monkeypatch.setattr(monitor._store, "vouch", fails)
    async with responding() as server:
        await register(store, server.url, HTTP, ttl_ms=10_000)
        await wait_until(lambda: is_vouched_for(store))
        assert faults == []


async def test_a_record_whose_check_has_no_place_keeps_nobody_else_from_being_checked(monitor, store, story):
    await store.register(spec("project", "odd", ttl_ms=TTL_MS))
    await store.client.hset(store.keys.record("odd"), "check", orjson.dumps({"kind": "http"}))
    await store.transition("odd", Verb.PAUSE)
    async with responding() as server:
        await register(store, server.url, HTTP)
        await wait_until(lambda: is_vouched_for(store))
    await story.until("odd", Health.DOWN, timeout_s=10)
