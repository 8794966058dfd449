"""Watching: the log as an iterator, resumable and without a hole."""

from collections.abc import AsyncIterator

import tenacity

from hopper.config import Settings
from hopper.errors import Compacted, Unavailable
from hopper.model.event import Event
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["watch"]


async def watch(settings: Settings, *, since: int | None = None) -> AsyncIterator[Event]:
    """Every event after revision `since`, or from now on where it is absent, one by one.

    Outlasts a Redis that goes away and comes back with the same data. Raises `Compacted` where the log no longer holds
    the next event or Redis comes back with another epoch, and `Unavailable` where it cannot be reached at the start.
    """
    store, log = InstanceStore(settings), ChangeLog(settings)
    try:
        await log.connect()
        position = await store.open()
        epoch, revision = position.epoch, position.revision if since is None else since
        if revision > position.revision:
            raise Compacted(
                f"revision {revision} has not been reached: the registry is at {position.revision}",
                oldest_revision=await log.oldest(),
                revision=position.revision,
            )
        while True:
            try:
                events = await log.follow(revision)
                if not events:
                    await _check_same(store, epoch, revision)
            except Unavailable:
                await log.disconnect()
                await _reconnect(store, log, epoch)
                continue
            for event in events:
                yield event
                revision = event.revision
    finally:
        await log.aclose()
        await store.aclose()


async def _reconnect(store: InstanceStore, log: ChangeLog, epoch: str) -> None:
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_exponential(multiplier=0.05, max=1.0),
        retry=tenacity.retry_if_exception_type(Unavailable),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            await log.connect()
            position = await store.open()
    if position.epoch != epoch:
        raise Compacted(
            f"the epoch is {position.epoch!r} now, no longer {epoch!r}: list again",
            oldest_revision=await log.oldest(),
            revision=position.revision,
        )


async def _check_same(store: InstanceStore, epoch: str, revision: int) -> None:
    position = await store.position()
    if position.epoch != epoch or position.revision < revision:
        raise Compacted(
            f"the epoch is {position.epoch!r} at revision {position.revision}, no longer {epoch!r}: list again",
            revision=position.revision,
        )
