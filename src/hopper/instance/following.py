"""Following: the log for as long as somebody looks, with a word where it broke, as at a restart of Redis."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
import tenacity

from hopper.config import Settings
from hopper.errors import Compacted, Unavailable
from hopper.instance.watching import begin, check_same, watch
from hopper.model.event import Event
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from hopper.store.reading import Position

__all__ = ["Break", "follow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where the log broke, and from which revision on it is told again; the time is Redis' clock.

    `lost` tells whether changes may be missing. Where they are not, Redis was started again, and its log is the same.
    """

    revision: int
    epoch: str
    at_ms: int
    lost: bool
    detail: str

    @property
    def type(self) -> str:
        """The word for it at the place of an event's type."""
        return "log_lost" if self.lost else "log_continued"

    def to_json(self) -> bytes:
        """The JSON document: told from an event by its `type`."""
        document: dict[str, Any] = {"revision": self.revision, "type": self.type, "id": None, "at_ms": self.at_ms}
        return orjson.dumps(document | {"epoch": self.epoch, "lost": self.lost, "detail": self.detail})


async def follow(settings: Settings, *, since: int | None = None) -> AsyncGenerator[Event | Break, None]:
    """Every event after revision `since`, or from now on, as `watch`, but it never ends: a break is told of.

    After one it goes on behind the last event where the log still has that, else from the present revision. Waits while
    Redis is away. What `watch` would refuse at the beginning is raised.
    """
    store, log = InstanceStore(settings), ChangeLog(settings)
    try:
        position = await begin(store, log, since)
        epoch, revision = position.epoch, position.revision if since is None else since
        await check_same(store, log, epoch, revision, silent=True)
        last = await _entry(log, revision)
        while True:
            try:
                async with aclosing(watch(settings, since=revision, known_epoch=epoch)) as events:
                    async for event in events:
                        yield event
                        revision, last = event.revision, event
            except (Compacted, Unavailable):
                position, last, kept = await _resume(store, log, revision, last)
            if not kept:
                detail = f"the log was lost, trimmed or begun anew: what came after revision {revision} is not told"
                revision = position.revision
            else:
                detail = "Redis was started again, and its log has lost nothing"
            if not kept or position.epoch != epoch:
                epoch = position.epoch
                yield Break(revision=revision, epoch=epoch, at_ms=position.now_ms, lost=not kept, detail=detail)
    finally:
        await log.aclose()
        await store.aclose()


async def _resume(
    store: InstanceStore, log: ChangeLog, revision: int, last: Event | None
) -> tuple[Position, Event | None, bool]:
    """Where Redis is, once it is back, the event to go on behind, and whether that is `last`, the last one told."""
    retrying = tenacity.AsyncRetrying(
        wait=tenacity.wait_exponential(multiplier=0.05, max=1.0),
        retry=tenacity.retry_if_exception_type(Unavailable),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            await log.disconnect()
            await log.connect()
            position = await store.open()
            try:
                await check_same(store, log, position.epoch, revision, silent=True)
                kept = revision == 0 or (last is not None and await _entry(log, revision) == last)
            except Compacted:
                kept = False
            return position, last if kept else await _entry(log, position.revision), kept
    raise AssertionError("unreachable: tenacity re-raises")


async def _entry(log: ChangeLog, revision: int) -> Event | None:
    return next(iter(await log.between(revision, revision)), None)
