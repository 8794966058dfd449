"""Watching: the log as an iterator, resumable and without a hole."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import tenacity

from hopper.config import Settings
from hopper.errors import Compacted, Unavailable
from hopper.model.event import Event
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.reading import Position

__all__ = ["begin", "check_same", "watch"]


async def watch(
    settings: Settings, *, since: int | None = None, known_epoch: str | None = None, client: Any = None
) -> AsyncGenerator[Event, None]:
    """Every event after revision `since`, or from now on where it is absent, one by one.

    Outlasts a Redis that goes away and comes back with the same data. Raises `Compacted` where the log no longer holds
    the next event, Redis comes back with another epoch or has another than `known_epoch` where that is given, and
    `Unavailable` where it cannot be reached at the start. `client` replaces the connections of its own, and stays open.
    """
    store, log = InstanceStore(settings, client=client), ChangeLog(settings, client=client)
    try:
        position = await begin(store, log, since)
        epoch, revision = known_epoch or position.epoch, position.revision if since is None else since
        if position.epoch != epoch:
            raise await _other_epoch(log, position, epoch)
        last: Event | None = None
        checked_at = time.monotonic()
        while True:
            try:
                events = await log.follow(revision)
                if not events or time.monotonic() - checked_at > settings.log_block_ms / 1000:
                    await check_same(store, log, epoch, revision, silent=not events)
                    checked_at = time.monotonic()
            except Unavailable:
                await log.disconnect()
                await _reconnect(store, log, epoch, last)
                continue
            for event in events:
                yield event
                revision, last = event.revision, event
    finally:
        if client is None:
            await log.aclose()
            await store.aclose()


async def begin(store: InstanceStore, log: ChangeLog, since: int | None) -> Position:
    """Connect; answers where Redis is. Raises `Compacted` where that is before `since`."""
    await log.connect()
    position = await store.open()
    if since is not None and since > position.revision:
        raise Compacted(
            f"revision {since} has not been reached: the registry is at {position.revision}",
            oldest_revision=await log.oldest(),
            revision=position.revision,
        )
    return position


async def _reconnect(store: InstanceStore, log: ChangeLog, epoch: str, last: Event | None) -> None:
    """Connect again, for as long as it takes; then it must be the same epoch, with the same last event in the log."""
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_exponential(multiplier=0.05, max=1.0),
        retry=tenacity.retry_if_exception_type(Unavailable),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            await log.connect()
            position = await store.open()
            there = await log.between(last.revision, last.revision) if last is not None else []
    if position.epoch != epoch or (last is not None and there != [last]):
        raise await _other_epoch(log, position, epoch)


async def check_same(store: InstanceStore, log: ChangeLog, epoch: str, revision: int, *, silent: bool) -> None:
    """After a silence, and now and then where there is none: the same epoch, and nothing that was trimmed unseen."""
    position = await store.position()
    if position.epoch != epoch or position.revision < revision:
        raise await _other_epoch(log, position, epoch)
    if silent and position.revision > revision and not await log.between(revision + 1, revision + 1):
        raise Compacted(
            f"the log no longer holds revision {revision + 1}, and the registry is at {position.revision}",
            oldest_revision=await log.oldest(),
            revision=position.revision,
        )


async def _other_epoch(log: ChangeLog, position: Position, epoch: str) -> Compacted:
    return Compacted(
        f"the epoch is {position.epoch!r} at revision {position.revision}, no longer {epoch!r}: list again",
        oldest_revision=await log.oldest(),
        revision=position.revision,
    )
