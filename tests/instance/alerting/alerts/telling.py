"""Telling: a monitor that alerts, what has arrived of it, and how far it has noted that."""

import contextlib
from collections.abc import AsyncIterator

from hopper import Settings
from hopper.instance.monitor import Monitor
from hopper.model.alert import AlertPosition
from hopper.store.alerting import AlertStore
from hopper.store.instances import InstanceStore
from instance.lapses import leading
from receiver import Delivered, Receiver
from waiting import wait_until

__all__ = ["alerting", "arrive", "deliveries", "holds", "noted", "told", "until_noted"]


def told(receiver: Receiver) -> list[str]:
    """What has arrived, each delivery once: `down firing web`. Without holds, which a busy machine brings about."""
    return [news for news in _once(receiver) if not news.startswith("hold")]


def holds(receiver: Receiver) -> list[str]:
    """What has arrived of holds."""
    return [news for news in _once(receiver) if news.startswith("hold")]


def deliveries(receiver: Receiver) -> list[Delivered]:
    """Each that has arrived, repeats too, but those of holds."""
    return [got for got in receiver.deliveries if got.document["alert"] != "hold"]


def _once(receiver: Receiver) -> list[str]:
    once = {got.delivery: got.document for got in receiver.deliveries}
    return [f"{one['alert']} {one['status']} {one['id'] or ''}".strip() for one in once.values()]


async def arrive(receiver: Receiver, *news: str) -> None:
    def all_of_it() -> bool:
        return told(receiver) == list(news)

    try:
        await wait_until(all_of_it)
    except AssertionError:
        assert told(receiver) == list(news)
        raise


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
