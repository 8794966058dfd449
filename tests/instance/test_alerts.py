"""Alerts: what reaches the operator's webhook, also past dead receivers and changes of leader."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import hopper.instance.outbox
from hopper import Settings
from hopper.instance.monitor import Monitor
from hopper.instance.outbox import Outbox
from hopper.model.alert import Alert, AlertKind, AlertPosition, AlertStatus
from hopper.model.event import Event
from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.model.state import State, Verb
from hopper.model.webhook import signature
from hopper.store.alerting import AlertStore
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from instance.lapses import TTL_MS, leading, registered
from receiver import Receiver
from servers import free_port
from specs import spec
from waiting import wait_until


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as opened:
        yield opened


@pytest.fixture
def settings(new_settings: Any, receiver: Receiver) -> Settings:
    return new_settings(
        alert_webhook=receiver.url,
        webhook_secret="the key",
        webhook_timeout_s=1,
        webhook_retries=0,
        guard_settle_s=0.2,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hopper.instance.outbox, "PAUSE_S", 0.05)


def told(receiver: Receiver) -> list[str]:
    """What has arrived, each delivery once: `down firing web`."""
    once = {got.delivery: got.document for got in receiver.deliveries}
    return [f"{one['alert']} {one['status']} {one['id'] or ''}".strip() for one in once.values()]


async def arrive(receiver: Receiver, *news: str) -> None:
    await wait_until(lambda: told(receiver) == list(news), message=f"{news}; there are {told(receiver)}")


async def noted(store: InstanceStore) -> AlertPosition | None:
    return await AlertStore(store).read()


async def until_noted(store: InstanceStore, revision: int | None = None) -> AlertPosition:
    """Wait until the position is that of the log, or a revision."""

    async def reached() -> AlertPosition | None:
        position = await noted(store)
        wanted = revision if revision is not None else (await store.position()).revision
        return position if position is not None and position.revision >= wanted else None

    return await wait_until(reached)


@contextlib.asynccontextmanager
async def alerting(settings: Settings, store: InstanceStore) -> AsyncIterator[Monitor]:
    """A leading monitor that knows where the alerts begin."""
    async with leading(settings) as monitor:
        await wait_until(lambda: noted(store))
        yield monitor


async def test_a_death_and_its_end_are_told_with_what_a_reader_wants_to_know(settings, store, story, receiver, client):
    async with alerting(settings, store):
        await registered(store, "web", name="the web")
        down = await story.until("web", Health.DOWN)
        await arrive(receiver, "down firing web")
        await client.set(store.keys.heartbeat("web"), "{}", ex=60)
        up = await story.until("web", Health.HEALTHY)
        await arrive(receiver, "down firing web", "down resolved web")
    epoch = (await store.position()).epoch
    first, last = receiver.deliveries
    document = first.document
    assert "project 'web' (the web) is down since" in document.pop("text")
    assert document == {
        "namespace": settings.namespace,
        "alert": "down",
        "status": "firing",
        "id": "web",
        "name": "the web",
        "scope": "project",
        "parent_id": None,
        "reason": "lapsed",
        "evidence": dict(down.evidence),
        "at_ms": down.at_ms,
        "revision": down.revision,
        "epoch": epoch,
    }
    assert first.delivery == f"{epoch}-{down.revision}-down-firing"
    assert last.delivery == f"{epoch}-{up.revision}-down-resolved"
    assert first.headers["hopper-signature"] == signature("the key", first.headers["hopper-timestamp"], first.body)
    assert (last.document["reason"], last.document["at_ms"]) == ("heartbeat", up.at_ms)


async def test_the_death_of_one_that_is_restarted_is_told_and_over_when_it_is_registered_again(
    settings, store, story, receiver
):
    async with alerting(settings.model_copy(update={"guard_settle_s": 0.5}), store):
        await registered(store, "web", restart={"mode": "on-failure"})
        await story.until("web", Health.DOWN)
        await arrive(receiver, "down firing web")
        await wait_until(lambda: _is_failed(store, "web"))
        await store.register(spec("project", "web", ttl_ms=60_000))
        await arrive(receiver, "down firing web", "down resolved web")


async def _is_failed(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and record.state is State.FAILED


async def test_a_failure_is_told_and_a_proper_end_is_not(settings, store, receiver):
    async with alerting(settings, store):
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await store.transition("shop", Verb.STOP)
        await store.transition("shop", Verb.STOPPED)
        await store.transition("web", Verb.FAIL, reason="exit 3")
        await arrive(receiver, "failed firing web")
        await until_noted(store)
    assert told(receiver) == ["failed firing web"]
    assert receiver.documents[0]["text"] == "project 'web' has failed: exit 3"


async def test_a_hold_is_told_and_that_of_the_leadership_is_not(settings, store, receiver):
    async with alerting(settings, store) as monitor:
        await until_noted(store)
        assert receiver.deliveries == []
        monitor.pulse.hold("somebody asked for it")
        await arrive(receiver, "hold firing", "hold resolved")
    assert "somebody asked for it" in receiver.documents[0]["text"]


async def test_those_below_one_that_died_are_in_its_alert(settings, store, receiver):
    async with alerting(settings.model_copy(update={"guard_settle_s": 0.6}), store):
        await registered(store, "web")
        for number in range(3):
            await registered(store, f"run-{number}", scope=Scope.ORCHESTRATION, parent_id="web")
        await arrive(receiver, "down firing web")
        await until_noted(store)
    assert told(receiver) == ["down firing web"]
    assert receiver.documents[0]["evidence"]["descendants_down"] == 3


async def test_without_a_webhook_there_is_no_work_and_no_key(new_settings, receiver):
    settings = new_settings()
    async with contextlib.aclosing(InstanceStore(settings)) as store, leading(settings) as monitor:
        (duty,) = [duty for duty in monitor._duties if duty.name == "alerts"]
        await registered(store)
        await wait_until(lambda: _is_down(store, "web"))
        assert await store.client.exists(store.keys.alerts) == 0
        assert duty._revision == 0


async def _is_down(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and record.health is Health.DOWN


async def test_the_first_run_begins_at_now(settings, new_settings, store, story, receiver):
    quiet = settings.model_copy(update={"alert_webhook": None})
    async with leading(quiet):
        await registered(store, "old")
        await story.until("old", Health.DOWN)
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")


# -- another leader ----------------------------------------------------------------------------------------------------


async def test_a_new_leader_goes_on_where_the_one_before_ended(settings, store, story, receiver, client):
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")
        position = await until_noted(store)
        assert set(position.told) == {"down:web"}
    # While nobody alerts: one fails, and the dead one is back.
    await store.register(spec("project", "shop", ttl_ms=60_000))
    await store.transition("shop", Verb.FAIL)
    await client.set(store.keys.heartbeat("web"), "{}", ex=60)
    async with leading(settings.model_copy(update={"alert_webhook": None})):
        await story.until("web", Health.HEALTHY)
    async with alerting(settings, store):
        await arrive(receiver, "down firing web", "failed firing shop", "down resolved web")
        position = await until_noted(store)
        assert position.told == {}


async def test_what_a_leader_could_not_deliver_is_delivered_by_the_next_under_the_same_name(
    settings, store, story, receiver
):
    receiver.always = 503
    async with alerting(settings, store):
        await registered(store, "web")
        down = await story.until("web", Health.DOWN)
        await wait_until(lambda: receiver.deliveries)
        assert (await noted(store)).revision < down.revision
    first = receiver.deliveries[0]
    receiver.always = 204
    async with alerting(settings, store):
        await wait_until(lambda: receiver.deliveries[-1].document["at_ms"] == down.at_ms)
        await until_noted(store, down.revision)
    last = receiver.deliveries[-1]
    assert (last.delivery, last.document["evidence"]) == (first.delivery, first.document["evidence"])


async def test_a_standby_alerts_nobody(settings, store, receiver):
    async with alerting(settings, store) as monitor, contextlib.AsyncExitStack() as stack:
        standby = Monitor(settings)
        task = asyncio.create_task(standby.run())
        stack.push_async_callback(_ended, task)
        await wait_until(standby.view.loaded.is_set)
        for number in range(20):
            await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
            await store.transition(f"web-{number}", Verb.FAIL)
            await wait_until(lambda: standby.view.revision == monitor.view.revision)
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(20)))
        await until_noted(store)
        assert len(receiver.deliveries) == 20


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


BEHIND = {
    "another epoch": AlertPosition(epoch="other", revision=0, told={"down:gone": 3}),
    "a log that was trimmed": AlertPosition(epoch="", revision=0, told={"down:gone": 3}),
}


@pytest.mark.parametrize("position", BEHIND.values(), ids=BEHIND.keys())
async def test_where_the_log_cannot_tell_it_begins_at_now_and_ends_what_is_over(position, settings, store, receiver):
    epoch = (await store.position()).epoch
    await store.register(spec("project", "shop", ttl_ms=60_000))
    await store.transition("shop", Verb.FAIL)
    await store.client.xtrim(store.keys.events, maxlen=1, approximate=False)
    await store.client.set(
        store.keys.alerts, AlertPosition(epoch=position.epoch or epoch, revision=0, told=position.told).to_json()
    )
    async with alerting(settings, store):
        await arrive(receiver, "down resolved gone")
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.transition("web", Verb.FAIL)
        await arrive(receiver, "down resolved gone", "failed firing web")


async def test_a_long_log_is_read_a_hundred_events_at_a_time_and_all_of_it_is_told(
    settings, store, receiver, monkeypatch
):
    epoch = (await store.position()).epoch
    for number in range(85):
        await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
        await store.transition(f"web-{number}", Verb.FAIL)
        await store.transition(f"web-{number}", Verb.START)
    await store.client.set(store.keys.alerts, AlertPosition(epoch=epoch, revision=0).to_json())
    sizes: list[int] = []
    between = ChangeLog.between

    async def counted(log: ChangeLog, first: int, last: int) -> list[Event]:
        events = await between(log, first, last)
        sizes.append(len(events))
        return events

    monkeypatch.setattr(ChangeLog, "between", counted)
    async with alerting(settings, store):
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(85)))
    assert sum(sizes) >= 255
    assert max(sizes) == 100


async def test_a_position_that_somebody_spoiled_is_replaced(settings, store, receiver):
    await store.client.set(store.keys.alerts, "rubbish")
    async with leading(settings):
        await wait_until(lambda: _readable(store))
        await store.register(spec("project", "web", ttl_ms=60_000))
        await store.transition("web", Verb.FAIL)
        await arrive(receiver, "failed firing web")


async def _readable(store: InstanceStore) -> bool:
    return await store.client.get(store.keys.alerts) != b"rubbish"


# -- dead and slow receivers -------------------------------------------------------------------------------------------


async def test_what_happens_while_the_receiver_is_dead_is_delivered_in_order_when_it_is_back(settings, store, receiver):
    await receiver.close()
    async with alerting(settings, store):
        for number in range(5):
            await store.register(spec("project", f"web-{number}", ttl_ms=60_000))
            await store.transition(f"web-{number}", Verb.FAIL)
        await wait_until(lambda: _is_down_or_failed(store, "web-4"))
        await receiver.open()
        await arrive(receiver, *(f"failed firing web-{number}" for number in range(5)))
        await until_noted(store)


async def _is_down_or_failed(store: InstanceStore, id: str) -> bool:
    record = await store.read(id)
    return record is not None and not record.monitored


async def test_a_receiver_that_hangs_delays_no_verdict(settings, store, story, receiver):
    receiver.always = None
    async with alerting(settings.model_copy(update={"webhook_timeout_s": 60}), store):
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await store.transition("shop", Verb.FAIL)
        await wait_until(lambda: receiver.deliveries)
        deadline_ms = await registered(store, "web")
        event = await story.until("web", Health.DOWN)
        assert event.at_ms - deadline_ms < TTL_MS
    assert len(receiver.deliveries) == 1


def an_alert(revision: int) -> Alert:
    return Alert(
        kind=AlertKind.HOLD,
        status=AlertStatus.FIRING,
        id=None,
        record=None,
        reason="",
        at_ms=0,
        revision=revision,
        origin=revision,
        text=f"alert {revision}",
    )


@contextlib.asynccontextmanager
async def outbox(settings: Settings, url: str) -> AsyncIterator[tuple[Outbox, list[int]]]:
    """An outbox that runs, and the revisions of what it is done with."""
    done: list[int] = []
    box = Outbox(settings, url, on_done=lambda alert: done.append(alert.revision))
    task = asyncio.create_task(box.run())
    try:
        yield box, done
    finally:
        await _ended(task)


async def test_an_alert_that_is_refused_is_dropped_and_the_next_is_sent(fake_settings, receiver):
    receiver.answers.extend([400])
    async with outbox(fake_settings, receiver.url) as (box, done):
        for revision in (1, 2):
            box.put(an_alert(revision), epoch="e")
        assert (len(box), box.oldest_origin) == (2, 1)
        await wait_until(lambda: done == [1, 2])
    assert (len(box), box.oldest_origin) == (0, None)
    assert [got.document["revision"] for got in receiver.deliveries] == [1, 2]


async def test_an_alert_waits_for_a_dead_receiver_no_longer_than_its_time_and_the_drop_is_counted(
    fake_settings, monkeypatch, capsys
):
    monkeypatch.setattr(hopper.instance.outbox, "KEEP_S", 0.3)
    settings = fake_settings.model_copy(update={"webhook_retries": 0})
    async with outbox(settings, f"http://127.0.0.1:{free_port()}/") as (box, done):
        for revision in range(4):
            box.put(an_alert(revision), epoch="e")
        await wait_until(lambda: done == [0, 1, 2, 3])
    assert "alerts.dropped" in (said := capsys.readouterr().out)
    assert "dropped=4" in said


async def test_more_than_can_wait_drops_the_oldest(fake_settings, receiver, monkeypatch):
    monkeypatch.setattr(hopper.instance.outbox, "MAX_WAITING", 2)
    async with outbox(fake_settings, receiver.url) as (box, done):
        for revision in range(5):
            box.put(an_alert(revision), epoch="e")
        assert done == [0, 1, 2]
        await wait_until(lambda: done == [0, 1, 2, 3, 4])
    assert [got.document["revision"] for got in receiver.deliveries] == [3, 4]


async def test_what_is_forgotten_is_not_sent(fake_settings, receiver):
    receiver.always = 503
    async with outbox(fake_settings.model_copy(update={"webhook_retries": 0}), receiver.url) as (box, done):
        box.put(an_alert(1), epoch="e")
        await wait_until(lambda: receiver.deliveries)
        box.put(an_alert(2), epoch="e")
        box.clear()
        assert len(box) == 0
        receiver.always = 204
        box.put(an_alert(3), epoch="e")
        await wait_until(lambda: done == [3])
    assert {got.document["revision"] for got in receiver.deliveries} == {1, 3}
