"""Restarts that come to nothing are told of: in the health of an instance, in its story, and by the doctor."""

from typing import Any

import pytest

from hopper import InstanceRegistry
from hopper.config import Settings
from hopper.instance.diagnosis.doctor import examine
from hopper.instance.restart.restarts import Restarts
from hopper.model.finding import Finding, Level
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim, Exhausted, Outcome
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from instance.failures import POLICY, SETTLE_S, outcome_of
from instance.lapses import leading
from servers import free_port
from specs import spec
from waiting import wait_until

HOOK = {**POLICY, "webhook": "http://hook.invalid/start"}
FIRST = Claim(1, 0, 0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "guard_settle_s": SETTLE_S, "executor_lease_s": 0.1, "restart_wait_s": 0.1, "webhook_retries": 0,
            "webhook_allow": ("127.0.0.1",),
        }
    )  # fmt: skip


async def the(settings: Settings) -> Finding:
    (finding,) = [finding for finding in await examine(settings) if finding.check == "restarts"]
    return finding


async def claimed(store: InstanceStore, decision: Claim | Exhausted = FIRST) -> RestartStore:
    """A restart claimed for a Project `web` that has failed, which nobody carries out."""
    await store.register(spec("project", "web", restart=HOOK))
    await store.transition("web", Verb.FAIL)
    restarts = Restarts(store).store
    await restarts.claim(await restarts.standing("web"), decision)
    return restarts


async def ended(restarts: RestartStore, outcome: Outcome, **how: Any) -> None:
    incarnation = (await restarts.standing("web")).record.incarnation
    await restarts.take("web", incarnation, executor="me")
    assert await restarts.settle("web", incarnation, outcome, executor="me", **how)


@pytest.mark.parametrize("place", ["not allowed", "not there"])
async def test_why_a_webhook_failed_is_told_wherever_one_looks(settings, store, place):
    url = "http://hook.invalid/start" if place == "not allowed" else f"http://127.0.0.1:{free_port()}/start"
    why = "webhook_allow names 127.0.0.1" if place == "not allowed" else "could not be reached"
    await store.register(spec("project", "web", restart={**POLICY, "webhook": url}))
    await store.transition("web", Verb.FAIL)
    async with leading(settings):
        await wait_until(lambda: outcome_of(store, "web", Outcome.FAILED))
    async with InstanceRegistry(settings) as registry:
        restart = (await registry.health("web")).restart
        told = (await registry.explain("web"))["restart"]
    assert (restart.outcome, restart.count, told) == (Outcome.FAILED, 1, restart)
    assert why in restart.detail
    assert restart.text.startswith("restart 1 of 2 could not be carried out at 20")
    assert restart.text.endswith(f"{restart.detail}; it is tried again")
    finding = await the(settings)
    assert finding.level is Level.WARNING
    assert f"web ({restart.detail})" in finding.text


async def test_a_restart_that_nobody_carries_out_is_found_once_it_could_have_been(settings, store):
    await claimed(store)
    assert (await the(settings.model_copy(update={"executor_lease_s": 60}))).level is Level.OK

    async def found() -> Finding | None:
        finding = await the(settings)
        return finding if finding.level is not Level.OK else None

    finding = await wait_until(found)
    assert finding.text == "restarts are due, and nobody carries them out: web"


async def test_a_restart_that_was_sent_in_vain_is_found(settings, store):
    await ended(RestartStore(settings, client=(await claimed(store)).client), Outcome.SENT)

    async def found() -> Finding | None:
        finding = await the(settings)
        return finding if finding.level is not Level.OK else None

    finding = await wait_until(found)
    assert finding.text == "restarts were sent, and the instance has not registered in its time: web"
    async with InstanceRegistry(settings) as registry:
        restart = (await registry.health("web")).restart
    assert restart.register_by_ms == restart.settled_at_ms + 100
    assert "it has not registered since, and has until 20" in restart.text


async def test_restarts_that_are_used_up_are_found(settings, store):
    await claimed(store, Exhausted(2))
    finding = await the(settings)
    assert (finding.level, finding.text) == (Level.WARNING, "restarts are used up: web")


async def test_a_ledger_that_cannot_be_read_is_told_of_and_hides_nothing_else(settings, store):
    await claimed(store)
    await store.client.hset(store.keys.restarts("web"), "count", "many")
    assert (await the(settings)).level is Level.PROBLEM
    async with InstanceRegistry(settings) as registry:
        report = await registry.health("web")
    assert report.restart is None
    assert "restarts:web" in report.problems[0]


async def test_one_that_was_started_again_waits_for_no_restart(settings, store):
    await ended(await claimed(store), Outcome.FAILED, detail="away")
    await store.register(spec("project", "web", restart=HOOK))
    async with InstanceRegistry(settings) as registry:
        assert (await registry.health("web")).restart is None
        assert (await registry.explain("web"))["restart"] is None
    assert (await the(settings)).level is Level.OK


async def test_a_restart_that_waits_for_the_end_of_a_maintenance_is_not_stuck(settings, store):
    await ended(await claimed(store), Outcome.FAILED, detail="away")
    assert (await the(settings)).level is Level.WARNING
    await store.maintain("web", MaintenanceRequest())
    assert (await the(settings)).level is Level.OK
    async with InstanceRegistry(settings) as registry:
        restart = (await registry.health("web")).restart
    assert restart.text.endswith(": away; it waits for the end of its maintenance")
