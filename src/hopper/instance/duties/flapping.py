"""Flapping: the leading monitor takes the word back that an instance is flapping, once it has been quiet.

`lua/recover.lua` gives that word, with the recovery that is one too many.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hopper.errors import HopperError, NotFound, StaleIncarnation
from hopper.instance.detection.pulse import local_ms
from hopper.instance.duties.duty import Duty, Post, of_instances
from hopper.model.event import Event, EventType
from hopper.store.surveillance import SurveillanceStore

__all__ = ["Flapping"]

ACTOR = "monitor"
REASON = "quiet"
_LONGEST_LOOK_S = 1.0
_RETRY_MS = 1_000.0
_AT_ONCE = 64


class Flapping(Duty):
    """Ends the flapping of whoever has neither gone down nor come back for `flap_window_s`, in whatever state it is.

    The script decides, by Redis' clock; an early look is answered how long there is still to wait.
    """

    name = "flapping"

    def __init__(self, post: Post, surveillance: SurveillanceStore) -> None:
        super().__init__(post)
        self._window_ms = self._settings.flap_window_s * 1000
        self._surveillance = surveillance
        self._due: dict[str, float] = {}

    def begin(self) -> None:
        """Look at everybody who is flapping anew."""
        now_ms = local_ms()
        self._due = {record.id: now_ms for record in self._view.replica.records.values() if record.flapping}

    def take(self, events: list[Event]) -> None:
        """Take in changes: one more recovery of somebody who is flapping puts its end off."""
        now_ms = local_ms()
        for event, record in of_instances(events):
            if event.type is EventType.DEREGISTERED or not record.flapping:
                self._due.pop(record.id, None)
            else:
                self._due[record.id] = now_ms if event.resync else now_ms + self._window_ms

    async def run(self) -> None:
        """Look every second, or four times in a window that is shorter; ends by cancellation."""
        while True:
            await asyncio.sleep(min(_LONGEST_LOOK_S, self._window_ms / 4000))
            if self._leads():
                now_ms = local_ms()
                due = [id for id, at_ms in self._due.items() if at_ms <= now_ms]
                for start in range(0, len(due), _AT_ONCE):
                    await self._calm(due[start : start + _AT_ONCE])

    async def _calm(self, ids: Sequence[str]) -> None:
        records = self._view.replica.records
        flapping = [(id, records[id].incarnation) for id in ids if id in records]
        answers: Sequence[list[Any] | HopperError]
        try:
            answers = await self._surveillance.calm(flapping, reason=REASON, actor=ACTOR)
        except HopperError as error:
            answers = [error] * len(flapping)
        for (id, _), answer in zip(flapping, answers, strict=True):
            self._take_answer(id, answer)

    def _take_answer(self, id: str, answer: list[Any] | HopperError) -> None:
        """When to look again. Once it is calm the log says so, and it is looked at no more."""
        if id not in self._due:
            return
        if isinstance(answer, HopperError):
            if not isinstance(answer, (NotFound, StaleIncarnation)):
                self._logger.warning("flapping.not_ended", id=id, detail=str(answer))
            after_ms = _RETRY_MS
        else:
            outcome, left_ms = answer
            after_ms = float(left_ms) if outcome == "restless" else _RETRY_MS
        self._due[id] = local_ms() + after_ms
