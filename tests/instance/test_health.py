"""Failure detection: who is down, when, on what evidence, and what else may happen while a lapse is pending."""

from collections.abc import Callable

import pytest
import redis.asyncio

from hopper.instance.detection.pulse import local_ms
from hopper.instance.lifecycle import Lifecycle
from hopper.instance.monitor import Monitor
from hopper.model.health import Health
from hopper.model.hold import HoldLedger
from hopper.model.scope import Scope
from hopper.model.spec import InstanceSpec
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from instance.lapses import PROMPT_MS, TTL_MS, gated, leading, now_ms, passes, registered
from specs import spec
from waiting import wait_until

# -- down, suspect, stopped --------------------------------------------------------------------------------------------


async def test_an_instance_that_falls_silent_is_down_at_its_deadline_with_all_the_evidence(monitor, store, story):
    deadline_ms = await registered(store)
    event = await story.until("web", Health.DOWN)
    assert 0 <= event.at_ms - deadline_ms < PROMPT_MS
    assert (event.reason, event.actor, event.previous) == (
        "lapsed",
        "monitor",
        {"health": "healthy", "down_at_ms": None},
    )
    assert event.record.down_at_ms == event.at_ms
    evidence = dict(event.evidence)
    assert abs(evidence.pop("deadline_ms") - deadline_ms) < 20
    assert abs(evidence.pop("last_heartbeat_ms") - (deadline_ms - TTL_MS)) < 20
    assert abs(evidence.pop("lateness_ms") - (event.at_ms - deadline_ms)) < 20
    assert deadline_ms - 20 <= evidence.pop("noticed_ms") <= event.at_ms + 20
    assert evidence == {"lapsed": 1, "group_size": 1, "group": "orphans", "monitor": monitor.id}
    assert await store.client.smembers(store.keys.down) == {b"web"}


async def test_of_a_heartbeat_that_was_cut_short_the_evidence_does_not_claim_when_it_was_written(monitor, store, story):
    monitor.pulse.holds = HoldLedger()  # of a monitor that has led for longer than this TTL
    await registered(store, ttl_ms=20_000)
    await wait_until(lambda: monitor.detector.fleet.get("web") is not None)
    await store.client.pexpire(store.keys.heartbeat("web"), 1)
    event = await story.until("web", Health.DOWN)
    assert (event.reason, event.evidence["last_heartbeat_ms"]) == ("lapsed", None)
    assert event.evidence["deadline_ms"] <= event.at_ms


async def test_of_a_heartbeat_with_a_longer_ttl_the_evidence_does_not_claim_when_it_was_written(monitor, store, story):
    await store.register(spec("project", "web", ttl_ms=1_000))
    await store.client.set(store.keys.heartbeat("web"), "{}", px=2_500)
    event = await story.until("web", Health.DOWN)
    assert event.evidence["last_heartbeat_ms"] is None


async def test_an_instance_that_heartbeats_is_never_looked_at_by_a_verdict(monitor, store, story):
    await registered(store)
    await registered(store, "mute")
    for _ in range(4):
        await store.heartbeat("web", ttl_ms=TTL_MS)
        await passes(store.client, TTL_MS / 3)
    await story.until("mute", Health.DOWN)
    assert await story.verdicts("web") == []


async def test_one_that_heartbeats_again_is_healthy_within_half_a_second_or_so(monitor, store, story, client):
    await registered(store)
    await story.until("web", Health.DOWN)
    at_ms = await now_ms(client)
    await store.heartbeat("web", ttl_ms=TTL_MS)
    event = await story.until("web", Health.HEALTHY)
    assert event.at_ms - at_ms < 500 + PROMPT_MS
    assert (event.reason, event.record.down_at_ms) == ("heartbeat", None)
    assert event.evidence["down_ms"] > 0
    assert await store.client.smembers(store.keys.down) == set()
    await story.until("web", Health.DOWN, count=2)
    assert await story.verdicts("web") == ["down/lapsed", "healthy/heartbeat", "down/lapsed"]


async def test_with_a_grace_it_is_suspect_at_the_deadline_and_down_when_the_grace_ends(monitor, store, story):
    deadline_ms = await registered(store, grace_ms=1_200)
    suspect, down = await story.until("web", Health.SUSPECT), await story.until("web", Health.DOWN)
    assert (suspect.reason, down.reason) == ("grace", "lapsed")
    assert 0 <= suspect.at_ms - deadline_ms < PROMPT_MS
    assert 0 <= down.at_ms - (deadline_ms + 1_200) < PROMPT_MS
    assert suspect.record.down_at_ms is None
    assert down.evidence["deadline_ms"] == pytest.approx(suspect.evidence["deadline_ms"], abs=5)


