"""Levels and their sources: where one of them fails and begins anew, nobody stays at a level that no source says."""

from typing import Any

import pytest

from hopper.config import Settings
from hopper.instance.duties.duty import Duty
from hopper.instance.duties.levels import Levels
from hopper.instance.monitor import Monitor
from hopper.instance.restart.escalation import Escalation
from hopper.model.event import EventType, Reason
from hopper.model.health import Health
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.lapses import Story, passes
from specs import known, spec
from waiting import wait_until

LIMIT_MS = 800
"""How long a source that applies is believed which does not speak again: two times two samples."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"sample_s": 0.2, "sample_count": 2})


@pytest.fixture
async def troubled(monitor: Monitor, store: InstanceStore, story: Story) -> InstanceStore:
    """`web` is unhealthy, since its only child was given up."""
    await store.register(spec("project", "web", ttl_ms=60_000, restart={"mode": "never", "max_failed_children": 0}))
    failing = {"mode": "on-failure", "max_restarts": 0}
    await store.register(spec("orchestration", "run", ttl_ms=60_000, parent_id="web", restart=failing))
    await store.transition("run", Verb.FAIL)
    await story.until("web", Health.UNHEALTHY)
    return store


def fails_once(monkeypatch: pytest.MonkeyPatch, kind: type[Duty], method: str) -> list[bool]:
    """Have a duty fail the next time it calls one of its methods; filled then."""
    failed = list[bool]()

    def fails(*_: Any) -> None:
        monkeypatch.undo()
        failed.append(True)
        raise RuntimeError("a test says so")

    monkeypatch.setattr(kind, method, fails)
    return failed


async def test_what_a_source_says_outlasts_a_failure_of_the_levels(troubled, monitor, story, client, monkeypatch):
    before = monitor.levels._words["web"][Reason.CHILDREN]
    fails_once(monkeypatch, Levels, "_assessment")
    monitor.levels._put("web", Reason.CHILDREN)
    await wait_until(lambda: monitor.levels._words["web"][Reason.CHILDREN] is not before)  # they have begun anew
    await passes(client, 2 * LIMIT_MS)
    changes = [event for event in await story.of("web") if event.type is EventType.HEALTH_CHANGED]
    assert [event.record.health for event in changes if event.record] == [Health.UNHEALTHY]
    await troubled.transition("run", Verb.START)
    await story.until("web", Health.HEALTHY)


async def test_what_a_source_said_before_it_failed_does_not_outlast_its_cause(troubled, monitor, story, monkeypatch):
    failed = fails_once(monkeypatch, Escalation, "_look_at")
    (escalation,) = [duty for duty in monitor._duties if duty.name == "escalation"]
    escalation._agenda.put("web")
    await wait_until(lambda: failed)
    await troubled.transition("run", Verb.START)
    await story.until("web", Health.HEALTHY)
    assert (await known(troubled, "run")).state == "starting"
