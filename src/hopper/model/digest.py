"""Digests: a long story as a page that one can read, with what repeats told once and what matters counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.model.state import State
from hopper.model.story import moment, tell

__all__ = ["Digest", "digest", "duration", "page"]

_LONGEST_CYCLE: Final = 8
"""Events of a cycle at most: down, failed, restart claimed, registered again, running, and a little more."""
_FOLDED_FROM: Final = 3
"""Times that a cycle must be seen in a row to be told once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """What a story comes to between two times of Redis' clock, in milliseconds."""

    from_ms: int
    to_ms: int
    events: int
    down: int
    down_ms: int
    longest_down_ms: int
    suspect: int
    failed: int
    restarts: int
    registrations: int

    def sentence(self) -> str:
        """The same for people, without what there was nothing of."""
        counted = [
            (f"down {_times(self.down)} for {duration(self.down_ms)}", self.down),
            (f"at most {duration(self.longest_down_ms)} at a time", self.down > 1),
            (f"suspect {_times(self.suspect)}", self.suspect),
            (f"failed {_times(self.failed)}", self.failed),
            (f"restart claimed {_times(self.restarts)}", self.restarts),
            (f"registered {_times(self.registrations)}", self.registrations),
        ]
        words = [text for text, there in counted if there] or ["nothing out of the ordinary"]
        return f"in {duration(self.to_ms - self.from_ms)}: {', '.join(words)}"


def digest(events: Sequence[Event], *, now_ms: int) -> Digest | None:
    """Count what happened to one instance in these events, oldest first, until `now_ms`. None where there are none.

    One that was down before the first of them counts from there on, as no earlier time is known.
    """
    if not events:
        return None
    down: list[int] = []
    since: int | None = events[0].at_ms if events[0].previous.get("health") == Health.DOWN else None
    for event in events:
        is_down = event.record is not None and event.record.health is Health.DOWN
        if event.type is EventType.DEREGISTERED:
            is_down = False
        if is_down and since is None:
            since = event.at_ms
        elif not is_down and since is not None:
            down.append(event.at_ms - since)
            since = None
    if since is not None:
        down.append(max(0, now_ms - since))
    return Digest(
        from_ms=events[0].at_ms,
        to_ms=max(now_ms, events[-1].at_ms),
        events=len(events),
        down=len(down),
        down_ms=sum(down),
        longest_down_ms=max(down, default=0),
        suspect=sum(_became(event, "health", Health.SUSPECT) for event in events),
        failed=sum(_became(event, "state", State.FAILED) for event in events),
        restarts=sum(event.type is EventType.RESTART_CLAIMED for event in events),
        registrations=sum(event.type in {EventType.REGISTERED, EventType.SUPERSEDED} for event in events),
    )


def page(events: Sequence[Event]) -> list[str]:
    """The events, oldest first, as lines with time and revision; a cycle that repeats is told once, and counted."""
    keys = [_key(event) for event in events]
    lines: list[str] = []
    at = 0
    while at < len(events):
        length, times = _cycle(keys, at)
        lines += [f"{moment(event.at_ms)}  {event.revision:>6}  {tell(event)}" for event in events[at : at + length]]
        at += length * times
        if times > 1:
            last = events[at - 1]
            same = "the same" if length == 1 else f"the same {length} events"
            lines.append(f"{moment(last.at_ms)}  {last.revision:>6}  ... {same} {_times(times - 1)} more until here")
    return lines


def duration(ms: int) -> str:
    """A span of time as people say it: two units at most."""
    units = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms"))
    words: list[str] = []
    for size, unit in units:
        if ms >= size and not (words and unit == "ms"):
            words.append(f"{ms // size} {unit}")
            ms %= size
        if len(words) == 2:
            break
    return " ".join(words) or "0 ms"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _became(event: Event, field: str, value: Any) -> bool:
    return event.record is not None and field in event.previous and getattr(event.record, field) is value


def _key(event: Event) -> tuple[Any, ...]:
    """What two events must share to be told as the same."""
    record = event.record
    shown = (record.health, record.state, record.parent_id) if record is not None else ()
    changed = orjson.dumps(event.previous) if event.type is EventType.UPDATED else b""
    return (event.type, event.reason, event.actor, frozenset(event.previous), changed, *shown)


def _cycle(keys: Sequence[tuple[Any, ...]], at: int) -> tuple[int, int]:
    """The length of the shortest cycle that begins here and repeats often enough, and how often it does; else 1, 1."""
    for length in range(1, _LONGEST_CYCLE + 1):
        first = keys[at : at + length]
        times = 1
        while len(first) == length and keys[at + times * length : at + (times + 1) * length] == first:
            times += 1
        if times >= _FOLDED_FROM:
            return length, times
    return 1, 1
