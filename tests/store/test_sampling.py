"""Assessments of instances that are alive, and walks over all heartbeats."""

import pytest

from census import events
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.sampling import Assessment, SampleStore
from servers import dump
from specs import known, spec

pytestmark = pytest.mark.usefixtures("agrees")

ME = "monitor-1"


@pytest.fixture
async def samples(store: InstanceStore) -> SampleStore:
    """A store for the leading monitor, and `web` as incarnation 1."""
    await store.register(spec("project", "web"))
    await store.client.set(store.keys.monitor, ME, px=60_000)
    return SampleStore(store.settings, client=store.client)


def of_web(health: Health, incarnation: int = 1) -> Assessment:
    return Assessment("web", incarnation, health.value, "thresholds", {"metric": "queue_depth", "value": 7})


@pytest.mark.parametrize("health", [Health.DEGRADED, Health.UNHEALTHY], ids=str)
async def test_an_assessment_is_one_event_with_its_evidence_and_a_repeat_is_none(health, store, samples):
    assert await samples.assess([of_web(health)], monitor_id=ME) == [["assessed", "2"]]
    (event,) = await events(store, since=1)
    assert (event.type, event.reason, event.actor) == (EventType.HEALTH_CHANGED, "thresholds", "monitor")
    assert event.evidence == {"metric": "queue_depth", "value": 7}
    assert event.previous == {"health": "healthy"}
    assert (await known(store, "web")).health is health
    before = await dump(store.client, store.settings.namespace)
    assert await samples.assess([of_web(health)], monitor_id=ME) == [["repeat", 0]]
    assert await dump(store.client, store.settings.namespace) == before


@pytest.mark.parametrize("health", ["suspect", "down"])
async def test_one_that_has_lapsed_is_left_alone(health, store, samples, tampered):
    await store.client.hset(store.keys.record("web"), "health", health)
    tampered.append("web")
    before = await dump(store.client, store.settings.namespace)
    assert await samples.assess([of_web(Health.HEALTHY)], monitor_id=ME) == [["lapsed", 0]]
    assert await dump(store.client, store.settings.namespace) == before


async def test_one_that_is_not_monitored_or_gone_is_left_alone(store, samples):
    await store.transition("web", Verb.FAIL)
    assert await samples.assess([of_web(Health.DEGRADED)], monitor_id=ME) == [["unmonitored", 0]]
    await store.deregister("web")
    assert await samples.assess([of_web(Health.DEGRADED)], monitor_id=ME) == [["gone", 0]]
    assert (await store.position()).revision == 3


async def test_each_of_a_batch_has_an_answer_of_its_own(store, samples):
    await store.register(spec("project", "api"))
    answers = await samples.assess(
        [
            of_web(Health.DEGRADED, incarnation=9),
            Assessment("api", 2, "unhealthy", "check", {}),
            Assessment("nobody", 2, "unhealthy", "check", {}),
        ],
        monitor_id=ME,
    )
    assert [answer if isinstance(answer, list) else answer.code for answer in answers] == [
        "stale-incarnation",
        ["assessed", "3"],
        ["gone", 0],
    ]


# -- walks -------------------------------------------------------------------------------------------------------------


async def walked(samples: SampleStore) -> dict[str, bytes]:
    """What a whole walk finds."""
    found, cursor = {}, 0
    while True:
        scanned = await samples.scan_heartbeats(cursor)
        found |= scanned.values
        cursor = scanned.cursor
        if cursor == 0:
            return found


async def test_a_walk_finds_every_heartbeat_of_the_namespace_and_no_other_key(store, samples, new_settings, tampered):
    async with samples.client.pipeline() as pipe:
        for number in range(2500):
            pipe.set(store.keys.heartbeat(f"stray-{number}"), str(number), px=60_000)
        pipe.set(f"hopper:{{{new_settings().namespace}}}:heartbeat:other", "{}", px=60_000)
        await pipe.execute()
    tampered.append("heartbeats")
    found = await walked(samples)
    assert found.pop("web") == b"{}"
    assert found == {f"stray-{number}": b"%d" % number for number in range(2500)}
    assert await samples.size() > 2500


async def test_the_strays_that_are_put_are_all_there_are(samples):
    await samples.put_strays({"a": {"kind": "no-record"}, "b": {"kind": "no-record"}})
    await samples.put_strays({"b": {"kind": "not-monitored", "incarnation": 3}})
    assert await samples.strays() == {"b": {"kind": "not-monitored", "incarnation": 3}}
    await samples.put_strays({})
    assert await samples.strays() == {}
