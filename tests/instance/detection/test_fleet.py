"""The fleet: who is watched, in which group, and how many of it lapsed together."""

import pytest

from hopper.instance.detection.fleet import Fleet, Watch
from hopper.instance.detection.lapses import Together
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State


def record(id: str = "run-1", *, parent_id: str | None = "web", scope: Scope = Scope.ORCHESTRATION, **values) -> Record:
    return Record(id=id, name=id, scope=scope, parent_id=parent_id, **{"health": Health.HEALTHY, **values})


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(tick_ms=5)


def watched(fleet: Fleet, *records: Record) -> list[Watch]:
    return [fleet.take(one, f"heartbeat:{one.id}") for one in records]


@pytest.mark.parametrize(
    ("one", "group"),
    [
        (record(parent_id="web"), "project:web"),
        (record(parent_id=None), "orphans"),
        (record(parent_id=None, scope=Scope.PROJECT), "orphans"),
        (record(parent_id="top", scope=Scope.PROJECT), "global"),
        (record(parent_id=None, scope=Scope.GLOBAL), "global"),
    ],
    ids=["orchestration", "orphaned orchestration", "orphaned project", "project", "global"],
)
def test_an_instance_is_grouped_with_those_that_are_likely_to_lapse_with_it(fleet, one, group):
    assert watched(fleet, one)[0].group.name == group


def test_one_that_moves_changes_its_group_and_an_empty_group_is_forgotten(fleet):
    (watch,) = watched(fleet, record(parent_id="web"))
    old = watch.group
    assert watched(fleet, record(parent_id="api")) == [watch]
    assert (watch.group.name, watch.group.size, old.size) == ("project:api", 1, 0)
    assert watched(fleet, record("run-2", parent_id="web"))[0].group is not old


def test_taking_the_same_instance_again_keeps_its_watch_and_what_is_known_of_it(fleet):
    (watch,) = watched(fleet, record())
    watch.deadline_ms = 1_000
    watched(fleet, record(state=State.STOPPING, grace_ms=500, ttl_ms=2_000))
    assert (len(fleet), watch.group.size, watch.deadline_ms) == (1, 1, 1_000)
    assert (watch.state, watch.ttl_ms, watch.since_ms, watch.grace_end_ms) == (State.STOPPING, 2_000, -1_000, 1_500)


def test_one_that_is_dropped_is_on_no_wheel_and_says_so_to_whoever_still_holds_it(fleet):
    first, second = watched(fleet, record("run-1"), record("run-2"))
    fleet.wheel.schedule(first, 10)
    fleet.drop("run-1")
    fleet.drop("run-1")
    assert list(fleet.wheel.pop_due(1_000)) == []
    assert (first.dropped, second.dropped, second.group.size) == (True, False, 1)
    assert fleet.get("run-1") is None
    assert list(fleet) == [second]


def test_clearing_the_fleet_drops_everybody_and_a_later_watch_is_another_one(fleet):
    watches = watched(fleet, record("run-1"), record("run-2"))
    for watch in watches:
        fleet.wheel.schedule(watch, 10)
    fleet.clear()
    (again,) = watched(fleet, record("run-1"))
    assert [watch.dropped for watch in watches] == [True, True]
    assert again not in watches
    assert (again.dropped, again.group.size, len(fleet)) == (False, 1, 1)
    assert list(fleet.wheel.pop_due(1_000)) == []


def test_a_small_ttl_does_not_hide_lapses_from_a_large_one_of_the_same_group(fleet):
    small, large = watched(fleet, record("run-1", ttl_ms=1_000), record("run-2", ttl_ms=10_000))
    small.lapse(1_000)
    assert small.group.together(8_000, 0) is None
    large.lapse(8_000)
    assert small.group.together(8_000, 0) == Together(2, 10_000)


