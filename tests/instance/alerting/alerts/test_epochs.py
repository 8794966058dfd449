"""Epochs: Redis is restarted, and what it has not lost is told, by the leader that was and by the next."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from hopper import Settings
from hopper.model.alert import AlertPosition
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.alerting.alerts.telling import alerting, arrive, deliveries, holds, noted, told, until_noted
from instance.lapses import leading, registered
from receiver import Receiver
from servers import RedisServer
from specs import spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings, private_server: RedisServer) -> Settings:
    """Those of the other tests, on a server that may be restarted and keeps what it was told."""
    return settings.model_copy(update={"redis_url": private_server.url})


@contextlib.asynccontextmanager
async def crash(server: RedisServer, store: InstanceStore) -> AsyncIterator[None]:
    """Redis is killed, this happens, and it is there again in another epoch."""
    epoch = (await store.position()).epoch
    await asyncio.to_thread(server.kill)
    yield
    await asyncio.to_thread(server.restart)
    await store.client.connection_pool.disconnect()
    assert (await store.open()).epoch != epoch


def is_on_its_way(receiver: Receiver, news: str) -> bool:
    return told(receiver)[-1:] == [news]


async def test_what_waited_for_its_receiver_when_redis_crashed_is_told_with_the_hold_of_the_crash(
    settings, private_server, store, receiver
):
    async with alerting(settings, store) as monitor:
        await until_noted(store)
        receiver.always = 503
        await registered(store, "web")
        await wait_until(lambda: is_on_its_way(receiver, "down firing web"))
        first, epoch = deliveries(receiver)[-1], monitor.view.epoch
        async with crash(private_server, store):
            await wait_until(lambda: not monitor.view.complete)
        await wait_until(lambda: monitor.view.complete and monitor.view.epoch != epoch)
        receiver.deliveries.clear()
        receiver.always = 204
        await wait_until(lambda: holds(receiver)[-2:] == ["hold firing", "hold resolved"])
        assert told(receiver) == ["down firing web"]
        assert deliveries(receiver)[0].delivery == first.delivery
        await store.register(spec("project", "web", ttl_ms=60_000))
        await arrive(receiver, "down firing web", "down resolved web")
        position = await until_noted(store)
    assert (position.epoch, position.told) == (monitor.view.epoch, {})


async def test_a_death_that_settles_while_redis_crashes_is_told(settings, private_server, store, story, receiver):
    async with alerting(settings.model_copy(update={"guard_settle_s": 2}), store) as monitor:
        await registered(store, "web")
        await wait_until(lambda: monitor.view.replica.count("health", "down"))
        async with crash(private_server, store):
            pass
        await arrive(receiver, "down firing web")
        await until_noted(store)
    assert told(receiver) == ["down firing web"]


async def test_the_next_leader_reads_on_in_the_same_log_though_redis_was_restarted(
    settings, private_server, store, receiver
):
    async with alerting(settings, store):
        await store.register(spec("project", "shop", ttl_ms=60_000))
        await until_noted(store)
    await store.transition("shop", Verb.FAIL)
    await store.transition("shop", Verb.START)
    async with crash(private_server, store):
        pass
    async with leading(settings):
        await arrive(receiver, "failed firing shop")
        position = await until_noted(store)
    assert position.epoch == (await store.position()).epoch


async def test_what_was_told_of_data_that_are_lost_mutes_nobody(settings, tmp_path, receiver):
    """Redis comes back with older data, in which the instance is down by an earlier death, under the same leader."""
    with RedisServer(tmp_path / "lossy") as server:
        settings = settings.model_copy(update={"redis_url": server.url})
        async with contextlib.aclosing(InstanceStore(settings)) as store, alerting(settings, store) as monitor:
            await registered(store, "web")
            await arrive(receiver, "down firing web")
            await until_noted(store)
            with server.connect() as direct:
                direct.save()
            await store.register(spec("project", "web", ttl_ms=1000))
            for verb in [Verb.PAUSE, Verb.RESUME] * 20:
                await store.transition("web", verb)
            receiver.always = 503
            await wait_until(lambda: told(receiver)[-1] == "down firing web")
            epoch, late = monitor.view.epoch, deliveries(receiver)[-1].document["revision"]
            async with crash(server, store):
                pass
            await wait_until(
                lambda: monitor.view.complete and monitor.view.revision < late and monitor.view.epoch != epoch
            )
            receiver.always, refused = 204, len(deliveries(receiver))
            await wait_until(lambda: len(deliveries(receiver)) > refused)  # what waited is told, of lost data or not
            await wait_until(lambda: noted_of_another(store, epoch))
            receiver.deliveries.clear()
            await store.register(spec("project", "web", ttl_ms=1000))
            await arrive(receiver, "down resolved web", "down firing web")
            assert (await until_noted(store)).revision < late


async def test_a_leader_after_data_were_lost_is_muted_by_nothing_that_was_told_of_them(settings, store, receiver):
    async with alerting(settings, store):
        await registered(store, "web")
        await arrive(receiver, "down firing web")
        await until_noted(store)
    later = AlertPosition(epoch="other", revision=12_000, told={"down:web": 10_000}, read=(12_000, 1))
    await store.client.set(store.keys.alerts, later.to_json())
    receiver.deliveries.clear()
    async with leading(settings):
        position = await wait_until(lambda: noted_of_another(store, "other"))
        assert position.told["down:web"] < 10_000
        await store.register(spec("project", "web", ttl_ms=1000))
        await arrive(receiver, "down resolved web", "down firing web")


async def noted_of_another(store: InstanceStore, epoch: str) -> AlertPosition | None:
    position = await noted(store)
    return position if position is not None and position.epoch != epoch else None


async def test_a_log_that_is_not_the_one_that_was_read_is_not_read_on(settings, private_server, store, receiver):
    """The position is that of another history: its revision is there, and is another event."""
    async with alerting(settings, store):
        await store.register(spec("project", "shop", ttl_ms=60_000))
        position = await until_noted(store)
    await store.transition("shop", Verb.FAIL)
    await store.transition("shop", Verb.START)
    await store.transition("shop", Verb.FAIL)
    at_ms = position.read[1] - 1
    other = dataclasses.replace(position, epoch="other", read=(position.read[0], at_ms))
    await store.client.set(store.keys.alerts, other.to_json())
    async with leading(settings):
        await arrive(receiver, "failed firing shop")
        assert (await until_noted(store)).epoch == (await store.position()).epoch
    assert deliveries(receiver)[0].document["reason"] == "resync"
