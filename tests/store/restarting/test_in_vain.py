"""Restarts that were sent, and after which nobody registered."""

import asyncio

import pytest

from hopper.config import Settings
from hopper.errors import StaleIncarnation
from hopper.model.restart import Claim, Outcome
from hopper.store.instances import InstanceStore
from hopper.store.restarting import RestartStore
from specs import spec
from store.restarting.claiming import POLICY, claim, last_event
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("agrees")


@pytest.fixture
async def sent(failed: InstanceStore, settings: Settings) -> RestartStore:
    """The restarts of a Project `web` that has failed: one was sent, and its time to register is over."""
    restarts = RestartStore(settings.model_copy(update={"restart_wait_s": 0.001}), client=failed.client)
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    assert await restarts.settle("web", 1, Outcome.SENT, executor="me")
    await wait_until(lambda: overdue(restarts))
    return restarts


async def overdue(restarts: RestartStore) -> bool:
    standing = await restarts.standing("web")
    return standing.record is not None and standing.ledger.in_vain(standing.record, standing.now_ms)


async def test_a_restart_in_vain_is_claimed_anew_and_the_event_says_so(failed, sent):
    ledger = (await sent.standing("web")).ledger
    done = await claim(sent, Claim(2, 0, 0), reason="not-registered")
    assert (done.outcome, done.count) == ("claimed", 2)
    evidence = (await last_event(failed)).evidence
    assert (evidence["count"], evidence["sent_at_ms"]) == (2, ledger.settled_at_ms)
    assert evidence["register_by_ms"] == ledger.register_by_ms == ledger.settled_at_ms + 1
    renewed = (await sent.standing("web")).ledger
    assert (renewed.outcome, renewed.settled_at_ms, renewed.register_by_ms) == (Outcome.CLAIMED, 0, 0)


async def test_many_claim_a_restart_in_vain_anew_and_there_is_one(sent):
    standing = await sent.standing("web")
    done = await asyncio.gather(*(sent.claim(standing, Claim(2, 0, 0)) for _ in range(20)))
    assert sorted(one.outcome for one in done) == ["claimed"] + ["repeat"] * 19


async def test_a_restart_that_was_sent_is_not_claimed_anew_before_its_time(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.SENT, executor="me")
    assert (await claim(restarts, Claim(2, 0, 0))).outcome == "repeat"


async def test_one_that_has_registered_is_not_claimed_anew(failed, sent):
    seen = await sent.standing("web")
    await failed.register(spec("project", "web", restart=POLICY))
    with pytest.raises(StaleIncarnation):
        await sent.claim(seen, Claim(2, 0, 0))


async def test_a_restart_of_one_that_lives_is_never_in_vain(store, settings):
    restarts = RestartStore(settings.model_copy(update={"restart_wait_s": 0.001}), client=store.client)
    await store.register(spec("project", "web", restart=POLICY))
    await claim(restarts, Claim(0, 0, 0), alive=True, operator=True, reason="operator")
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.SENT, executor="me")
    standing = await restarts.standing("web")
    assert not standing.ledger.in_vain(standing.record, standing.now_ms + 60_000)


async def test_the_ledger_says_why_a_restart_failed(failed, restarts):
    await claim(restarts, Claim(1, 0, 0))
    await restarts.take("web", 1, executor="me")
    await restarts.settle("web", 1, Outcome.FAILED, executor="me", detail="nobody listens")
    ledger = (await restarts.standing("web")).ledger
    assert (ledger.outcome, ledger.detail, ledger.register_by_ms) == (Outcome.FAILED, "nobody listens", 0)
    assert ledger.settled_at_ms >= ledger.claimed_at_ms > 0
