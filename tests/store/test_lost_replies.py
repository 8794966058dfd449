"""A write whose reply is lost is made once: retries carry the request token, and repeats change nothing."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from census import Census
from hopper.config import Settings
from hopper.errors import NotFound, Unavailable
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.health import Health
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim
from hopper.model.spec import apply_patch
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from hopper.store.sampling import Assessment, SampleStore
from hopper.store.scripts import script, script_names
from hopper.store.surveillance import Lapse, SurveillanceStore
from proxy import Proxy
from servers import RedisServer, dump
from specs import known, spec
from store.verdicts import ME, judge, revive

Act = Callable[[InstanceStore], Awaitable[Any]]


async def supersede(store: InstanceStore) -> Any:
    return await store.register(spec("project", "p", tags=["again"]), known=await store.read("p"))


async def move(store: InstanceStore) -> Any:
    return await store.link("o", "q", known=await store.read("o"))


async def unlink(store: InstanceStore) -> Any:
    return await store.unlink("p", known=await store.read("p"))


async def claim(store: InstanceStore) -> Any:
    restarts = RestartStore(store.settings, client=store.client)
    return await restarts.claim(await restarts.standing("p"), Claim(0, 0, 0), alive=True, operator=True)


def at_last(act: Act) -> Act:
    """The same, answering the last revision."""

    async def acted(store: InstanceStore) -> int:
        await act(store)
        return (await store.position()).revision

    return acted


WRITES: dict[str, Act] = {
    "register": lambda s: s.register(spec("project", "new", parent_id="g")),
    "supersede": supersede,
    "update": lambda s: s.update("p", lambda record: apply_patch(record, {"name": "renamed"})),
    "update at a revision": lambda s: s.update("p", lambda r: apply_patch(r, {"version": "2"}), if_revision=3),
    "deregister": lambda s: s.deregister("q"),
    "link": lambda s: s.link("q", "g"),
    "move": move,
    "unlink": unlink,
    "transition": lambda s: s.transition("p", Verb.PAUSE),
    "maintain": lambda s: s.maintain("p", MaintenanceRequest(reason="disk")),
    "maintain for a time": lambda s: s.maintain("p", MaintenanceRequest(for_ms=60_000)),
    "leave": at_last(lambda s: s.leave("p", Departure(children=ChildrenMode.CASCADE))),
    "deregister_many": at_last(lambda s: s.deregister_many([("o", "p")])),
    "claim_restart": claim,
    "reparent": at_last(lambda s: s.reparent(["o"], seen_parent="p", parent_id="q")),
}

BULK: dict[str, Act] = {
    "register_many": at_last(lambda s: s.register_many([spec("project", "new", parent_id="g")])),
    "link_many": at_last(lambda s: s.link_many([("q", "g")])),
}


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as between:
        yield between


@pytest.fixture
async def seeded(store: InstanceStore) -> InstanceStore:
    """A small tree at revision 4, and every script in the server's cache."""
    await store.register(spec("global", "g"))
    await store.register(spec("project", "q"))
    await store.register(spec("project", "p", parent_id="g"))
    await store.register(spec("orchestration", "o", parent_id="p"))
    return store


@pytest.fixture
async def distant(proxy: Proxy, settings: Settings, seeded: InstanceStore) -> AsyncIterator[InstanceStore]:
    """A store on the other side of the proxy."""
    far = settings.model_copy(update={"redis_url": proxy.url})
    async with aclosing(InstanceStore(far)) as store:
        yield store


@pytest.fixture
async def hasty(proxy: Proxy, settings: Settings, seeded: InstanceStore) -> AsyncIterator[InstanceStore]:
    """The same without retries."""
    far = settings.model_copy(update={"redis_url": proxy.url, "write_retries": 0})
    async with aclosing(InstanceStore(far)) as store:
        yield store


async def census(store: InstanceStore) -> Census:
    taken = await Census.take(store.client, store.settings.namespace)
    assert taken.problems == []
    return taken