async def test_a_heartbeat_within_the_grace_makes_it_healthy_and_it_was_never_down(monitor, store, story):
    await registered(store, grace_ms=2_000)
    await story.until("web", Health.SUSPECT)
    await store.heartbeat("web", ttl_ms=TTL_MS)
    await story.until("web", Health.HEALTHY)
    assert await story.verdicts("web") == ["suspect/grace", "healthy/heartbeat"]


async def test_a_lapse_while_stopping_is_stopped_even_within_a_grace(monitor, store, story):
    deadline_ms = await registered(store, grace_ms=5_000)
    await store.transition("web", Verb.STOP)
    event = await story.until("web", State.STOPPED)
    assert event.at_ms - deadline_ms < PROMPT_MS
    assert (event.record.health, event.record.stopped_at_ms) == (Health.UNKNOWN, event.at_ms)
    assert event.evidence["monitor"] == monitor.id
    await wait_until(lambda: monitor.detector.fleet.get("web") is None)


async def test_one_that_is_down_and_told_to_stop_is_stopped(monitor, store, story):
    await registered(store)
    await story.until("web", Health.DOWN)
    await store.transition("web", Verb.STOP)
    await story.until("web", State.STOPPED)
    assert await store.client.smembers(store.keys.down) == set()


async def test_an_instance_that_is_down_and_registers_again_is_watched_as_a_new_one(monitor, store, story):
    await registered(store)
    first = await story.until("web", Health.DOWN)
    deadline_ms = await registered(store)
    second = await story.until("web", Health.DOWN, count=2)
    assert second.record.incarnation > first.record.incarnation
    assert 0 <= second.at_ms - deadline_ms < PROMPT_MS
    assert await story.verdicts("web") == ["down/lapsed", "down/lapsed"]


async def test_one_that_stops_and_starts_again_is_watched_again(monitor, store, story):
    await registered(store)
    for verb in (Verb.STOP, Verb.STOPPED):
        await store.transition("web", verb)
    await wait_until(lambda: monitor.detector.fleet.get("web") is None)
    await store.transition("web", Verb.START)
    await story.until("web", Health.DOWN)


async def test_instances_that_were_down_before_the_monitor_came_recover_and_fall_as_any(settings, store, story):
    await registered(store, "web")
    async with leading(settings):
        await story.until("web", Health.DOWN)
    async with leading(settings):
        await store.heartbeat("web", ttl_ms=TTL_MS)
        await story.until("web", Health.HEALTHY)
        await story.until("web", Health.DOWN, count=2)


async def test_one_that_lapsed_while_no_monitor_ran_is_down_one_ttl_after_one_came(settings, store, story, client):
    await registered(store)
    await wait_until(lambda: expired(store, "web"))
    at_ms = await now_ms(client)
    async with leading(settings):
        event = await story.until("web", Health.DOWN)
    assert TTL_MS <= event.at_ms - at_ms < 2 * TTL_MS + PROMPT_MS


async def expired(store: InstanceStore, id: str) -> bool:
    return not await store.client.exists(store.keys.heartbeat(id))


# -- heartbeats that are not as they should be -------------------------------------------------------------------------


@pytest.mark.parametrize("px", [None, 50 * TTL_MS], ids=["without TTL", "of fifty TTLs"])
async def test_a_heartbeat_that_would_outlive_its_instance_is_cut_to_one_ttl(monitor, store, story, client, px):
    deadline_ms = await registered(store)
    await client.set(store.keys.heartbeat("web"), "{}", px=px)
    event = await story.until("web", Health.DOWN)
    assert TTL_MS <= event.at_ms - deadline_ms < TTL_MS + PROMPT_MS


async def test_a_ttl_that_is_lowered_cuts_the_heartbeat_that_stands_at_once(monitor, store, story, client):
    await registered(store, ttl_ms=600_000)
    await wait_until(lambda: monitor.detector.fleet.get("web") is not None)
    await Lifecycle(store).update("web", {"ttl_ms": TTL_MS})
    at_ms = await now_ms(client)
    event = await story.until("web", Health.DOWN)
    assert event.at_ms - at_ms < 2 * TTL_MS + PROMPT_MS


async def test_a_heartbeat_of_several_ttls_is_believed(monitor, store, story):
    deadline_ms = await registered(store)
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    event = await story.until("web", Health.DOWN)
    assert TTL_MS - 100 <= event.at_ms - deadline_ms < TTL_MS + PROMPT_MS


