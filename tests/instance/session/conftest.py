"""Settings for sessions that beat quickly, and a watch over what a session leaves behind."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from hopper import Settings
from hopper.instance import session as session_module
from instance.session.onlookers import TTL_MS


@pytest.fixture
def settings(new_settings: Callable[..., Settings]) -> Settings:
    return new_settings(ttl_ms=TTL_MS)


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    """No thread and no task may outlive its session."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pacemaker")] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(autouse=True)
def _prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_ADOPTION_PAUSE_S", 0.05)
