"""Why an instance does badly is told also by a registry that was loaded after the verdict: it asks the log."""

from hopper import InstanceRegistry
from hopper.instance import history
from hopper.instance.lifecycle import Lifecycle
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from hopper.store.sampling import Assessment, SampleStore
from specs import spec

ME = "monitor-1"
WHY = "its check failed 2 times in a row: no answer within 1 s"


async def found(store: InstanceStore, health: Health, *reasons: str) -> None:
    """A verdict on `web` by a leading monitor."""
    await store.client.set(store.keys.monitor, ME, ex=60)
    record = await store.read("web")
    one = Assessment("web", record.incarnation, health.value, "check", {"reasons": reasons})
    ((outcome, *_),) = await SampleStore(store.settings, client=store.client).assess([one], monitor_id=ME)
    assert outcome == "assessed"


async def reasons(store: InstanceStore) -> tuple[str, ...]:
    async with InstanceRegistry(store.settings) as registry:
        return (await registry.health("web")).reasons


async def test_a_registry_that_did_not_hear_the_verdict_reads_its_reason_in_the_log(store):
    await store.register(spec("project", "web"))
    await found(store, Health.UNHEALTHY, WHY)
    await Lifecycle(store).update("web", {"description": "changed since"})
    assert await reasons(store) == (f"it was found unhealthy: {WHY}",)


async def test_the_last_verdict_counts(store):
    await store.register(spec("project", "web"))
    await found(store, Health.UNHEALTHY, "long ago")
    await found(store, Health.HEALTHY)
    assert await reasons(store) == ()
    await found(store, Health.DEGRADED, WHY)
    assert await reasons(store) == (f"it was found degraded: {WHY}",)


async def test_it_looks_back_only_so_far(store, monkeypatch):
    await store.register(spec("project", "web"))
    await found(store, Health.UNHEALTHY, WHY)
    monkeypatch.setattr(history, "_PARTS", 0)
    assert await reasons(store) == ("it was found unhealthy: explain tells why",)


async def test_a_log_that_cannot_be_read_is_a_problem_and_hides_nothing_else(store):
    await store.register(spec("project", "web"))
    await found(store, Health.UNHEALTHY, WHY)
    revision = int(await store.client.get(store.keys.revision))
    await store.client.delete(store.keys.events)
    await store.client.xadd(store.keys.events, {"id": "web", "type": "nonsense"}, id=f"{revision}-0")
    async with InstanceRegistry(store.settings) as registry:
        report = await registry.health("web")
    assert report.heartbeat is True
    assert "is not an event" in report.problems[0]
