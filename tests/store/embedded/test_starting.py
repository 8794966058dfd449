"""Starting the embedded Valkey: over stale files, into trouble, and cancelled on the way."""

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.store import embedded
from hopper.store.embedded import EmbeddedValkey, running_url
from store.embedded.processes import all_locks_are_free, state, until_gone
from waiting import wait_until


@pytest.mark.parametrize("foreign", [False, True], ids=["nobody there", "another server there"])
async def test_a_stale_state_file_is_replaced(
    settings: Settings, data_dir: Path, tmp_path: Path, foreign: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stale = {"url": "redis://127.0.0.1:1/0", "port": 1, "valkey_pid": os.getpid(), "keeper_pid": os.getpid()}
        if foreign:
            other = Settings(data_dir=tmp_path / "other", embedded_port=0)
            url = await stack.enter_async_context(EmbeddedValkey(other))
            stale |= {"url": url, "port": state(other.data_dir)["port"]}
        data_dir.mkdir()
        (data_dir / "embedded.json").write_text(json.dumps(stale))
        assert running_url(data_dir) is None
        async with EmbeddedValkey(settings) as url:
            assert url == state(data_dir)["url"] != stale["url"]
            was = state(data_dir)
    await until_gone(was)


async def test_an_unreadable_state_file_is_replaced(settings: Settings, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "embedded.json").write_text('{"url": ')
    async with EmbeddedValkey(settings) as url:
        assert running_url(data_dir) == url


async def test_a_port_in_use_is_named_with_the_way_out(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            async with EmbeddedValkey(Settings(data_dir=data_dir, embedded_port=port)):
                pass
    for part in (f"port {port} ", "in use", "HOPPER_EMBEDDED_PORT", "HOPPER_REDIS_URL"):
        assert part in str(caught.value)
    async with EmbeddedValkey(Settings(data_dir=data_dir, embedded_port=port)) as url:  # nothing of it is left
        assert url == f"redis://127.0.0.1:{port}/0"


async def test_a_failed_start_shows_the_end_of_the_log(settings: Settings, data_dir: Path) -> None:
    (data_dir / "appendonlydir").mkdir(parents=True)
    (data_dir / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(Unavailable, match=r"(?s)did not start on .*manifest"):
        async with EmbeddedValkey(settings):
            pass
    assert not (data_dir / "embedded.json").exists()


async def test_an_unusable_data_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"data directory .*/file/data cannot be used"):
        async with EmbeddedValkey(Settings(data_dir=tmp_path / "file" / "data", embedded_port=0)):
            pass


@pytest.mark.parametrize("sign", ["users.lock", "keeper.log", "valkey.log"])
async def test_a_cancelled_start_leaves_no_user_behind(settings: Settings, data_dir: Path, sign: str) -> None:
    async def enter() -> None:
        async with EmbeddedValkey(settings):
            await asyncio.Event().wait()

    entering = asyncio.create_task(enter())
    await wait_until((data_dir / sign).exists)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await wait_until(lambda: all_locks_are_free(data_dir))


async def test_a_start_that_ends_well_after_its_cancellation_leaves_no_user_behind(
    settings: Settings, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded._Patience, "call_off", lambda _: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), EmbeddedValkey(settings):
            pass
    assert "valkey_started" in (data_dir / "keeper.log").read_text()
    await wait_until(lambda: all_locks_are_free(data_dir))
