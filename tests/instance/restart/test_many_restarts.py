"""Many failures, many who see them, and one restart each."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hopper import InstanceRegistry
from hopper.config import Settings
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import EventType
from hopper.model.record import Record
from hopper.model.restart import RestartLedger
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.failures import POLICY, SETTLE_S
from instance.lapses import TTL_MS, Story
from run_monitor import MonitorProcess
from specs import known, spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": 0.5})


COUNT = 100


@contextlib.asynccontextmanager
async def executors(settings: Settings, count: int) -> AsyncIterator[Counter[str]]:
    """Processes, as it were, that start again whatever is claimed; counts how often each instance was started."""
    started: Counter[str] = Counter()

    async def start(record: Record, claim: RestartLedger) -> None:
        started[record.id] += 1
        async with contextlib.aclosing(InstanceStore(settings)) as store:
            await store.register(spec("project", record.id, restart=POLICY, ttl_ms=600_000))

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            registry = await stack.enter_async_context(InstanceRegistry(settings))
            registry.on_restart(start)
        yield started


@pytest.mark.parametrize("killed", [False, True], ids=["the leader stays", "the leader is killed"])
async def test_each_of_many_failures_has_one_claim_and_one_restart_whoever_sees_it(
    killed: bool,
    settings: Settings,
    store: InstanceStore,
    story: Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Half say that they failed, which two supervisors see too; half lapse. Three monitors, two executors."""
    monkeypatch.setenv("HOPPER_GUARD_SHARE", "1")  # so many that lapse are to be judged
    settings = settings.model_copy(update={"executor_lease_s": 10.0})
    failing, lapsing = [f"failing-{n}" for n in range(COUNT)], [f"lapsing-{n}" for n in range(COUNT)]
    async with contextlib.AsyncExitStack() as stack:
        started = await stack.enter_async_context(executors(settings, 2))
        monitors = [stack.enter_context(MonitorProcess(settings, log=tmp_path / f"monitor-{n}.log")) for n in range(3)]

        async def leader() -> MonitorProcess | None:
            return next(iter([monitor for monitor in monitors if await monitor.leads(store)]), None)

        leading = await wait_until(leader, 30)
        await leading.until_settled(store)
        for id in failing:
            await store.register(spec("project", id, restart=POLICY, ttl_ms=600_000))
        for id in lapsing:
            await store.register(spec("project", id, restart=POLICY, ttl_ms=TTL_MS))

        async def fail(id: str) -> None:
            record = await known(store, id)
            await store.transition(id, Verb.FAIL)
            claims = (Restarts(store).claim(id, incarnation=record.incarnation, reason="exit") for _ in range(2))
            await asyncio.gather(*claims, return_exceptions=True)

        await asyncio.gather(*(fail(id) for id in failing[: COUNT // 2]))
        if killed:
            await wait_until(lambda: len(started) > COUNT // 4, 30)
            leading.kill()
        for id in failing[COUNT // 2 :]:
            await store.transition(id, Verb.FAIL)
        await wait_until(lambda: len(started) == 2 * COUNT, 60, "all are started again")
        await wait_until(lambda: settled(story, 2 * COUNT), 30, "all have registered")
    claimed, superseded = await counted(story)
    assert {claimed[id] for id in failing + lapsing} == {1}
    assert {superseded[id] for id in failing + lapsing} == {1}
    assert set(started.values()) == {1}


async def settled(story: Story, count: int) -> bool:
    return len((await counted(story))[1]) == count


async def counted(story: Story) -> tuple[Counter[str], Counter[str]]:
    """How often each instance was claimed, and how often it was registered again."""
    claimed, superseded = Counter[str](), Counter[str]()
    first = 1
    while events := await story._log.between(first, first + 499):
        first = events[-1].revision + 1
        claimed.update(str(event.id) for event in events if event.type is EventType.RESTART_CLAIMED)
        superseded.update(str(event.id) for event in events if event.type is EventType.SUPERSEDED)
    return claimed, superseded
