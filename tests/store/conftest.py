"""What a monitor asks of Redis, by one that leads."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from hopper.config import Settings
from hopper.store.surveillance import SurveillanceStore
from store.verdicts import ME


@pytest.fixture
async def surveillance(settings: Settings) -> AsyncIterator[SurveillanceStore]:
    """Of `ME`, which leads."""
    async with contextlib.aclosing(SurveillanceStore(settings)) as opened:
        await opened.pulse(ME)
        yield opened
