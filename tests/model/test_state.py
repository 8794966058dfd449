"""The states and the verbs that lead from one to another."""

import pytest

from hopper.model.state import MONITORED_STATES, TRANSITIONS, State, Verb

MONITORED = "starting running paused stopping"

TABLE = {
    "start": ("created stopped failed", "starting"),
    "run": ("starting", "running"),
    "pause": ("running", "paused"),
    "resume": ("paused", "running"),
    "stop": ("starting running paused", "stopping"),
    "stopped": ("stopping", "stopped"),
    "fail": (MONITORED, "failed"),
}


def test_the_monitored_states_are_those_of_the_contract():
    assert {state.value for state in MONITORED_STATES} == set(MONITORED.split())


@pytest.mark.parametrize("verb", list(Verb), ids=str)
def test_a_verb_leads_where_the_contract_says(verb):
    origins, target = TABLE[verb.value]
    assert {state.value for state in TRANSITIONS[verb].origins} == set(origins.split())
    assert TRANSITIONS[verb].target.value == target


def test_every_state_but_created_can_be_reached_and_left():
    assert {rule.target for rule in TRANSITIONS.values()} == set(State) - {State.CREATED}
    assert set().union(*(rule.origins for rule in TRANSITIONS.values())) == set(State)


def test_no_verb_leads_from_a_state_to_itself():
    assert not [verb for verb, rule in TRANSITIONS.items() if rule.target in rule.origins]