def test_a_lapse_without_a_verdict_that_was_none_is_counted_no_more(fleet):
    first, second = watched(fleet, record("run-1"), record("run-2"))
    for watch in (first, second):
        watch.lapse(1_000)
    first.revive()
    assert first.lapsed_ms is None
    assert first.group.lapsed(0) == 1


def test_a_lapse_with_a_verdict_stays_counted_after_the_recovery(fleet):
    (watch,) = watched(fleet, record())
    watch.lapse(1_000)
    watch.turn(Health.DOWN)
    watch.revive()
    assert watch.group.lapsed(0) == 1


def test_an_erratic_one_counts_once_however_often_it_lapses(fleet):
    erratic, other = watched(fleet, record("run-1", ttl_ms=60_000), record("run-2", ttl_ms=60_000))
    for at_ms in (1_000, 3_000, 5_000):
        erratic.lapse(at_ms)
        erratic.turn(Health.DOWN)
        erratic.revive()
        erratic.turn(Health.HEALTHY)
    other.lapse(5_000)
    assert erratic.group.lapsed(0) == 2
    assert erratic.group.outer.lapsed(0) == 2


def test_the_members_of_the_global_are_those_of_all_projects_that_are_not_guarded_and_the_global(fleet):
    top, web, run, job = watched(
        fleet,
        record("hq", parent_id=None, scope=Scope.GLOBAL),
        record("web", parent_id="hq", scope=Scope.PROJECT),
        record("run", parent_id="web"),
        record("job", parent_id="shop"),
    )
    outer = top.group
    assert set(fleet.members(outer)) == {top, web, run, job}
    assert (outer.size, fleet.members(run.group)) == (3, [run])
    run.group.guard()
    assert set(fleet.members(outer)) == {top, web, job}
    assert (fleet.spares(record("run", parent_id="web")), fleet.spares(record("x", parent_id="new"))) == (True, False)


def test_a_lapse_began_when_it_was_first_noticed_and_its_deadline_is_no_later_than_that(fleet):
    known, unknown = watched(fleet, record("run-1"), record("run-2"))
    known.deadline_ms = 900
    for watch in (known, unknown):
        watch.wait(1_000)
        watch.lapse(2_000)
    assert (known.lapsed_ms, known.deadline_ms) == (1_000, 900)
    assert (unknown.lapsed_ms, unknown.deadline_ms) == (1_000, 1_000)


def test_one_that_may_not_be_judged_yet_counts_once_it_may_and_then_as_one_that_lapses_now(fleet):
    waiting, judged = watched(fleet, record("run-1", ttl_ms=1_000), record("run-2", ttl_ms=1_000))
    for at_ms in (0, 500, 1_000):
        waiting.lapse(at_ms)
        judged.lapse(at_ms)
    judged.turn(Health.DOWN)
    for at_ms in (1_500, 2_000):
        waiting.wait(at_ms)
        judged.wait(at_ms)
    assert (waiting.group.lapsed(0), waiting.group.outer.lapsed(0)) == (1, 1)
    waiting.lapse(9_000)
    assert (waiting.group.lapsed(0), waiting.group.outer.lapsed(0)) == (1, 1)
    waiting.revive()
    assert (waiting.group.lapsed(0), waiting.group.outer.lapsed(0)) == (0, 0)


def test_one_that_is_told_to_stop_while_it_waits_counts_no_more(fleet):
    (watch,) = watched(fleet, record())
    watch.lapse(1_000)
    watched(fleet, record(state=State.STOPPING))
    watch.lapse(1_500)
    assert watch.group.lapsed(0) == 0


def test_a_lapse_over_which_a_guard_was_released_counts_no_more_and_the_next_one_does(fleet):
    watch, other = watched(fleet, record("run-1"), record("run-2", parent_id="shop"))
    group, outer = watch.group, watch.group.outer
    for one in (watch, other):
        one.lapse(1_000)
    (claimed,) = watched(fleet, record("run-3"))
    claimed.lapse(1_000)
    claimed.turn(Health.DOWN)
    fleet.drop("run-3")
    outer.guard()
    fleet.release(outer)
    for one in (watch, other):
        one.lapse(1_500)
    assert [found.lapsed(0) for found in (group, other.group, outer)] == [0, 0, 0]
    watch.revive()
    watch.lapse(2_000)
    assert [found.lapsed(0) for found in (group, other.group, outer)] == [1, 0, 1]


