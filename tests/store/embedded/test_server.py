"""The embedded server itself: private, configured for the registry, and its data outlives it."""

import os
import stat
from pathlib import Path

from hopper.config import Settings
from hopper.store.embedded import EmbeddedValkey, running_url
from store.embedded.processes import client, state, until_gone


async def test_the_server_is_private_and_configured_for_the_registry(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        config = await redis.config_get("*")
        wanted = {
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "protected-mode": "yes",
            "daemonize": "no",
            "dir": str(data_dir),
            "aof-load-truncated": "yes",
        }
        assert {name: config[name] for name in wanted} == wanted
        assert set(config["notify-keyspace-events"]) == set("Kxe")
        assert url == state(data_dir)["url"] == running_url(data_dir)


async def test_the_server_is_out_of_reach_of_the_terminal(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings):
        was = state(data_dir)
        assert os.getsid(was["keeper_pid"]) == os.getsid(was["valkey_pid"]) != os.getsid(0)


async def test_the_data_is_there_after_a_restart(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        await redis.set("kept", "yes")
        was = state(data_dir)
    await until_gone(was)
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert state(data_dir)["valkey_pid"] != was["valkey_pid"]
        assert await redis.get("kept") == "yes"


async def test_a_truncated_append_only_file_does_not_prevent_the_start(settings: Settings, data_dir: Path) -> None:
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        await redis.set("kept", "yes")
        await redis.set("cut", "yes")
        was = state(data_dir)
    await until_gone(was)
    (file,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 5)
    async with EmbeddedValkey(settings) as url, client(url) as redis:
        assert await redis.mget("kept", "cut") == ["yes", None]
