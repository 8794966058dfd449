"""The doctor: each thing that may be wrong is found, and needs no permission to be asked."""

import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from hopper import Settings
from hopper.instance.diagnosis.doctor import examine
from hopper.model.alert import AlertPosition
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.finding import Finding, Level, gravest
from hopper.model.health import Health
from hopper.model.story import moment
from hopper.store.diagnosis import Diagnosis
from hopper.store.instances import InstanceStore
from hopper.store.keys import SCHEMA
from instance.lapses import leading, registered
from servers import RedisServer, dump, free_port
from specs import spec

OK, UNKNOWN, WARNING, PROBLEM = Level.OK, Level.UNKNOWN, Level.WARNING, Level.PROBLEM


async def of(settings: Settings, check: str) -> list[Finding]:
    """What is found by one check."""
    return [finding for finding in await examine(settings) if finding.check == check]


async def the(settings: Settings, check: str) -> Finding:
    """The one finding of a check."""
    (finding,) = await of(settings, check)
    return finding


# -- the server --------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(private_server: RedisServer, settings: Settings) -> Settings:
    """Settings on a server that the test may configure."""
    return settings.model_copy(update={"redis_url": private_server.url})


def configure(server: RedisServer, **options: Any) -> None:
    with server.connect() as client:
        for name, value in options.items():
            client.config_set(name.replace("_", "-"), value)


