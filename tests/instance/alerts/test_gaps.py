"""Gaps: what happens while the log is not read, and is trimmed meanwhile, mutes nobody."""

import contextlib

from hopper.model.health import Health
from hopper.model.scope import Scope
from hopper.store.log import ChangeLog
from hopper.store.surveillance import SurveillanceStore
from instance.alerts.telling import alerting, arrive, until_noted
from instance.lapses import gated, registered
from specs import spec
from waiting import wait_until


async def test_a_guard_that_is_released_in_a_gap_is_told_as_over_and_hides_nobody_after_it(
    settings, store, story, receiver, monkeypatch
):
    await store.register(spec("project", "web", ttl_ms=60_000))
    async with alerting(settings, store) as monitor, contextlib.aclosing(SurveillanceStore(settings)) as guards:
        evidence = {"group": "project:web", "lapsed": 9, "group_size": 40, "since_ms": 1, "until_ms": 2, "ttl_ms": 1000}
        await guards.raise_guard("project:web", monitor_id=monitor.id, reason="many lapsed", evidence=evidence)
        await arrive(receiver, "guard firing")
        with monkeypatch.context() as slow:
            gate = gated(slow, ChangeLog, "between")
            await guards.release_guard("project:web", monitor_id=monitor.id, reason="settled")
            await wait_until(lambda: not monitor.view.replica.guards)
            await store.client.xtrim(store.keys.events, maxlen=0, approximate=False)
            gate.set()
            await arrive(receiver, "guard firing", "guard resolved")
        await registered(store, "run", scope=Scope.ORCHESTRATION, parent_id="web")
        await story.until("run", Health.DOWN)
        await arrive(receiver, "guard firing", "guard resolved", "down firing run")
        await until_noted(store)
