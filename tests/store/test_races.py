"""Many processes at once: what Lua decides holds for all of them."""

import asyncio
import collections
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from census import Census
from effort import LONG
from hopper.config import Settings
from hopper.model.event import Event, EventType

RACERS = Path(__file__).parent / "racers.py"
HEARER = Path(__file__).parents[1] / "hearer.py"
ATTEMPTS = 6_000 if LONG else 300
"""Changes that each of eight processes tries."""


async def race(kind: str, settings: Settings, *, processes: int, effort: int) -> Any:
    """Run the racers and answer what they say."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, str(RACERS), kind, settings.redis_url, settings.namespace, str(processes), str(effort)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await running.communicate()
    assert running.returncode == 0, complaint.decode()
    return json.loads(said)


async def test_of_16_processes_that_want_to_be_global_one_is_in_each_of_100_rounds(settings, client):
    won = await race("globals", settings, processes=16, effort=100)
    rounds = collections.Counter(id.partition("-")[0] for ids in won for id in ids)
    assert rounds == {f"r{turn}": 1 for turn in range(100)}
    census = await Census.take(client, settings.namespace)
    assert census.problems == []
    assert (census.records, census.revision) == ({}, 200)


async def test_after_8_processes_changed_the_same_tree_it_is_legal_and_the_log_tells_how(new_settings, client):
    settings = new_settings(log_length=1_000_000)
    did = sum((collections.Counter(counts) for counts in await race("tree", settings, processes=8, effort=ATTEMPTS)),
              collections.Counter())  # fmt: skip
    census = await Census.take(client, settings.namespace)
    assert census.problems == []
    refused = {what.partition(" ")[2] for what in did} - {""}
    assert refused <= {
        "NotFound", "NameTaken", "Exists", "HasChildren", "ScopeRule", "IllegalTransition", "Conflict", "Leaving",
    }  # fmt: skip
    assert {"register", "link", "unlink", "deregister", "update", "transition", "remove", "leave"} <= did.keys()
    assert census.revision > ATTEMPTS


async def test_three_processes_hear_the_same_sequence_while_8_others_change_the_tree(new_settings, client):
    settings = new_settings(log_length=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        hearers = [await stack.enter_async_context(hearing(settings)) for _ in range(3)]
        await race("tree", settings, processes=8, effort=ATTEMPTS)
        census = await Census.take(client, settings.namespace)
        assert census.problems == []
        said = await asyncio.gather(*(hearer.communicate(b"%d\n" % census.revision) for hearer in hearers))
    heard = [json.loads(out) for out, _ in said]
    assert heard[0] == heard[1] == heard[2]
    events, moves = heard[0]
    assert events == [[event.revision, event.type, event.id] for event in census.events]
    assert moves == [
        [event.id, old, new]
        for event in census.events
        if event.record is not None
        for old, new in [parents_around(event)]
        if old != new
    ]


def parents_around(event: Event) -> tuple[str | None, str | None]:
    """The parent before and after an event, as the log has it."""
    assert event.record is not None
    match event.type:
        case EventType.REGISTERED:
            return None, event.record.parent_id
        case EventType.DEREGISTERED:
            return event.record.parent_id, None
        case _:
            return event.previous.get("parent_id", event.record.parent_id), event.record.parent_id


@contextlib.asynccontextmanager
async def hearing(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that hears every change from now on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HEARER), str(settings.redis_url), settings.namespace),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    try:
        assert process.stdout is not None
        while (line := await process.stdout.readline()) != b"hearing\n":
            assert line, "it ended"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
