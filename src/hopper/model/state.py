"""The states of an instance and the verbs that lead from one to another."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["MONITORED_STATES", "TRANSITIONS", "State", "Transition", "Verb"]


class State(StrEnum):
    """What an instance says it is doing; whether it is alive is its health."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


MONITORED_STATES: frozenset[State] = frozenset({State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING})
"""States in which an instance must heartbeat."""


class Verb(StrEnum):
    """What one can ask of an instance's state."""

    START = "start"
    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    STOPPED = "stopped"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Transition:
    """One verb: the states it may start from and the one it leads to."""

    origins: frozenset[State]
    target: State


TRANSITIONS: dict[Verb, Transition] = {
    Verb.START: Transition(frozenset({State.CREATED, State.STOPPED, State.FAILED}), State.STARTING),
    Verb.RUN: Transition(frozenset({State.STARTING}), State.RUNNING),
    Verb.PAUSE: Transition(frozenset({State.RUNNING}), State.PAUSED),
    Verb.RESUME: Transition(frozenset({State.PAUSED}), State.RUNNING),
    Verb.STOP: Transition(frozenset({State.STARTING, State.RUNNING, State.PAUSED}), State.STOPPING),
    Verb.STOPPED: Transition(frozenset({State.STOPPING}), State.STOPPED),
    Verb.FAIL: Transition(MONITORED_STATES, State.FAILED),
}
"""The table Lua enforces. A verb asked of an instance already in its target state is a repeat and changes nothing."""
