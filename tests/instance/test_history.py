"""History: read in parts, from a log that is trimmed meanwhile, or that another epoch took away."""

from typing import Any

import pytest

from hopper.errors import Compacted
from hopper.instance.history import History
from hopper.instance.replica import Replica
from hopper.model.event import Event, EventType
from hopper.model.record import Record
from hopper.model.scope import Scope

LAST = 40


class Log:
    """A log that loses its beginning while it is read."""

    def __init__(self, lost: int, *, after: int) -> None:
        self.events = [event(revision) for revision in range(1, LAST + 1)]
        self.lost = lost
        self.after = after

    async def oldest(self) -> int | None:
        return self.events[0].revision if self.events else None

    async def between(self, first: int, last: int) -> list[Event]:
        found = [event for event in self.events if first <= event.revision <= last][:10]
        self.after -= 1
        if self.after == 0:
            self.events = [event for event in self.events if event.revision > self.lost]
        return found

    async def marks(self, last: int) -> Any:
        for event in reversed(self.events):
            if event.revision <= last:
                yield event.id, event.revision, event.at_ms


def event(revision: int) -> Event:
    record = Record(id="o", name="o", scope=Scope.PROJECT, revision=revision)
    return Event(
        revision=revision, type=EventType.UPDATED, id="o", at_ms=revision, record=record,
        record_json=record.to_json(), previous={"version": None},
    )  # fmt: skip


def present() -> Replica:
    replica = Replica()
    replica.apply(event(LAST))
    return replica


@pytest.mark.parametrize("lost", [15, 25, LAST], ids=["what comes next", "more", "all"])
async def test_a_log_that_is_trimmed_while_the_past_is_worked_out_is_told_of(lost):
    log: Any = Log(lost, after=1)
    with pytest.raises(Compacted, match="revision 11 while it was read") as raised:
        await History(log).at(present(), 0)
    assert raised.value.oldest_revision == (None if lost == LAST else lost)


async def test_what_is_trimmed_behind_the_reader_changes_nothing():
    log: Any = Log(5, after=2)
    past = await History(log).at(present(), 10)
    assert past.records["o"].revision == 10
