"""Who has failed and stays so is told of by the doctor; who is restarted is not."""

from hopper.config import Settings
from hopper.instance.diagnosis.doctor import examine
from hopper.instance.restart.restarts import Restarts
from hopper.model.finding import Finding, Level
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.restart import Claim, Exhausted, Outcome
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore
from instance.failures import POLICY
from specs import spec


async def the(settings: Settings) -> Finding:
    (finding,) = [finding for finding in await examine(settings) if finding.check == "failed"]
    return finding


async def failed(store: InstanceStore, *ids: str, **more: object) -> None:
    for id in ids:
        await store.register(spec("project", id, **more))
        await store.transition(id, Verb.FAIL)


async def test_who_has_failed_without_a_policy_is_named_and_who_is_in_maintenance_is_counted(settings, store):
    await failed(store, *(f"p{number}" for number in range(7)), "quiet")
    await store.maintain("quiet", MaintenanceRequest())
    finding = await the(settings)
    assert finding.level is Level.WARNING
    assert finding.text == (
        "7 instances have failed, and no restart is to come, and 1 in maintenance: p0, p1, p2, p3, p4, and 2 more"
    )


async def test_who_waits_for_a_restart_is_none_of_them_until_it_is_given_up(settings, store):
    await failed(store, "web", restart=POLICY)
    assert (await the(settings)).level is Level.OK, "a monitor is about to claim it"
    restarts = Restarts(store).store
    await restarts.claim(await restarts.standing("web"), Claim(1, 0, 0))
    assert (await the(settings)).text == "no instance has failed for good"
    incarnation = (await restarts.standing("web")).record.incarnation
    await restarts.take("web", incarnation, executor="me")
    await restarts.settle("web", incarnation, Outcome.CANCELLED, executor="me")
    assert (await the(settings)).text == "1 instance has failed, and no restart is to come: web"


async def test_who_has_used_its_restarts_up_stays_failed(settings, store):
    await failed(store, "web", restart=POLICY)
    restarts = Restarts(store).store
    await restarts.claim(await restarts.standing("web"), Exhausted(2))
    assert (await the(settings)).level is Level.WARNING


async def test_where_nobody_has_failed_all_is_well(settings, store):
    await store.register(spec("project", "web"))
    finding = await the(settings)
    assert (finding.level, finding.text) == (Level.OK, "no instance has failed for good")
