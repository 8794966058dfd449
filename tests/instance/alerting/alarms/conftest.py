"""The scene that each test of the alarms begins with."""

import pytest

from instance.alerting.alarms.scene import Scene


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    assert made.news == []
    return made
