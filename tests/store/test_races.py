"""Many processes at once: what Lua decides holds for all of them."""

import asyncio
import collections
import json
import sys
from pathlib import Path
from typing import Any

from census import Census
from effort import LONG
from hopper.config import Settings

RACERS = Path(__file__).parent / "racers.py"
SECONDS = 30 if LONG else 3


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
    did = sum((collections.Counter(counts) for counts in await race("tree", settings, processes=8, effort=SECONDS)),
              collections.Counter())  # fmt: skip
    census = await Census.take(client, settings.namespace)
    assert census.problems == []
    refused = {what.partition(" ")[2] for what in did} - {""}
    assert refused <= {
        "NotFound", "NameTaken", "Exists", "HasChildren", "ScopeRule", "IllegalTransition", "Conflict",
    }  # fmt: skip
    assert {"register", "link", "unlink", "deregister", "update", "transition"} <= did.keys()
    assert census.revision > 100 * SECONDS
