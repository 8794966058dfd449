"""What a restart policy says of a failure, as tables."""

from dataclasses import replace
from typing import Any

import pytest

from hopper.model.health import Health
from hopper.model.policy import LONGEST_DELAY_S, RestartPolicy
from hopper.model.record import Record
from hopper.model.restart import Claim, Exhausted, Outcome, RestartLedger, decide, delay_s, is_restartable
from hopper.model.scope import Scope
from hopper.model.state import State

NOW = 1_000_000
POLICY = RestartPolicy(mode="on-failure", max_restarts=3, window_s=60, initial_delay_s=1, max_delay_s=10, jitter=0.5)
FAILED = Record(
    id="x",
    name="x",
    scope=Scope.PROJECT,
    state=State.FAILED,
    incarnation=7,
    started_at_ms=NOW - 5_000,
    stopped_at_ms=NOW,
    restart=POLICY,
)
DOWN = replace(FAILED, state=State.RUNNING, health=Health.DOWN, stopped_at_ms=None, down_at_ms=NOW, ttl_ms=15_000)


@pytest.mark.parametrize("multiplier", [1.0, 1.5, 2.0, 10.0])
@pytest.mark.parametrize(("initial_s", "longest_s"), [(0.0, 5.0), (0.1, 60.0), (1.0, 60.0), (3.0, 1.0), (1.0, 0.0)])
def test_the_delay_is_that_of_the_formula(multiplier: float, initial_s: float, longest_s: float) -> None:
    policy = RestartPolicy(initial_delay_s=initial_s, max_delay_s=longest_s, multiplier=multiplier)
    for count in range(1, 40):
        assert delay_s(policy, count) == pytest.approx(min(longest_s, initial_s * multiplier ** (count - 1)))


def test_a_delay_beyond_all_numbers_is_the_longest() -> None:
    assert delay_s(RestartPolicy(multiplier=10.0), 10_000) == 60


@pytest.mark.parametrize("forever_s", [1e300, 1e308, float("inf")])
def test_a_policy_of_an_older_record_that_waits_for_ever_waits_for_ten_years(forever_s: float) -> None:
    policy = RestartPolicy(mode="always", initial_delay_s=forever_s, max_delay_s=forever_s, jitter=0)
    delay_ms = LONGEST_DELAY_S * 1000
    assert decide(policy, RestartLedger(), FAILED, NOW) == Claim(1, delay_ms, NOW + delay_ms)


@pytest.mark.parametrize(
    ("spread", "delay_ms"), [(0, 2_000), (1, 3_000), (-1, 1_000), (0.5, 2_500)], ids=["none", "most", "least", "some"]
)
def test_the_delay_is_spread_by_the_jitter(spread: float, delay_ms: int) -> None:
    assert decide(POLICY, RestartLedger(count=1), FAILED, NOW, spread) == Claim(2, delay_ms, NOW + delay_ms)


@pytest.mark.parametrize(
    ("now_ms", "left_ms"), [(NOW, 2_000), (NOW + 500, 1_500), (NOW + 9_000, 0), (NOW - 3_600_000, 2_000)]
)
def test_a_clock_that_is_set_back_leaves_no_more_than_was_claimed(now_ms: int, left_ms: int) -> None:
    assert RestartLedger(claimed_at_ms=NOW, not_before_ms=NOW + 2_000).left_ms(now_ms) == left_ms


