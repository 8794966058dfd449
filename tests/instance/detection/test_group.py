"""Groups: who counts where, and what a guard takes out of the group around."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from hopper.instance.detection.group import Group


@dataclass(eq=False)
class Someone:
    """A member."""

    ttl_ms: int = 3_000
    counted: bool = True


def group_of(*members: Someone, name: str = "project:web", outer: Group[Someone] | None = None) -> Group[Someone]:
    group = Group(name, outer)
    for member in members:
        group.enter(member)
    return group


def family(sizes: tuple[int, ...] = (3, 2)) -> tuple[Group[Someone], list[Group[Someone]]]:
    """The Global's group and those of its Projects, with so many members each."""
    outer: Group[Someone] = Group("global")
    projects = [
        group_of(*(Someone() for _ in range(size)), name=f"project:{number}", outer=outer)
        for number, size in enumerate(sizes)
    ]
    return outer, projects


def test_the_largest_ttl_is_that_of_those_who_are_in_it_now():
    outer: Group[Someone] = Group("global")
    slow, quick, uncounted = Someone(60_000), Someone(1_000), Someone(90_000, counted=False)
    group = group_of(slow, quick, uncounted, outer=outer)
    assert (group.size, group.ttl_ms, outer.ttl_ms, len(group.members)) == (2, 60_000, 60_000, 3)
    slow.ttl_ms = 5_000
    group.enter(slow)
    assert (group.size, group.ttl_ms, outer.ttl_ms) == (2, 5_000, 5_000)
    group.guard()
    assert (outer.size, outer.ttl_ms) == (0, 0)
    group.release()
    group.leave(slow)
    group.leave(slow)
    assert (group.size, group.ttl_ms, outer.size, outer.ttl_ms) == (1, 1_000, 1, 1_000)


def test_a_group_forgets_lapses_that_are_older_than_its_largest_ttl():
    group = group_of(Someone(3_000), Someone(1_000))
    for id, at_ms in (("a", 0.0), ("b", 1_000.0), ("c", 1_000.0), ("d", 3_500.0)):
        group.lapse(id, at_ms, 1_000)
    assert (group.lapsed(0), group.lapsed(3_000)) == (3, 1)
    group.together(4_001, 0)
    assert group.lapsed(0) == 1


def test_the_members_of_a_project_count_in_the_group_around_it_too():
    outer, (web, shop) = family()
    web.lapse("a", 100, 3_000)
    shop.lapse("b", 200, 3_000)
    shop.leave(next(iter(shop.members)))
    assert (outer.size, outer.ttl_ms, outer.lapsed(0)) == (4, 3_000, 2)
    shop.retract("b")
    assert (outer.lapsed(0), shop.lapsed(0), web.lapsed(0)) == (1, 0, 1)


def test_a_guarded_project_burdens_the_group_around_it_no_more():
    outer, (web, shop) = family()
    web.lapse("a", 100, 3_000)
    shop.lapse("b", 100, 3_000)
    web.guard()
    web.guard()
    assert (outer.size, outer.lapsed(0)) == (2, 1)
    web.lapse("c", 200, 3_000)
    late = Someone()
    web.enter(late)
    web.leave(late)
    assert (outer.size, outer.lapsed(0), web.lapsed(0)) == (2, 1, 2)
    assert (web.spared, shop.spared, outer.spared) == (True, False, False)


def test_after_the_release_it_counts_there_again_but_for_those_who_lapsed():
    outer, (web, _) = family()
    web.lapse("a", 100, 3_000)
    web.guard()
    web.release()
    web.release()
    assert (outer.size, outer.lapsed(0), web.lapsed(0), web.spared) == (5, 0, 0, False)
    web.lapse("a", 300, 3_000)
    assert (outer.lapsed(0), web.lapsed(0)) == (1, 1)


def test_a_guard_around_spares_every_project_below_it():
    outer, (web, shop) = family()
    outer.guard()
    assert (web.spared, shop.spared, web.guarded) == (True, True, False)


def test_a_lapse_that_a_project_counts_no_more_is_not_left_behind_in_the_group_around_it():
    outer, (web, _) = family()
    slow = Someone(60_000)
    outer.enter(slow)
    web.lapse("a", 100, 3_000)
    web.together(10_000, 0)
    outer.together(10_000, 0)
    assert (web.lapsed(0), outer.lapsed(0)) == (0, 1)
    web.guard()
    assert outer.lapsed(0) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lapse", "lapse", "lapse", "retract", "guard", "release", "look"]),
        st.integers(0, 1),
        st.sampled_from("abcd"),
    )
)


@given(STEPS)
def test_however_often_they_lapse_and_whatever_is_guarded_each_counts_once_in_either_group(steps):
    """Against plain sets: who lapsed of each Project, and when, and who of them counts around it."""
    outer, projects = family()
    outer.enter(Someone(9_000))
    own: list[dict[str, int]] = [{}, {}]
    around: dict[str, tuple[int, int]] = {}
    for at_ms, (step, which, name) in enumerate(steps):
        now_ms, group, id = at_ms * 1_000, projects[which], f"{which}-{name}"
        match step:
            case "lapse":
                group.lapse(id, now_ms, 3_000)
                own[which][id] = now_ms
                if not group.guarded:
                    around[id] = which, now_ms
            case "retract":
                group.retract(id)
                own[which].pop(id, None)
                around.pop(id, None)
            case "guard":
                group.guard()
                around = {one: lapse for one, lapse in around.items() if lapse[0] != which}
            case "release" if group.guarded:
                group.release()
                own[which].clear()
            case "look":
                for since_ms in (now_ms - 3_000, now_ms - 1_000):
                    assert group.lapsed(since_ms) == sum(then >= since_ms for then in own[which].values())
                for since_ms in (now_ms - outer.ttl_ms, now_ms - 3_000):
                    assert outer.lapsed(since_ms) == sum(then >= since_ms for _, then in around.values())
