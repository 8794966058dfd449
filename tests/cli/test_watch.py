"""`hopper watch`: every change, one line each, at once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from cli.commands import Hopper, Spawn
from hopper.cli.watch import _word as word_of
from hopper.config import Settings
from servers import RedisServer
from waiting import wait_until


async def test_a_change_is_printed_at_once_and_sigint_ends_it_quietly(hopper: Hopper, spawn: Spawn) -> None:
    watching = await spawn("watch", "--since", "0", settings=hopper.settings)
    await asyncio.to_thread(hopper.tree)
    lines = [await watching.line() for _ in range(4)]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    words = lines[3].split()
    assert words[2:] == ["registered", "run", "scope=orchestration", "parent_id=web", "state=running", "actor=cli"]
    watching.process.send_signal(signal.SIGINT)
    assert await watching.said() == ("", "")
    assert watching.process.returncode == 0


async def test_a_change_shows_old_and_new_values_with_reason_and_actor(hopper: Hopper, spawn: Spawn) -> None:
    await asyncio.to_thread(hopper.tree)
    watching = await spawn("watch", "--since", "4", settings=hopper.settings)
    await asyncio.to_thread(hopper.ok, "state", "run", "pause")
    assert (await watching.line()).split()[2:] == [
        *("state_changed", "run", "state=running->paused", "reason=operator", "actor=cli")
    ]
    await asyncio.to_thread(hopper.ok, "link", "run", "api")
    assert (await watching.line()).split()[2:] == ["parent_changed", "run", "parent_id=web->api", "actor=cli"]
    await asyncio.to_thread(hopper.ok, "unlink", "run")
    assert "parent_id=api->-" in await watching.line()


async def test_json_lines_hold_the_whole_event(hopper: Hopper, spawn: Spawn) -> None:
    await asyncio.to_thread(hopper.tree)
    watching = await spawn("watch", "--since", "3", "-o", "json", settings=hopper.settings)
    event = orjson.loads(await watching.line())
    assert (event["revision"], event["type"], event["id"], event["actor"]) == (4, "registered", "run", "cli")
    assert event["record"]["parent_id"] == "web"


@pytest.mark.parametrize("output", ["line", "json"])
async def test_a_restart_of_redis_is_a_line_and_no_end(
    output: str, spawn: Spawn, private_server: RedisServer, new_settings: Callable[..., Settings]
) -> None:
    own = Hopper(private_server, new_settings(redis_url=private_server.url, log_block_ms=100))
    await asyncio.to_thread(own.tree)
    watching = await spawn("watch", "--since", "3", "--type", "state_changed", "-o", output, settings=own.settings)
    await asyncio.to_thread(own.ok, "state", "run", "pause")
    assert "state_changed" in await watching.line()
    await asyncio.to_thread(private_server.stop)
    await asyncio.to_thread(private_server.restart)
    line = await watching.line()
    if output == "json":
        assert (orjson.loads(line)["type"], orjson.loads(line)["lost"]) == ("log_continued", False)
    else:
        assert line.split()[2:4] == ["log_continued", "-"]
        assert line.endswith("its log has lost nothing")
    await asyncio.to_thread(own.ok, "state", "run", "resume")
    assert "state_changed" in await watching.line()


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (["its check failed: no answer", "again"], '"its check failed: no answer; again"'),
        (["a", "b"], '["a","b"]'),
        ({"a": "b c"}, '{"a":"b c"}'),
        ("two words", '"two words"'),
        ("", '""'),
        (None, "-"),
    ],
    ids=str,
)
def test_what_is_printed_of_a_value_can_be_read(value: Any, word: str) -> None:
    assert word_of(value) == word


async def test_type_and_id_choose_events(hopper: Hopper, spawn: Spawn) -> None:
    await asyncio.to_thread(hopper.tree)
    await asyncio.to_thread(hopper.ok, "state", "web", "pause")
    await asyncio.to_thread(hopper.ok, "state", "run", "pause")
    by_type = await spawn("watch", "--since", "0", "--type", "state_changed", "--id", "run", settings=hopper.settings)
    assert (await by_type.line()).split()[0] == "6"


async def test_without_since_it_begins_with_the_next_change(hopper: Hopper, spawn: Spawn, server: RedisServer) -> None:
    await asyncio.to_thread(hopper.tree)
    watching = await spawn("watch", "--log-level", "debug", settings=hopper.settings)
    key = f"hopper:{{{hopper.settings.namespace}}}:events"

    with server.connect() as client:
        await wait_until(
            lambda: any(one["cmd"] == "xread" and one["name"] == "hopper" for one in client.client_list()), 20
        )
        assert client.xlen(key) == 4
    await asyncio.to_thread(hopper.ok, "rm", "run")
    assert (await watching.line()).split()[:1] == ["5"]


def test_a_reader_that_has_seen_enough_ends_it_quietly(hopper: Hopper) -> None:
    hopper.tree()
    command = [sys.executable, "-m", "hopper", "watch", "--since", "0"]
    environment = {
        **os.environ,
        "HOPPER_REDIS_URL": hopper.settings.redis_url,
        "HOPPER_NAMESPACE": hopper.settings.namespace,
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout.readline().startswith("1 ")
        watching.stdout.close()
        hopper.ok("state", "run", "pause")  # written to a pipe that nobody reads
        hopper.ok("state", "run", "resume")
        assert watching.wait(20) == 0
        assert watching.stderr.read() == ""


def test_a_revision_not_reached_ends_with_5(hopper: Hopper) -> None:
    hopper.tree()
    assert "99" in hopper.refused("watch", "--since", "99", code=5)


@pytest.mark.parametrize("words", [["--type", "colour"], ["--since", "-1"], ["--since", "soon"]], ids=" ".join)
def test_a_bad_option_ends_with_2_and_is_named(hopper: Hopper, words: list[str]) -> None:
    said = hopper.refused("watch", *words, code=2)
    assert words[0].removeprefix("--") in said
    assert words[1] in said