EARLIER = RestartLedger(count=2, incarnation=6, outcome=Outcome.CLAIMED)
CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "the first failure": (POLICY, RestartLedger(), FAILED, Claim(1, 1_000, NOW + 1_000)),
    "a third in a row": (POLICY, EARLIER, FAILED, Claim(3, 4_000, NOW + 4_000)),
    "a delay over the longest": (replace(POLICY, max_restarts=9), replace(EARLIER, count=8), FAILED,
        Claim(9, 10_000, NOW + 10_000)),
    "one more than allowed": (POLICY, replace(EARLIER, count=3), FAILED, Exhausted(3)),
    "none allowed": (replace(POLICY, max_restarts=0), RestartLedger(), FAILED, Exhausted(0)),
    "one that lived for the window": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, started_at_ms=NOW - 60_000), Claim(1, 1_000, NOW + 1_000)),
    "one that lived for the window, again": (POLICY, RestartLedger(count=2, incarnation=7, outcome=Outcome.SENT),
        replace(FAILED, started_at_ms=NOW - 90_000), Claim(3, 4_000, NOW + 4_000)),
    "one that lived a little less": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, started_at_ms=NOW - 59_999), Exhausted(3)),
    "one that lived for the window, and failed long ago": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, started_at_ms=NOW - 160_000, stopped_at_ms=NOW - 100_000), Claim(1, 1_000, NOW + 1_000)),
    "one that failed at once, long ago": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, started_at_ms=NOW - 101_000, stopped_at_ms=NOW - 100_000), Exhausted(3)),
    "a down one that lived for the window": (POLICY, replace(EARLIER, count=3),
        replace(DOWN, started_at_ms=NOW - 75_000), Claim(1, 1_000, NOW + 1_000)),
    "a down one whose last heartbeat was before the window": (POLICY, replace(EARLIER, count=3),
        replace(DOWN, started_at_ms=NOW - 74_999), Exhausted(3)),
    "a down one that was suspect for its grace": (POLICY, replace(EARLIER, count=3),
        replace(DOWN, started_at_ms=NOW - 75_000, grace_ms=1), Exhausted(3)),
    "one that lives, since the window": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, state=State.RUNNING, stopped_at_ms=None, started_at_ms=NOW - 60_000),
        Claim(1, 1_000, NOW + 1_000)),
    "one that failed before it started, as the clock was set back": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, started_at_ms=NOW + 1), Claim(1, 1_000, NOW + 1_000)),
    "one that failed as it started": (POLICY, replace(EARLIER, count=3), replace(FAILED, started_at_ms=NOW),
        Exhausted(3)),
    "a down one that was so before it started": (POLICY, replace(EARLIER, count=3),
        replace(DOWN, started_at_ms=NOW + 1), Claim(1, 1_000, NOW + 1_000)),
    "a down one whose heartbeat was shorter than its TTL": (POLICY, replace(EARLIER, count=3),
        replace(DOWN, started_at_ms=NOW - 4_000), Exhausted(3)),
    "one that lives, and started in time to come": (POLICY, replace(EARLIER, count=3),
        replace(FAILED, state=State.RUNNING, stopped_at_ms=None, started_at_ms=NOW + 1),
        Claim(1, 1_000, NOW + 1_000)),
    "one that never started": (POLICY, EARLIER, replace(FAILED, started_at_ms=None), Claim(3, 4_000, NOW + 4_000)),
    "one that somebody started again after it was given up": (POLICY,
        replace(EARLIER, count=3, outcome=Outcome.EXHAUSTED), FAILED, Claim(1, 1_000, NOW + 1_000)),
    "one that was claimed while it lived, and lived for the window": (POLICY,
        RestartLedger(count=3, incarnation=7, alive=True, outcome=Outcome.SENT),
        replace(FAILED, started_at_ms=NOW - 60_000), Claim(1, 1_000, NOW + 1_000)),
    "one that was claimed while it lived, and lived a little less": (POLICY,
        RestartLedger(count=3, incarnation=7, alive=True, outcome=Outcome.SENT),
        replace(FAILED, started_at_ms=NOW - 59_999), Exhausted(3)),
    "the very one that was given up": (POLICY,
        replace(EARLIER, count=3, incarnation=7, outcome=Outcome.EXHAUSTED), FAILED, Exhausted(3)),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "ledger", "record", "decision"), CASES.values(), ids=CASES)
def test_a_failure_is_restarted_later_and_later_until_the_policy_is_used_up(
    policy: RestartPolicy, ledger: RestartLedger, record: Record, decision: Claim | Exhausted
) -> None:
    assert decide(policy, ledger, record, NOW) == decision


RESTARTABLE: dict[str, tuple[Record, bool]] = {
    "failed": (FAILED, True),
    "down": (DOWN, True),
    "failed, always": (replace(FAILED, restart=replace(POLICY, mode="always")), True),
    "failed, never": (replace(FAILED, restart=replace(POLICY, mode="never")), False),
    "failed, no policy": (replace(FAILED, restart=None), False),
    "alive": (replace(DOWN, health=Health.UNHEALTHY), False),
    "suspect": (replace(DOWN, health=Health.SUSPECT), False),
    "stopped": (replace(FAILED, state=State.STOPPED), False),
    "stopped, always": (replace(FAILED, state=State.STOPPED, restart=replace(POLICY, mode="always")), False),
}


@pytest.mark.parametrize(("record", "is_one"), RESTARTABLE.values(), ids=RESTARTABLE)
def test_what_has_failed_or_is_down_is_restartable_by_its_policy(record: Record, is_one: bool) -> None:
    assert is_restartable(record) is is_one


