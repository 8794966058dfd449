"""Strays: heartbeats of nobody, of who is not monitored, and of former incarnations, as two walks have found them."""

from typing import Any

import orjson
import pytest

from hopper import InstanceRegistry, Settings
from hopper.instance.duties import strays as module
from hopper.instance.duties.duty import Post
from hopper.instance.duties.strays import Strays
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.sampling import SampleStore
from instance.lapses import leading, now_ms
from specs import known, spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"strays_s": 0.1})


async def beat(store: InstanceStore, id: str, value: Any = None) -> None:
    await store.heartbeat(id, ttl_ms=60_000, value=orjson.dumps(value or {}))


async def kinds(store: InstanceStore) -> dict[str, str]:
    return {id: stray["kind"] for id, stray in (await store.strays()).items()}


async def are(store: InstanceStore, expected: dict[str, str]) -> bool:
    return await kinds(store) == expected


async def test_a_heartbeat_of_nobody_is_a_stray_until_it_is_gone(monitor, store, client):
    at_ms = await now_ms(client)
    await store.register(spec("project", "web"))
    await beat(store, "ghost", {"incarnation": 7})
    await wait_until(lambda: are(store, {"ghost": "no-record"}))
    stray = (await store.strays())["ghost"]
    assert stray["incarnation"] == 7
    assert at_ms <= stray["seen_at_ms"] <= await now_ms(client)
    await client.delete(store.keys.heartbeat("ghost"))
    await wait_until(lambda: are(store, {}))


async def test_a_heartbeat_of_nobody_is_none_once_it_has_a_record(monitor, store):
    await beat(store, "late")
    await wait_until(lambda: are(store, {"late": "no-record"}))
    await store.register(spec("project", "late", ttl_ms=60_000))
    await wait_until(lambda: are(store, {}))


@pytest.mark.parametrize("verb", [Verb.FAIL, None], ids=["failed", "created"])
async def test_a_heartbeat_of_one_that_is_not_monitored_is_a_stray(verb, monitor, store):
    await store.register(spec("project", "web", state="running" if verb else "created"))
    if verb is not None:
        await store.transition("web", verb)
    await beat(store, "web")
    await wait_until(lambda: are(store, {"web": "not-monitored"}))
    await store.transition("web", Verb.START)
    await wait_until(lambda: are(store, {}))


async def test_whoever_heartbeats_properly_or_says_no_incarnation_is_no_stray(monitor, store):
    for id in ("web", "api", "odd"):
        await store.register(spec("project", id, ttl_ms=60_000))
    await beat(store, "web", {"incarnation": (await known(store, "web")).incarnation})
    await beat(store, "api", {"queue_depth": 5})
    await store.heartbeat("odd", ttl_ms=60_000, value=b"garbage")
    await beat(store, "ghost")
    await wait_until(lambda: are(store, {"ghost": "no-record"}))


async def test_a_new_leader_goes_on_from_what_was_found(settings, store, client, monkeypatch):
    async with leading(settings):
        await beat(store, "ghost")
        await beat(store, "gone")
        await wait_until(lambda: are(store, {"ghost": "no-record", "gone": "no-record"}))
    await client.delete(store.keys.heartbeat("gone"))
    puts: list[list[str]] = []
    original = SampleStore.put_strays

    async def noted(samples: SampleStore, strays: Any) -> None:
        puts.append(list(strays))
        await original(samples, strays)

    monkeypatch.setattr(SampleStore, "put_strays", noted)
    async with leading(settings):
        await wait_until(lambda: len(puts) > 2)
    assert puts == [["ghost"]] * len(puts)


@pytest.mark.parametrize("kind", ["no-record", "not-monitored"])
async def test_what_the_log_contradicts_is_taken_back_before_the_next_walk(kind, settings, store, client):
    if kind == "not-monitored":
        await store.register(spec("project", "m1", state="created"))
    await beat(store, "m1")
    await beat(store, "ghost")
    for id in ("m1", "ghost"):
        told = {"kind": kind if id == "m1" else "no-record", "incarnation": None, "seen_at_ms": 5}
        await client.hset(store.keys.strays, id, orjson.dumps(told))
    async with leading(settings.model_copy(update={"strays_s": 600})) as monitor:
        strays = next(duty for duty in monitor._duties if duty.name == "strays")
        await wait_until(lambda: set(strays._told) == {"m1", "ghost"})
        await store.register(spec("project", "m1"))
        await wait_until(lambda: are(store, {"ghost": "no-record"}))


async def test_one_that_registers_while_a_walk_goes_on_is_not_named_at_its_end(settings, store):
    async with leading(settings.model_copy(update={"strays_s": 3})) as monitor:
        strays = next(duty for duty in monitor._duties if duty.name == "strays")
        await beat(store, "m1")
        await beat(store, "ghost")
        await wait_until(lambda: "m1" in strays._seen and strays._seen["m1"].confirmed, 10)
        await store.register(spec("project", "m1"))
        await wait_until(lambda: kinds(store), 10)
        assert await kinds(store) == {"ghost": "no-record"}


async def test_what_somebody_else_wrote_there_is_replaced(settings, store, client):
    await client.set(store.keys.strays, "nonsense")
    async with leading(settings):
        await beat(store, "ghost")
        await wait_until(lambda: client.type(store.keys.strays), message="replaced")

        async def replaced() -> bool:
            return await client.type(store.keys.strays) == b"hash"

        await wait_until(replaced)
        assert await kinds(store) == {"ghost": "no-record"}


