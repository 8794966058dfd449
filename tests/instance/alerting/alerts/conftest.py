"""A receiver, and settings by which a monitor alerts it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import hopper.instance.alerting.outbox
from hopper import Settings
from receiver import Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as opened:
        yield opened


@pytest.fixture
def settings(new_settings: Any, receiver: Receiver) -> Settings:
    return new_settings(
        alert_webhook=receiver.url,
        webhook_secret="the key",
        webhook_timeout_s=1,
        webhook_retries=0,
        guard_settle_s=0.2,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hopper.instance.alerting.outbox, "PAUSE_S", 0.05)