COVERED: dict[str, tuple[RestartLedger, Record, bool]] = {
    "none was claimed": (RestartLedger(count=2), FAILED, False),
    "one of an earlier incarnation": (EARLIER, FAILED, False),
    "one to come": (RestartLedger(incarnation=7, outcome=Outcome.CLAIMED), FAILED, True),
    "one for good": (RestartLedger(incarnation=7, outcome=Outcome.EXHAUSTED), FAILED, True),
    "one that was given up": (RestartLedger(incarnation=7, outcome=Outcome.CANCELLED), FAILED, True),
    "one that was given up while it lived": (
        RestartLedger(incarnation=7, alive=True, outcome=Outcome.CANCELLED), FAILED, False),
    "one that was given up, and it lives": (
        RestartLedger(incarnation=7, alive=True, outcome=Outcome.CANCELLED),
        replace(DOWN, health=Health.SUSPECT), True),
    "one that was sent, and has its time": (
        RestartLedger(incarnation=7, outcome=Outcome.SENT, register_by_ms=NOW + 1), FAILED, True),
    "one that was sent in vain": (
        RestartLedger(incarnation=7, outcome=Outcome.SENT, register_by_ms=NOW), FAILED, False),
    "one that was sent, and the clock set back by as much as it has": (
        RestartLedger(incarnation=7, outcome=Outcome.SENT, settled_at_ms=NOW + 500, register_by_ms=NOW + 1_000),
        FAILED, True),
    "one that was sent, and the clock set back by more": (
        RestartLedger(incarnation=7, outcome=Outcome.SENT, settled_at_ms=NOW + 501, register_by_ms=NOW + 1_001),
        FAILED, False),
    "one that was sent while it lived, and has its time": (
        RestartLedger(incarnation=7, alive=True, outcome=Outcome.SENT, register_by_ms=NOW + 1), DOWN, True),
    "one that was sent in vain while it lived": (
        RestartLedger(incarnation=7, alive=True, outcome=Outcome.SENT, register_by_ms=NOW), DOWN, False),
    "one that was sent, and it lives": (
        RestartLedger(incarnation=7, alive=True, outcome=Outcome.SENT, register_by_ms=1),
        replace(DOWN, health=Health.HEALTHY), True),
}  # fmt: skip


@pytest.mark.parametrize(("ledger", "record", "covered"), COVERED.values(), ids=COVERED)
def test_a_claim_leaves_no_room_for_another_unless_it_came_to_nothing(
    ledger: RestartLedger, record: Record, covered: bool
) -> None:
    assert ledger.covers(record, NOW) is covered


def test_a_ledger_is_read_as_it_was_written_and_leaves_what_is_not_its_own() -> None:
    written = {
        b"count": b"2", b"incarnation": b"7", b"claimed_at_ms": b"10", b"not_before_ms": b"20", b"reason": b"exit",
        b"executor": b"", b"executor_until_ms": b"0", b"outcome": b"claimed", b"flaps": b"[1,2]",
    }  # fmt: skip
    ledger = RestartLedger.from_hash(written)
    assert ledger == RestartLedger(
        count=2, incarnation=7, claimed_at_ms=10, not_before_ms=20, reason="exit", outcome=Outcome.CLAIMED
    )
    assert RestartLedger.from_hash({b"flaps": b"[1]"}) == RestartLedger()
    with pytest.raises(ValueError, match="nonsense"):
        RestartLedger.from_hash({b"outcome": b"nonsense"})


@pytest.mark.parametrize(
    ("outcome", "stands", "is_open", "exhausted"),
    [
        (None, False, False, False),
        (Outcome.CLAIMED, True, True, False),
        (Outcome.FAILED, True, True, False),
        (Outcome.SENT, True, False, False),
        (Outcome.CANCELLED, True, False, False),
        (Outcome.EXHAUSTED, True, False, True),
    ],
)
def test_a_claim_stands_for_its_incarnation_alone(
    outcome: Outcome | None, stands: bool, is_open: bool, exhausted: bool
) -> None:
    ledger = RestartLedger(incarnation=7, outcome=outcome)
    assert (ledger.stands(7), ledger.is_open(7), ledger.is_exhausted(7)) == (stands, is_open, exhausted)
    assert [ledger.stands(8), ledger.is_open(8), ledger.is_exhausted(8)] == [False] * 3
