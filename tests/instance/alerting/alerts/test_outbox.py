"""The outbox: alerts are sent in their order, once each, and dropped only where nothing else helps."""

import contextlib
from collections.abc import AsyncIterator

import hopper.instance.alerting.outbox
from background import in_background
from hopper import Settings
from hopper.instance.alerting.outbox import Outbox
from hopper.model.alert import Alert, AlertKind, AlertStatus
from servers import free_port
from waiting import wait_until


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
    async with in_background(box.run()):
        yield box, done


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
    monkeypatch.setattr(hopper.instance.alerting.outbox, "KEEP_S", 0.3)
    settings = fake_settings.model_copy(update={"webhook_retries": 0})
    async with outbox(settings, f"http://127.0.0.1:{free_port()}/") as (box, done):
        for revision in range(4):
            box.put(an_alert(revision), epoch="e")
        await wait_until(lambda: done == [0, 1, 2, 3])
    assert "alerts.dropped" in (said := capsys.readouterr().out)
    assert "dropped=4" in said


async def test_more_than_can_wait_drops_the_oldest(fake_settings, receiver, monkeypatch):
    monkeypatch.setattr(hopper.instance.alerting.outbox, "MAX_WAITING", 2)
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
