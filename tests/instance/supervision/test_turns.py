"""Turns: what a supervisor makes of a claim that has ended while it waited."""

import pytest

from hopper import InstanceSession
from hopper.instance.restart.restarts import Restarts
from hopper.instance.supervision.turns import Turns
from hopper.model.maintenance import MaintenanceRequest
from hopper.model.state import Verb

POLICY = {"mode": "always"}


@pytest.mark.parametrize(("verbs", "starts"), [([Verb.STOP], False), ([Verb.STOP, Verb.STOPPED], False), ([], True)])
async def test_who_was_stopped_by_hand_is_not_started_after_its_claim_has_ended(verbs, starts, store, settings):
    async with InstanceSession(scope="project", id="x", settings=settings, restart=POLICY, returns=False) as session:
        await Restarts(store).claim("x", incarnation=session.incarnation, reason="children", alive=True, actor="me")
        await store.maintain("x", MaintenanceRequest())
        for verb in verbs or [Verb.FAIL, Verb.START]:
            await store.transition("x", verb)
        assert not (await Restarts(store).store.standing("x")).ledger.stands(session.incarnation)
        assert await Turns(session).taken() is starts
