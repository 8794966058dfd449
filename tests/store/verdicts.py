"""Verdicts and recoveries at a word, without waiting for a TTL."""

import time
from typing import Any

from hopper.store.instances import InstanceStore
from hopper.store.surveillance import Lapse, SurveillanceStore
from specs import known

__all__ = ["ME", "judge", "revive"]

ME = "monitor-1"


async def judge(store: InstanceStore, surveillance: SurveillanceStore, id: str, verdict: str = "down") -> None:
    """Let an instance lapse, and give a verdict on it; `ME` must lead."""
    record = await known(store, id)
    await store.client.delete(store.keys.heartbeat(id))
    now_ms = int(time.time() * 1000)
    lapse = Lapse(id, record.incarnation, verdict, "lapsed", now_ms, 1, 1, 60_000)
    (answer,) = await surveillance.expire([lapse], monitor_id=ME, expected_ms=now_ms)
    assert isinstance(answer, list)
    assert answer[0] == verdict


async def revive(store: InstanceStore, surveillance: SurveillanceStore, id: str) -> Any:
    """Let an instance heartbeat again, and record that."""
    await store.heartbeat(id, ttl_ms=60_000)
    (answer,) = await surveillance.recover([id])
    assert isinstance(answer, list)
    return answer[0]
