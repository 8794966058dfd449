"""Transitions: what each verb does in each state."""

import pytest

from census import events
from hopper.errors import IllegalTransition, Invalid
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.policy import Wish
from hopper.model.record import MAX_RECORD_BYTES, RECORD_RESERVE_BYTES
from hopper.model.state import TRANSITIONS, State, Verb
from servers import dump
from specs import known, patching, spec

pytestmark = pytest.mark.usefixtures("agrees")

LEADING_TO: dict[State, list[Verb]] = {
    State.CREATED: [],
    State.STARTING: [Verb.START],
    State.RUNNING: [Verb.START, Verb.RUN],
    State.PAUSED: [Verb.START, Verb.RUN, Verb.PAUSE],
    State.STOPPING: [Verb.START, Verb.STOP],
    State.STOPPED: [Verb.START, Verb.STOP, Verb.STOPPED],
    State.FAILED: [Verb.START, Verb.FAIL],
}


@pytest.mark.parametrize("state", list(State), ids=str)
@pytest.mark.parametrize("verb", list(Verb), ids=str)
async def test_each_verb_does_in_each_state_what_the_table_says(verb, state, store):
    await store.register(spec("project", "p", state="created"))
    for step in LEADING_TO[state]:
        await store.transition("p", step)
    before = await dump(store.client, store.settings.namespace)
    rule = TRANSITIONS[verb]
    record = await known(store, "p")
    assert record.state is state
    if state is rule.target:
        assert await store.transition("p", verb) == record.revision
        assert await dump(store.client, store.settings.namespace) == before
    elif state not in rule.origins:
        with pytest.raises(IllegalTransition, match=f"instance 'p' cannot '{verb}' to {rule.target}: it is {state}"):
            await store.transition("p", verb)
        assert await dump(store.client, store.settings.namespace) == before
    else:
        revision = await store.transition("p", verb, reason="because", actor="me")
        after = await known(store, "p")
        assert (after.state, after.revision) == (rule.target, revision)
        assert bool(await store.client.exists(store.keys.heartbeat("p"))) == after.monitored
        assert after.health is (Health.HEALTHY if after.monitored else Health.UNKNOWN)
        (event,) = await events(store, since=record.revision)
        assert (event.type, event.reason, event.actor) == (EventType.STATE_CHANGED, "because", "me")
        assert event.previous["state"] == state
        if not after.monitored:
            assert after.stopped_at_ms == event.at_ms
        if after.monitored and not record.monitored:
            assert (after.started_at_ms, after.stopped_at_ms) == (event.at_ms, None)


async def test_a_transition_of_the_present_incarnation_is_made(store):
    registration = await store.register(spec("project", "p"))
    await store.transition("p", Verb.PAUSE, incarnation=registration.incarnation)
    assert (await known(store, "p")).state is State.PAUSED


async def test_a_verb_that_no_table_has_is_invalid(store):
    await store.register(spec("project", "p"))

    class Nonsense:
        value = "explode"

    with pytest.raises(Invalid, match="verb is 'explode', which no state knows"):
        await store.transition("p", Nonsense())


async def test_a_record_at_the_limit_can_still_be_paused_stopped_and_linked(store):
    """What the registry adds to a record by itself must never make it too large to be changed."""
    await store.register(spec("global", "g" * 100))
    await store.register(spec("project", "p"))
    size = len((await events(store))[-1].record_json)
    await store.update(
        "p", patching(config={"x": "y" * (MAX_RECORD_BYTES - RECORD_RESERVE_BYTES - size - len('"x":""') - 1)})
    )
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.STOP, Verb.STOPPED, Verb.START, Verb.FAIL):
        await store.transition("p", verb)
    await store.link("p", "g" * 100)
    await store.leave("p", Departure(children=ChildrenMode.ORPHAN, wish=Wish(name="ü" * 100)))
    assert len((await events(store))[-1].record_json) <= MAX_RECORD_BYTES