@pytest.mark.parametrize("lost", [1, 2])
@pytest.mark.parametrize("act", (WRITES | BULK).values(), ids=(WRITES | BULK).keys())
async def test_a_write_whose_reply_is_lost_is_made_once_and_answered(act, lost, proxy, distant, seeded):
    proxy.lose_replies(lost)
    answer = await act(distant)
    assert proxy.lost == lost
    after = await census(seeded)
    assert after.revision == 5
    assert getattr(answer, "revision", answer) == 5


@pytest.mark.parametrize("act", (WRITES | BULK).values(), ids=(WRITES | BULK).keys())
async def test_a_write_whose_request_is_lost_is_made_once_and_answered(act, proxy, distant, seeded):
    proxy.lose_requests(2)
    answer = await act(distant)
    assert proxy.lost == 2
    assert (await census(seeded)).revision == getattr(answer, "revision", answer) == 5


@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES.keys())
async def test_without_retries_a_lost_reply_says_the_outcome_is_unknown_and_it_was_made(act, proxy, hasty, seeded):
    proxy.lose_replies(1)
    with pytest.raises(Unavailable, match="Redis is away") as raised:
        await act(hasty)
    assert raised.value.outcome == "unknown"
    assert (await census(seeded)).revision == 5


@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES.keys())
async def test_without_retries_a_lost_request_says_the_outcome_is_unknown_and_changes_nothing(
    act, proxy, hasty, seeded
):
    before = await dump(seeded.client, seeded.settings.namespace)
    proxy.lose_requests(1)
    with pytest.raises(Unavailable) as raised:
        await act(hasty)
    assert raised.value.outcome == "unknown"
    assert await dump(seeded.client, seeded.settings.namespace) == before


async def test_an_outcome_that_was_unknown_once_stays_unknown_when_redis_then_refuses_connections(
    proxy, distant, seeded
):
    proxy.lose_replies(1)
    original = distant.client.connection_pool.get_connection

    async def refuse_after_the_loss(*args, **options):
        if proxy.lost:
            await proxy.refuse()
        return await original(*args, **options)

    distant.client.connection_pool.get_connection = refuse_after_the_loss
    with pytest.raises(Unavailable) as raised:
        await distant.transition("p", Verb.PAUSE)
    assert "connecting to" in str(raised.value)
    assert raised.value.outcome == "unknown"
    assert (await census(seeded)).revision == 5


async def test_a_server_that_was_never_reached_has_applied_nothing(proxy, distant):
    await proxy.refuse()
    with pytest.raises(Unavailable) as raised:
        await distant.deregister("q")
    assert raised.value.outcome == "not-applied"


async def test_a_bulk_that_meets_a_redis_that_is_gone_says_so_of_each_at_once(proxy, distant, seeded):
    proxy.lose_replies(1)
    original = distant.client.connection_pool.get_connection

    async def refuse_after_the_loss(*args, **options):
        if proxy.lost:
            await proxy.refuse()
        return await original(*args, **options)

    distant.client.connection_pool.get_connection = refuse_after_the_loss
    started = time.monotonic()
    answers = await distant.register_many([spec("project", f"new-{number}") for number in range(250)])
    assert time.monotonic() - started < 3
    assert {type(answer) for answer in answers} == {Unavailable}
    assert [answer.outcome for answer in answers] == ["unknown"] * 100 + ["not-applied"] * 150
    assert 4 < (await census(seeded)).revision <= 104


# -- a token of the caller's -----------------------------------------------------------------------------------------

