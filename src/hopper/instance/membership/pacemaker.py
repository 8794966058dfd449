"""The pacemaker: heartbeats from a thread of its own, so that a busy event loop is not a death."""

import random
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

import structlog

from hopper.errors import HopperError, StoreFault
from hopper.instance.membership.reporting import Metrics, Reporting
from hopper.model.heartbeat import encode_metrics
from hopper.store.beating import HeartbeatWriter, Holder

__all__ = ["Loss", "Pacemaker"]

_CHECK_S = 1.0
_RETRY_S = 0.2
_JITTER = 0.1


class Loss(Enum):
    """Why a session's registration is no longer its own."""

    SUPERSEDED = "superseded"
    VANISHED = "vanished"
    REVERTED = "reverted"
    """Redis has lost it and gone back to older data: it holds what was before, or counts on from there."""
    FAILED = "failed"
    """Others have made it `failed` though it lives."""


class Pacemaker(threading.Thread):
    """Heartbeats for one incarnation of an instance until `stop`, or until the registration is lost.

    Beats every third of the TTL that the record has now, spread by 10 %, and soon again after a failure, whatever Redis
    answered. At least every second it looks whether the record still carries the incarnation, and is not `failed` while
    `minds_failure` says that it should not be; if not, it stops beating and calls `on_loss`, in this thread. A `silent`
    one leaves the heartbeats to someone else and only looks.
    """

    def __init__(
        self,
        writer: HeartbeatWriter,
        *,
        id: str,
        incarnation: int,
        registered_at_ms: int | None,
        ttl_ms: int,
        metrics: Metrics | None,
        on_loss: Callable[[Loss], None],
        minds_failure: Callable[[], bool] = lambda: False,
        silent: bool = False,
    ) -> None:
        super().__init__(name=f"pacemaker {id}", daemon=True)
        self.beats = 0
        """Heartbeats that Redis has taken."""
        self._logger = structlog.get_logger().bind(id=id)
        self._writer = writer
        self._id = id
        self._incarnation = incarnation
        self._registered_at_ms = registered_at_ms
        self._started_at_ms = registered_at_ms
        """When this incarnation started, as far as its record has been looked at."""
        self._ttl_ms = ttl_ms
        self._metrics = metrics
        self._reported = Reporting(self._logger)
        self._on_loss = on_loss
        self._minds_failure = minds_failure
        self._silent = silent
        self._stopping = threading.Event()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop beating; waits for the beat under way, at most `timeout_s`."""
        self._stopping.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout_s)

    def run(self) -> None:
        """Beat until stopped."""
        next_beat = time.monotonic()
        ttl_ms, failing = self._ttl_ms, False
        try:
            while not self._stopping.is_set():
                interval_s = self._ttl_ms / 3000
                try:
                    loss = self._check()
                    if loss is not None:
                        if not self._stopping.is_set():
                            self._on_loss(loss)
                        return
                    if self._ttl_ms != ttl_ms:  # what is beaten for the old one may lapse before its time came
                        ttl_ms, next_beat = self._ttl_ms, time.monotonic()
                        interval_s = ttl_ms / 3000
                    if time.monotonic() >= next_beat:
                        if not self._silent:
                            self._writer.beat(self._id, ttl_ms=self._ttl_ms, value=self._value())
                            self.beats += 1
                        next_beat = time.monotonic() + interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)
                    pause_s = min(_CHECK_S, interval_s, max(0.0, next_beat - time.monotonic()))
                    failing = False
                except HopperError as error:
                    if not failing:
                        self._logger.warning("pacemaker.failing", detail=str(error))
                    failing, pause_s = True, min(_RETRY_S, interval_s)
                self._stopping.wait(pause_s)
        finally:
            self._writer.close()

    def _check(self) -> Loss | None:
        minded = self._minds_failure()
        holder = self._writer.holder(self._id)
        if holder is None:
            return Loss.VANISHED
        if holder.incarnation > self._incarnation:
            return Loss.SUPERSEDED
        if holder.incarnation < self._incarnation or self._has_a_namesake(holder):
            return Loss.REVERTED
        self._ttl_ms = holder.ttl_ms or self._ttl_ms
        # Asked on both sides of the look, since the session's own change of state may lie on either.
        return Loss.FAILED if holder.failed and minded and self._minds_failure() else None

    def _has_a_namesake(self, holder: Holder) -> bool:
        """Whether another registration has this very number, as it can where Redis has lost the one and counts again.

        That shows in the start of the record, which the verb `start` changes too: what it was, the log knows.
        """
        if holder.started_at_ms == self._started_at_ms or self._registered_at_ms is None:
            return False
        try:
            at_ms = self._writer.registered_at_ms(self._id, self._incarnation)
        except StoreFault as fault:
            self._logger.warning("pacemaker.log_unreadable", detail=str(fault))
            at_ms = None
        self._started_at_ms = holder.started_at_ms
        return at_ms is not None and at_ms != self._registered_at_ms

    def _value(self) -> bytes:
        """The metrics with the incarnation; a callback that fails costs the metrics, never the heartbeat."""
        own: dict[str, Any] = {"incarnation": self._incarnation}
        return encode_metrics(own) if self._metrics is None else self._reported.encoded(self._metrics, own)