def lapses(fleet: Fleet, at_ms: float, *projects: str) -> list[int]:
    """How many lapses the groups of these Projects count, and the group around them."""
    groups = [*(fleet.group(f"project:{project}") for project in projects), fleet.group("global")]
    return [group.lapsed(at_ms - 3_000) for group in groups]


def test_a_lapse_that_is_not_judged_yet_moves_with_its_instance(fleet):
    watch, *_ = watched(fleet, record("run-1"), record("run-2"), record("run-3", parent_id="shop"))
    watch.lapse(1_000)
    watched(fleet, record("run-1", parent_id="shop", revision=2))
    assert lapses(fleet, 1_500, "web", "shop") == [0, 1, 1]
    watch.revive()
    assert lapses(fleet, 1_500, "web", "shop") == [0, 0, 0]


@pytest.mark.parametrize("back", [True, False], ids=["recovered", "down"])
def test_a_lapse_that_was_judged_stays_behind_and_counts_nowhere(fleet, back):
    watch, *_ = watched(fleet, record("run-1"), record("run-2"), record("run-3", parent_id="shop"))
    watch.lapse(1_000)
    watch.turn(Health.DOWN)
    if back:
        watch.revive()
        watch.turn(Health.HEALTHY)
    health = watch.health
    watched(fleet, record("run-1", parent_id="shop", revision=2, health=health))
    assert lapses(fleet, 1_500, "web", "shop") == [0, 0, 0]


def test_one_that_leaves_before_a_verdict_never_lapsed_and_one_after_it_did(fleet):
    left, claimed, _ = watched(fleet, record("run-1"), record("run-2"), record("run-3"))
    for watch in (left, claimed):
        watch.lapse(1_000)
    claimed.turn(Health.DOWN)
    for id in ("run-1", "run-2"):
        fleet.drop(id)
    assert lapses(fleet, 1_500, "web") == [1, 1]


def test_one_that_lapses_again_and_again_counts_once_though_it_was_restarted_in_between(fleet):
    watched(fleet, *(record(f"run-{number}", ttl_ms=60_000) for number in range(20)))
    for number in range(4):
        (watch,) = watched(fleet, record("run-0", incarnation=10 + number, revision=10 + number))
        watch.lapse(1_000 + 3_000 * number)
        watch.turn(Health.DOWN)
        fleet.drop("run-0")
    (watch,) = watched(fleet, record("run-0", incarnation=99, revision=99))
    assert (watch.group.lapsed(10_000), watch.group.outer.lapsed(10_000)) == (1, 1)


def test_the_log_does_not_undo_a_verdict_that_it_has_not_told_of_yet(fleet):
    (watch,) = watched(fleet, record(revision=5))
    watch.verdict_revision = 9
    watch.turn(Health.DOWN)
    watched(fleet, record(revision=7, parent_id="api", health=Health.HEALTHY))
    assert (watch.health, watch.group.name) == (Health.DOWN, "project:api")
    watched(fleet, record(revision=10, health=Health.HEALTHY))
    assert watch.health is Health.HEALTHY


@pytest.mark.parametrize(
    ("health", "state", "judged"),
    [
        (Health.HEALTHY, State.RUNNING, False),
        (Health.SUSPECT, State.RUNNING, False),
        (Health.DOWN, State.RUNNING, True),
        (Health.DOWN, State.STOPPING, False),
    ],
)
def test_only_a_down_instance_that_is_not_stopping_has_its_last_verdict(fleet, health, state, judged):
    (watch,) = watched(fleet, record(health=health, state=state))
    assert watch.is_judged is judged