TOKENED: dict[str, Callable[[InstanceStore, str], Awaitable[Any]]] = {
    "register": lambda s, token: s.register(spec("project", "new", parent_id="g"), token=token),
    "supersede": lambda s, token: s.register(spec("project", "p", tags=["again"]), token=token),
    "update": lambda s, token: s.update("p", lambda r: apply_patch(r, {"version": "2"}), token=token),
    "update at a revision": lambda s, token: s.update(
        "p", lambda r: apply_patch(r, {"version": "2"}), if_revision=3, token=token
    ),
    "maintain for a time": lambda s, token: s.maintain("p", MaintenanceRequest(for_ms=60_000), token=token),
    "deregister": lambda s, token: s.deregister("q", token=token),
    "deregister at a revision": lambda s, token: s.deregister("q", if_revision=2, incarnation=2, token=token),
}


@pytest.mark.parametrize("act", TOKENED.values(), ids=TOKENED.keys())
async def test_a_second_delivery_of_a_token_answers_as_the_first_and_changes_nothing(act, seeded):
    first = await act(seeded, "token-1")
    before = await dump(seeded.client, seeded.settings.namespace)
    assert await act(seeded, "token-1") == first
    assert await dump(seeded.client, seeded.settings.namespace) == before


@pytest.mark.parametrize("act", TOKENED.values(), ids=TOKENED.keys())
async def test_a_second_delivery_answers_as_the_first_though_others_have_written_since(act, seeded):
    first = await act(seeded, "token-1")
    await seeded.register(spec("orchestration", "later"))
    if await seeded.read("p") is not None:
        await seeded.update("p", lambda record: apply_patch(record, {"description": "later"}))
    before = await dump(seeded.client, seeded.settings.namespace)
    assert await act(seeded, "token-1") == first
    assert await dump(seeded.client, seeded.settings.namespace) == before


async def test_another_token_is_another_request(seeded):
    first = await seeded.register(spec("project", "new"), token="token-1")
    second = await seeded.register(spec("project", "new"), token="token-2")
    assert (second.superseded, second.revision) == (True, first.revision + 1)


async def test_an_answer_is_kept_for_a_minute(seeded):
    await seeded.deregister("q", token="token-1")
    assert 55_000 < await seeded.client.pttl(seeded.keys.request("token-1")) <= 60_000


async def test_a_refusal_is_not_kept_so_that_the_same_request_may_succeed_later(seeded):
    with pytest.raises(NotFound):
        await seeded.register(spec("orchestration", "x", parent_id="late"), token="token-1")
    await seeded.register(spec("project", "late"))
    await seeded.register(spec("orchestration", "x", parent_id="late"), token="token-1")
    assert (await census(seeded)).children["late"] == {"x"}


# -- repeats ---------------------------------------------------------------------------------------------------------

REPEATABLE = {name: WRITES[name] for name in ("update", "link", "move", "unlink", "transition", "maintain")}


@pytest.mark.parametrize("act", REPEATABLE.values(), ids=REPEATABLE.keys())
async def test_a_repeat_that_changes_nothing_appends_nothing_and_answers_the_last_revision(act, seeded):
    assert await act(seeded) == 5
    await seeded.register(spec("orchestration", "later"))
    before = await dump(seeded.client, seeded.settings.namespace)
    assert await act(seeded) == 6
    assert await dump(seeded.client, seeded.settings.namespace) == before


# -- the monitor's writes --------------------------------------------------------------------------------------------

Watch = Callable[[SurveillanceStore], Awaitable[Any]]


async def verdict(store: SurveillanceStore) -> Any:
    now_ms = int(time.time() * 1000)
    lapse = Lapse("p", 3, Health.DOWN.value, "lapsed", now_ms, 1, 1, 60_000)
    return await store.expire([lapse], monitor_id=ME, expected_ms=now_ms)


VERDICTS: dict[str, Watch] = {
    "start_hold": lambda s: s.start_hold(monitor_id=ME, reason="why", since_ms=1),
    "end_hold": lambda s: s.end_hold(monitor_id=ME, reason="why"),
    "raise_guard": lambda s: s.raise_guard("global", monitor_id=ME, reason="why", evidence={"group": "global"}),
    "release_guard": lambda s: s.release_guard("global", monitor_id=ME, reason="why"),
    "expire": verdict,
    "recover": lambda s: s.recover(["p"]),
}