async def test_a_server_that_is_away_is_the_one_finding(settings):
    (finding,) = await examine(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    assert (finding.check, finding.level) == ("redis", PROBLEM)
    assert finding.text.startswith("Redis is away")
    assert finding.advice


async def test_a_clock_that_is_hardly_behind_is_not_minus_nothing(settings, monkeypatch):
    async def hardly_behind(_: Diagnosis) -> float:
        return -0.3

    monkeypatch.setattr(Diagnosis, "clock_offset_ms", hardly_behind)
    assert (await the(settings, "clock")).text == "Redis' clock is +0 ms from this host's"


async def test_the_server_is_named_with_its_version(settings):
    finding = await the(settings, "redis")
    assert finding.level is OK
    assert finding.text.startswith(("Valkey 9.", "Redis 7."))


async def test_a_server_that_is_too_old_is_a_problem(settings, monkeypatch):
    async def info(_: object, section: str) -> dict[str, Any]:
        return {"redis_version": "6.2.14"} if section == "server" else {}

    monkeypatch.setattr("hopper.store.diagnosis.Diagnosis.info", info)
    finding = await the(settings, "redis")
    assert finding.level is PROBLEM
    assert "Redis 6.2.14 is too old" in finding.text


async def test_a_replica_is_a_problem(own, private_server):
    with private_server.connect() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    assert [(one.level, "replica" in one.text) for one in await of(own, "redis")] == [(OK, False), (PROBLEM, True)]


PERSISTENCE = {
    "append-only": ({"appendonly": "yes", "appendfsync": "everysec"}, OK, "about a second"),
    "append-only at once": ({"appendonly": "yes", "appendfsync": "always"}, OK, "loses nothing"),
    "append-only at leisure": ({"appendonly": "yes", "appendfsync": "no"}, WARNING, "about 30 s"),
    "snapshots": ({"appendonly": "no", "save": "60 1"}, WARNING, "since the last snapshot"),
    "none": ({"appendonly": "no", "save": ""}, WARNING, "loses every record"),
}


@pytest.mark.parametrize(("options", "level", "says"), PERSISTENCE.values(), ids=PERSISTENCE.keys())
async def test_it_says_what_is_lost_with_the_server(options, level, says, own, private_server):
    configure(private_server, **options)
    finding = await the(own, "persistence")
    assert (finding.level, says in finding.text) == (level, True), finding


EVICTION = {
    "none": ({"maxmemory_policy": "noeviction", "maxmemory": "1gb"}, OK, "noeviction"),
    "heartbeats": (
        {"maxmemory_policy": "volatile-lru", "maxmemory": "1gb"},
        PROBLEM,
        "heartbeats are thrown away first",
    ),
    "everything": (
        {"maxmemory_policy": "allkeys-lfu", "maxmemory": "1gb"},
        PROBLEM,
        "records, indexes and the log may",
    ),
    "without a limit": ({"maxmemory_policy": "volatile-ttl"}, WARNING, "as soon as somebody sets maxmemory"),
    "nearly full": ({"maxmemory_policy": "noeviction", "maxmemory": "{used}"}, WARNING, "of maxmemory is used"),
}


@pytest.mark.parametrize(("options", "level", "says"), EVICTION.values(), ids=EVICTION.keys())
async def test_it_says_what_is_thrown_away_for_lack_of_memory(options, level, says, own, private_server):
    with private_server.connect() as client:
        used = client.info("memory")["used_memory"]
    configure(private_server, **{name: value.format(used=used + 20_000) for name, value in options.items()})
    finding = await the(own, "eviction")
    assert (finding.level, says in finding.text) == (level, True), finding


@pytest.mark.parametrize(
    ("flags", "level", "says"),
    [("Kxe", OK, "xeK"), ("KA", OK, "are told of"), ("Kx", WARNING, "lacks e"), ("", WARNING, "lacks Kxe")],
)
async def test_it_says_which_notifications_are_missing(flags, level, says, own, private_server):
    configure(private_server, notify_keyspace_events=flags)
    finding = await the(own, "notifications")
    assert (finding.level, says in finding.text) == (level, True), finding


LATENCY = {"quick": ([0.2] * 10, OK), "once slow": ([0.2] * 9 + [130.0], WARNING), "slow": ([600.0] * 10, PROBLEM)}


@pytest.mark.parametrize(("taken", "level"), LATENCY.values(), ids=LATENCY.keys())
async def test_it_says_how_long_a_ping_takes(taken, level, settings, monkeypatch):
    answers = iter([0.1, *taken])

    async def ping_ms(_: object) -> float:
        return next(answers)

    monkeypatch.setattr("hopper.store.diagnosis.Diagnosis.ping_ms", ping_ms)
    assert (await the(settings, "latency")).level is level


@pytest.mark.parametrize(("ahead_s", "level"), [(0, OK), (90, WARNING), (-90, WARNING)])
async def test_it_says_how_far_the_clocks_are_apart(ahead_s, level, settings, monkeypatch):
    original = time.time
    monkeypatch.setattr("hopper.store.diagnosis.time.time", lambda: original() - ahead_s)
    finding = await the(settings, "clock")
    assert finding.level is level
    told = re.search(r"([+-]\d+) ms", finding.text)
    assert (int(told[1]) if told else 0) == pytest.approx(ahead_s * 1000, abs=1_000)


# -- permissions -------------------------------------------------------------------------------------------------------


def user(server: RedisServer, *rules: str) -> str:
    """The URL of a user who may do no more than these rules say."""
    with server.connect() as client:
        client.execute_command("ACL", "SETUSER", "someone", "reset", "on", ">pw", *rules)
    return server.url.replace("redis://", "redis://someone:pw@")


async def test_a_user_without_config_and_info_is_told_what_could_not_be_looked_at(own, private_server):
    async with contextlib.aclosing(InstanceStore(own)) as store:
        await store.open()
        await store.register(spec("project", "web"))
    url = user(private_server, "~hopper:*", "+@all", "-config", "-info")
    findings = await examine(own.model_copy(update={"redis_url": url}))
    unknown = {finding.check for finding in findings if finding.level is UNKNOWN}
    assert unknown == {"redis", "persistence", "eviction", "notifications"}
    assert all("INFO" in finding.advice for finding in findings if finding.level is UNKNOWN)
    assert [finding.text for finding in findings if finding.check == "consistency"] == [
        "1 records and their indexes agree"
    ]


async def test_without_config_alone_info_tells_the_most_of_it(own, private_server):
    url = user(private_server, "~hopper:*", "+@all", "-config")
    findings = await examine(own.model_copy(update={"redis_url": url}))
    assert {finding.check for finding in findings if finding.level is UNKNOWN} == {"notifications"}
    (finding,) = [finding for finding in findings if finding.check == "persistence"]
    assert "what appendfsync allows" in finding.text


@pytest.mark.parametrize(
    "rules", [["+ping"], ["~*", "+ping", "+info", "+get"], []], ids=["ping", "a little", "nothing"]
)
async def test_who_may_do_next_to_nothing_gets_findings_and_no_error(rules, own, private_server):
    url = user(private_server, "+client|setname", "+client|setinfo", *rules)
    findings = await examine(own.model_copy(update={"redis_url": url}))
    unknown = {finding.check for finding in findings if finding.level is UNKNOWN}
    assert unknown >= ({"schema", "log", "records", "monitor", "holds", "strays"} if "+ping" in rules else {"redis"})
    assert gravest(findings) in (UNKNOWN, WARNING)


async def test_a_wrong_password_is_a_problem(own, private_server):
    url = user(private_server, "+@all").replace(":pw@", ":wrong@")
    (finding,) = await examine(own.model_copy(update={"redis_url": url}))
    assert finding.level is PROBLEM
    assert "refuses us" in finding.text


# -- the namespace -----------------------------------------------------------------------------------------------------


async def test_a_namespace_that_nobody_has_opened_is_no_problem_and_stays_unopened(settings, client):
    findings = await examine(settings)
    assert gravest(findings) is WARNING
    assert "has not been opened" in next(one.text for one in findings if one.check == "schema")
    assert await dump(client, settings.namespace) == {}


async def test_where_all_is_well_under_a_monitor_it_says_so(own, private_server):
    own = own.model_copy(update={"ttl_ms": 60_000})
    async with contextlib.aclosing(InstanceStore(own)) as store, leading(own) as monitor:
        await store.register(spec("global", "g"))
        before = await dump(store.client, own.namespace)
        findings = await examine(own)
        assert [finding for finding in findings if finding.level is not OK] == []
        (leader,) = [finding.text for finding in findings if finding.check == "monitor"]
        assert monitor.id in leader
        changed = await dump(store.client, own.namespace)
        assert before.keys() == changed.keys()


async def test_newer_data_are_a_problem_and_are_not_looked_at(store, settings):
    await store.client.set(store.keys.schema, SCHEMA + 1)
    findings = await examine(settings)
    assert "upgrade" in next(one.advice for one in findings if one.check == "schema")
    assert not {"consistency", "monitor"} & {finding.check for finding in findings}
    assert gravest(findings) is PROBLEM


async def down(store: InstanceStore) -> None:
    await registered(store, "web")
    for id in ("web", "shop"):
        await store.register(spec("project", id))
        await store.client.hset(store.keys.record(id), "health", Health.DOWN.value)
        await store.client.sadd(store.keys.down, id)
    await store.client.hset(store.keys.record("shop"), "maintenance", '{"reason": "x", "until_ms": null}')


async def stuck(store: InstanceStore) -> None:
    await store.register(spec("project", "web"))
    await store.leave("web", Departure(children=ChildrenMode.CASCADE))
    await store.client.hset(store.keys.record("web"), "updated_at_ms", 1_000)


async def raised(store: InstanceStore, name: str, **facts: Any) -> None:
    await store.client.hset(store.keys.holds, name, orjson.dumps(facts))


def now_ms() -> int:
    return int(time.time() * 1000)


async def broken(store: InstanceStore) -> None:
    await store.register(spec("project", "web"))
    await store.client.hset(store.keys.record("web"), "ttl_ms", "soon")


Act = Callable[[InstanceStore], Awaitable[Any]]
FOUND: dict[str, tuple[Act, str, Level, str]] = {
    "nobody monitors": (lambda s: s.register(spec("project", "web")), "monitor", PROBLEM, "one of 1 instances"),
    "nobody needs a monitor": (
        lambda s: s.register(spec("project", "web", state="created")),
        "monitor",
        WARNING,
        "none|no ",
    ),
    "a lease without an end": (lambda s: s.client.set(s.keys.monitor, "m"), "monitor", PROBLEM, "never ends"),
    "a hold": (
        lambda s: raised(s, "hold", since_ms=now_ms() - 5_000, reason="a stall"),
        "holds",
        WARNING,
        "for [56] s, so nobody is judged: a stall",
    ),
    "a long hold": (
        lambda s: raised(s, "hold", since_ms=now_ms() - 300_000, reason="a stall"),
        "holds",
        PROBLEM,
        "a stall",
    ),
    "a hold by hand": (lambda s: s.client.hset(s.keys.holds, "hold", "because"), "holds", WARNING, "because"),
    "a guard": (
        lambda s: raised(s, "guard:x", group="project:web", lapsed=9, group_size=30, since_ms=now_ms()),
        "holds",
        WARNING,
        "over 'project:web' for [0-9] s: 9 of 30 lapsed",
    ),
    "an unreadable record": (broken, "records", PROBLEM, "instance:web holds what Hopper cannot read: [a-z_]+ is '"),
    "an index that is none": (
        lambda s: s.client.set(s.keys.orphans, "x"),
        "records",
        PROBLEM,
        "an index cannot be read",
    ),
    "an orphan that waits": (
        lambda s: s.register(spec("orchestration", "o", wish={"name": "web", "tags": ["eu"]})),
        "orphans",
        WARNING,
        "of 1 orphan the parent is not there, or is full: o wants name web, tag eu",
    ),
    "a project that waits": (
        lambda s: s.register(spec("project", "p", wish={})),
        "orphans",
        WARNING,
        "p wants the global",
    ),
    "instances that are down": (down, "down", WARNING, "1 instance is down, and 1 in maintenance: web"),
    "a removal that stands still": (stuck, "leaving", WARNING, "1 instance was begun and is not finished: web"),
    "a stray": (
        lambda s: s.client.hset(s.keys.strays, "x", '{"kind": "unregistered", "incarnation": null, "seen_at_ms": 1}'),
        "strays",
        WARNING,
        r"1 heartbeat of nobody.*: x \(unregistered\)",
    ),
    "a stray by hand": (lambda s: s.client.hset(s.keys.strays, "x", "rubbish"), "strays", WARNING, r"x \(unknown\)"),
    "a log that ends too soon": (lambda s: s.client.set(s.keys.revision, 9), "log", PROBLEM, "the revision is 9"),
    "keys that disagree": (
        lambda s: s.client.sadd(s.keys.orphans, "ghost"),
        "consistency",
        PROBLEM,
        "'ghost', which has no record",
    ),
}


@pytest.mark.parametrize(("act", "check", "level", "says"), FOUND.values(), ids=FOUND.keys())
async def test_what_is_wrong_with_a_namespace_is_found(act, check, level, says, store, settings):
    await act(store)
    finding = await the(settings, check)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(finding.text)
    assert finding.level is level
    assert finding.advice
    await store.client.delete(store.keys.monitor, store.keys.orphans)  # they are not as a key of ours may be


async def test_an_orphan_that_could_be_adopted_is_told_of(store, settings):
    await store.register(spec("orchestration", "o", wish={"id": "web"}))
    await store.register(spec("project", "web"))
    finding = await the(settings, "orphans")
    assert finding.text == "1 orphan could be adopted and is not: o"


async def test_many_of_a_kind_are_counted(store, settings):
    await store.client.sadd(store.keys.orphans, *(f"ghost-{number:02}" for number in range(30)))
    findings = await of(settings, "consistency")
    assert len(findings) == 21
    assert findings[-1].text == "10 more things disagree"


async def test_alerts_are_looked_at_where_there_is_a_webhook(store, settings):
    assert await of(settings, "alerts") == []
    wanted = settings.model_copy(update={"alert_webhook": f"http://127.0.0.1:{free_port()}/", "webhook_retries": 0})
    finding = await the(wanted, "alerts")
    assert (finding.level, "nobody sends alerts" in finding.text) == (WARNING, True)
    assert (await the(wanted.model_copy(update={"alert_webhook": "ftp://x"}), "alerts")).level is PROBLEM


@pytest.mark.parametrize(("ago_s", "level"), [(0, OK), (29, OK), (200, WARNING)])
async def test_alerts_that_are_not_sent_for_long_are_a_finding(store, settings, ago_s, level):
    wanted = settings.model_copy(update={"alert_webhook": f"http://127.0.0.1:{free_port()}/"})
    await store.register(spec("project", "web", ttl_ms=60_000))
    at = await store.position()
    await store.client.set(store.keys.alerts, AlertPosition(epoch=at.epoch, revision=at.revision).to_json())
    finding = await the(wanted, "alerts")
    assert (finding.level, f"up to revision {at.revision} of {at.revision}" in finding.text) == (OK, True)
    logged_ms = int(time.time() * 1000) - ago_s * 1000
    await store.client.xadd(store.keys.events, {"at_ms": logged_ms}, id=f"{at.revision + 1}-0")
    await store.client.set(store.keys.revision, at.revision + 1)
    finding = await the(wanted, "alerts")
    assert (finding.level, finding.advice != "") == (level, level is WARNING)
    assert (f"what follows waits since {moment(logged_ms)} UTC, 20" in finding.text) == (level is WARNING)


def test_the_gravest_of_findings_is_told():
    assert gravest([]) is OK
    levels = [Level.UNKNOWN, Level.OK, Level.WARNING, Level.OK]
    findings = [Finding("x", level, "y") for level in levels]
    assert gravest(findings) is WARNING
    assert gravest([*findings, Finding("x", PROBLEM, "y")]) is PROBLEM