async def test_a_heartbeat_that_somebody_deletes_is_noticed_at_the_deadline_that_was_known(
    monitor, store, story, client
):
    deadline_ms = await registered(store)
    await client.delete(store.keys.heartbeat("web"))
    event = await story.until("web", Health.DOWN)
    assert 0 <= event.at_ms - deadline_ms < PROMPT_MS


async def test_a_heartbeat_of_a_shorter_ttl_is_missed_no_later_than_at_the_deadline_that_was_known(
    monitor, store, story, client
):
    deadline_ms = await registered(store)
    await client.pexpire(store.keys.heartbeat("web"), 300)
    event = await story.until("web", Health.DOWN)
    assert -TTL_MS + 300 <= event.at_ms - deadline_ms < PROMPT_MS


async def test_a_heartbeat_that_redis_evicted_holds_its_instance_for_one_ttl(monitor, store, story, client):
    deadline_ms = await registered(store)
    await registered(store, "api")
    await passes(client, 0.6 * TTL_MS)
    evicted_ms = await now_ms(client)
    await told(client, store, "web", "evicted")
    await client.delete(store.keys.heartbeat("web"))
    event = await story.until("web", Health.DOWN)
    assert evicted_ms + TTL_MS - 20 <= event.at_ms < evicted_ms + TTL_MS + PROMPT_MS
    assert (await story.until("api", Health.DOWN)).at_ms - deadline_ms < PROMPT_MS


async def told(client: redis.asyncio.Redis, store: InstanceStore, id: str | bytes, what: str) -> None:
    """Announce what befell a heartbeat, as Redis would."""
    prefix = f"__keyspace@0__:{store.keys.heartbeat('')}".encode()
    await client.publish(prefix + (id.encode() if isinstance(id, str) else id), what)


async def test_notifications_of_nobody_of_junk_and_of_the_living_change_nothing(monitor, store, story, client):
    await registered(store)
    for id in ("nobody", b"\xff\xfe", "web", ""):
        for what in ("expired", "evicted", "set"):
            await told(client, store, id, what)
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    await told(client, store, "web", "expired")
    await wait_until(lambda: monitor.detector.fleet.get("web").deadline_ms > local_ms() + 1.5 * TTL_MS)
    assert await story.verdicts("web") == []


# -- while a lapse is pending ------------------------------------------------------------------------------------------


def noticed(monitor: Monitor, id: str) -> Callable[[], bool]:
    """Whether a lapse of an instance is pending."""

    def pending() -> bool:
        watch = monitor.detector.fleet.get(id)
        return watch is not None and watch.lapsed_ms is not None

    return pending


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_registers_again_while_its_lapse_is_pending_is_not_judged(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await registered(store)
    gate.set()
    event = await story.until("web", Health.DOWN)
    record = await store.read("web")
    assert record is not None
    assert event.record.incarnation == record.incarnation
    assert event.at_ms >= record.started_at_ms + TTL_MS
    assert await story.verdicts("web") == ["down/lapsed"]


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_is_deregistered_while_its_lapse_is_pending_leaves_nothing_behind(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.deregister("web")
    gate.set()
    await registered(store, "api")
    await story.until("api", Health.DOWN)
    assert await story.verdicts("web") == []
    assert [watch.id for watch in monitor.detector.fleet] == ["api"]


@pytest.mark.parametrize("where", ["confirm", "expire"])
async def test_an_instance_that_heartbeats_while_its_lapse_is_pending_is_not_judged(
    where, monitor, store, story, monkeypatch
):
    gate = gated(monkeypatch, monitor.pulse if where == "confirm" else monitor._surveillance, where)
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.heartbeat("web", ttl_ms=2 * TTL_MS)
    gate.set()
    await wait_until(lambda: not noticed(monitor, "web")())
    assert await story.verdicts("web") == []
    assert monitor.detector.fleet.get("web").group.lapsed(local_ms()) == 0


async def test_one_that_moved_to_another_parent_while_its_verdict_was_on_the_way_is_watched_there(
    monitor, store, story, monkeypatch
):
    await store.register(InstanceSpec(id="top", scope=Scope.GLOBAL, ttl_ms=60_000))
    gate = gated(monkeypatch, monitor._surveillance, "expire")
    await registered(store)
    await wait_until(noticed(monitor, "web"))
    await store.link("web", "top")
    gate.set()
    await story.until("web", Health.DOWN)
    await wait_until(lambda: monitor.detector.fleet.get("web").group.name == "global")
    assert monitor.detector.fleet.get("web").health is Health.DOWN
