"""The keeper of the embedded Valkey: what its death, the server's and a signal bring about."""

import asyncio
import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.store import keeper
from hopper.store.embedded import EmbeddedValkey, join, running_url
from hopper.store.keeper import ServerState, open_lock, serving_pid
from store.embedded.processes import client, held, lives, state, until_gone
from waiting import wait_until


async def test_a_start_waits_for_a_server_that_lost_its_keeper(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, asyncio.TaskGroup() as tasks:
        was = state(data_dir)
        async with client(url) as redis:
            await redis.set("kept", "yes")
        os.kill(was["valkey_pid"], signal.SIGSTOP)  # so that it takes its time to end
        os.kill(was["keeper_pid"], signal.SIGKILL)
        await wait_until(lambda: not lives(was["keeper_pid"]))
        second = EmbeddedValkey(settings)
        entering = tasks.create_task(second.__aenter__())
        await wait_until(lambda: "former_valkey_lives" in (data_dir / "keeper.log").read_text())
        os.kill(was["valkey_pid"], signal.SIGCONT)
        async with client(await entering) as redis:
            assert not lives(was["valkey_pid"])
            assert await redis.get("kept") == "yes"
        now = state(data_dir)
        await second.__aexit__(None, None, None)
        assert running_url(data_dir) == now["url"], "the first user is still there"
    await until_gone(now)


async def test_a_start_ends_a_server_that_outlived_its_keeper(settings: Settings, data_dir: Path) -> None:
    data_dir.mkdir()
    port = next(keeper._candidates(0))
    with held(data_dir, "keeper.lock"):
        lock = open_lock(data_dir, "server.lock")
        fcntl.flock(lock, fcntl.LOCK_EX)
        orphan = subprocess.Popen(keeper._command(keeper._find_binary(), data_dir, port), pass_fds=(lock,))
        os.close(lock)
        await wait_until(lambda: serving_pid(port) == orphan.pid)
        ServerState(f"redis://127.0.0.1:{port}/0", port, orphan.pid, keeper_pid=1).write(data_dir)
    async with EmbeddedValkey(settings):
        assert orphan.wait(0) == 0
        assert state(data_dir)["valkey_pid"] != orphan.pid


async def test_the_death_of_the_keeper_ends_the_server(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        os.kill(was["keeper_pid"], signal.SIGKILL)
        await until_gone(was)


async def test_sigterm_to_the_keeper_ends_the_server_in_good_order(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        os.kill(was["keeper_pid"], signal.SIGTERM)
        await until_gone(was)
        assert not (data_dir / "embedded.json").exists()
        with pytest.raises(Unavailable):
            async with join(data_dir):
                pass
    assert "ready to exit" in (data_dir / "valkey.log").read_text()


async def test_a_killed_server_comes_back_with_its_data_while_it_has_users(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url:
        async with client(url) as redis:
            await redis.set("kept", "yes")
        was = state(data_dir)
        for _ in range(2):  # the second time after a pause
            killed = state(data_dir)["valkey_pid"]
            os.kill(killed, signal.SIGKILL)
            async with join(data_dir) as again:  # waits for it
                assert again == url
            now = state(data_dir)
            assert now["valkey_pid"] != killed
            assert now == {**was, "valkey_pid": now["valkey_pid"]}
            async with client(url) as redis:
                assert await redis.get("kept") == "yes"
    await until_gone(now)