FIRST = {"end_hold": "start_hold", "release_guard": "raise_guard", "recover": "expire"}
"""What must have been written for there to be something to write."""


@pytest.mark.parametrize("name", VERDICTS)
async def test_what_a_monitor_writes_is_written_once_however_often_it_asks(name, proxy, settings, seeded):
    await seeded.client.delete(seeded.keys.heartbeat("p"))
    async with (
        aclosing(SurveillanceStore(settings)) as near,
        aclosing(SurveillanceStore(settings.model_copy(update={"redis_url": proxy.url}))) as far,
    ):
        await near.pulse(ME)
        if name in FIRST:
            await VERDICTS[FIRST[name]](near)
        if name == "recover":
            await seeded.client.set(seeded.keys.heartbeat("p"), "{}", px=60_000)
        before = (await census(seeded)).revision
        await far.pulse(ME)
        proxy.lose_replies(1)
        with pytest.raises(Unavailable):
            await VERDICTS[name](far)
        await VERDICTS[name](far)
    assert (await census(seeded)).revision == before + 1


async def test_a_mark_is_taken_back_once_though_the_reply_is_lost(proxy, distant, seeded):
    mark = Departure(children=ChildrenMode.CASCADE)
    await seeded.leave("p", mark)
    proxy.lose_replies(1)
    assert await distant.stay("p", mark) == (await census(seeded)).revision == 6


async def test_an_assessment_is_written_once_though_the_reply_is_lost(proxy, distant, seeded):
    samples = SampleStore(distant.settings, client=distant.client)
    await seeded.client.set(seeded.keys.monitor, ME, px=60_000)
    assessments = [Assessment("p", 3, "degraded", "thresholds", {"value": 5})]
    proxy.lose_replies(1)
    (lost,) = await samples.assess(assessments, monitor_id=ME)
    assert isinstance(lost, Unavailable)
    assert await samples.assess(assessments, monitor_id=ME) == [["repeat", 0]]
    assert (await census(seeded)).revision == 5


async def test_a_maintenance_is_ended_once_though_the_reply_is_lost(proxy, distant, seeded):
    await seeded.maintain("p", MaintenanceRequest())
    proxy.lose_replies(1)
    assert await distant.end_maintenance("p") == (await census(seeded)).revision == 6


async def test_one_that_is_reaped_goes_once_though_the_reply_is_lost(proxy, distant, settings, seeded):
    async with aclosing(SurveillanceStore(settings)) as near:
        await near.pulse(ME)
        await judge(seeded, near, "q")
    down = await known(seeded, "q")
    proxy.lose_replies(1)
    mark = Departure(children=ChildrenMode.ORPHAN, reaped=True)
    outcome = await distant.reap(down, mark, monitor_id=ME)
    assert outcome == ("gone", (await census(seeded)).revision) == ("gone", 6)


async def test_one_that_flapped_is_calm_once_though_the_reply_is_lost(proxy, settings, seeded):
    async with (
        aclosing(SurveillanceStore(settings)) as near,
        aclosing(SurveillanceStore(settings.model_copy(update={"redis_url": proxy.url}))) as far,
    ):
        await near.pulse(ME)
        for _ in range(settings.flap_count):
            await judge(seeded, near, "p")
            await revive(seeded, near, "p")
        await seeded.client.hset(seeded.keys.restarts("p"), "flaps", "[1]")
        before = (await census(seeded)).revision
        proxy.lose_replies(1)
        with pytest.raises(Unavailable):
            await far.calm([("p", 3)])
        assert await far.calm([("p", 3)]) == [["repeat", 0]]
    assert (await census(seeded)).revision == before + 1


def test_every_script_that_writes_an_event_has_its_replies_lost():
    written = {name for name in script_names() if "events" in {entry.name for entry in script(name).header.keys}}
    assert written <= WRITES.keys() | VERDICTS.keys() | {"stay", "assess", "end_maintenance", "reap", "calm"}
