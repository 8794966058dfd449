"""Settings by which a monitor reaps soon."""

import pytest

from hopper import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": 0.1, "departure_quiet_ms": 200})