async def test_no_more_than_the_limit_are_kept(settings, store, monkeypatch):
    monkeypatch.setattr(module, "MAX_STRAYS", 3)
    for number in range(5):
        await beat(store, f"ghost-{number}")
    async with leading(settings):
        await wait_until(lambda: are(store, {f"ghost-{number}": "no-record" for number in range(3)}))


async def test_a_walk_over_a_large_database_finds_them_all(settings, store, client):
    async with client.pipeline() as pipe:
        for number in range(3000):
            pipe.set(f"other:{number}", "x", px=60_000)
        await pipe.execute()
    for number in range(20):
        await beat(store, f"ghost-{number}")
    async with leading(settings):
        await wait_until(lambda: are(store, {f"ghost-{number}": "no-record" for number in range(20)}))
    await client.delete(*(f"other:{number}" for number in range(3000)))


async def test_health_shows_strays_and_only_an_old_incarnation_degrades_it(monitor, settings, store, client):
    async with InstanceRegistry(settings) as registry:
        await registry.register(scope="global", id="g", ttl_ms=60_000)
        await beat(store, "ghost")
        await wait_until(lambda: are(store, {"ghost": "no-record"}))
        summary = await registry.health(consistent=True)
        assert (summary.status, summary.strays["ghost"]["kind"]) == ("ok", "no-record")
        await registry.register(scope="global", id="g", ttl_ms=60_000)
        await beat(store, "g", {"incarnation": 1})
        await wait_until(lambda: are(store, {"ghost": "no-record", "g": "old-incarnation"}))
        assert (await registry.health()).status == "degraded"
        (problem,) = (await registry.health("g")).problems
        assert problem.startswith("the heartbeat is of incarnation 1, and the instance is ")


# -- walk by walk ------------------------------------------------------------------------------------------------------


class Walker:
    """The duty, walking when it is told to, on the view of a registry."""

    def __init__(self, registry: InstanceRegistry, store: InstanceStore) -> None:
        samples = SampleStore(store.settings, client=store.client)
        self._duty = Strays(Post(store.settings, registry.view, "monitor-1", leads=lambda: True), samples)
        self._store = store

    async def begin(self) -> None:
        self._duty.begin()
        await self._duty._inherit()

    async def walk(self) -> dict[str, str]:
        """One walk; answers what Redis holds after it."""
        assert await self._duty._go(0.0)
        await self._duty._tell()
        return await kinds(self._store)


@pytest.fixture
async def walker(registry: InstanceRegistry, store: InstanceStore) -> Walker:
    made = Walker(registry, store)
    await made.begin()
    return made


async def test_one_look_is_not_enough(walker, store):
    await beat(store, "ghost")
    assert await walker.walk() == {}
    assert await walker.walk() == {"ghost": "no-record"}


async def test_a_look_long_ago_does_not_count(walker, store, client):
    await beat(store, "ghost")
    assert await walker.walk() == {}
    await client.delete(store.keys.heartbeat("ghost"))
    assert await walker.walk() == {}
    await beat(store, "ghost")
    assert await walker.walk() == {}


async def test_a_new_leader_confirms_what_was_found_with_its_first_walk(walker, registry, store, client):
    for id in ("ghost", "gone"):
        await beat(store, id)
    await walker.walk()
    assert await walker.walk() == {"ghost": "no-record", "gone": "no-record"}
    await client.delete(store.keys.heartbeat("gone"))
    another = Walker(registry, store)
    await another.begin()
    assert await another.walk() == {"ghost": "no-record"}


async def test_a_former_incarnation_is_a_stray_though_the_newer_one_overwrites_its_heartbeat(walker, registry, store):
    former = await registry.register(scope="project", id="web", ttl_ms=60_000)
    newer = await registry.register(scope="project", id="web", ttl_ms=60_000)
    expected = {"web": "old-incarnation"}
    for incarnation, found in (
        (former.incarnation, {}),
        (newer.incarnation, {}),
        (former.incarnation, expected),
        (newer.incarnation, expected),
        (newer.incarnation, expected),
        (newer.incarnation, {}),
    ):
        await beat(store, "web", {"incarnation": incarnation})
        assert await walker.walk() == found
    assert await store.strays() == {}


async def test_a_new_leader_believes_what_was_found_of_a_former_incarnation(walker, registry, store):
    former = await registry.register(scope="project", id="web", ttl_ms=60_000)
    newer = await registry.register(scope="project", id="web", ttl_ms=60_000)
    for _ in range(2):
        await beat(store, "web", {"incarnation": former.incarnation})
        await walker.walk()
    await beat(store, "web", {"incarnation": newer.incarnation})
    another = Walker(registry, store)
    await another.begin()
    assert await another.walk() == {"web": "old-incarnation"}


async def test_a_former_incarnation_is_named(walker, registry, store):
    former = await registry.register(scope="project", id="web", ttl_ms=60_000)
    await registry.register(scope="project", id="web", ttl_ms=60_000)
    await beat(store, "web", {"incarnation": former.incarnation})
    await walker.walk()
    await walker.walk()
    assert (await store.strays())["web"]["incarnation"] == former.incarnation
