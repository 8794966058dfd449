"""`rm` of an instance with children, and what it tells beforehand."""

import pytest

from cli.commands import Hopper


def test_a_cascade_removes_all_below(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper.ok("rm", "hub", "--children", "cascade").startswith("instance 'hub' is deregistered at revision ")
    assert hopper.ok("ls", "-o", "name") == ""


def test_children_become_orphans_or_move(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("rm", "web", "--children", "reparent", "--reparent-to", "api")
    assert hopper.document("get", "run")["parent_id"] == "api"
    hopper.ok("rm", "api", "--children", "orphan")
    assert hopper.ok("ls", "--orphan", "-o", "name") == "run\n"


@pytest.mark.parametrize(
    ("how", "printed"),
    [
        ("name", "api\nrun\nweb\nhub\n"),
        ("table", "".join(f"instance '{id}' would be deregistered\n" for id in ("api", "run", "web", "hub"))),
    ],
)
def test_a_dry_run_names_whom_it_would_remove_leaves_first(hopper: Hopper, how: str, printed: str) -> None:
    hopper.tree()
    before = hopper.keys()
    assert hopper.ok("rm", "hub", "--children", "cascade", "--dry-run", "-o", how) == printed
    told = hopper.document("rm", "hub", "--children", "cascade", "--dry-run")
    assert told == {"items": ["api", "run", "web", "hub"], "moved": []}
    assert hopper.keys() == before


@pytest.mark.parametrize(
    ("how", "fate"),
    [(["orphan"], "would become an orphan"), (["reparent", "--reparent-to", "api"], "would move to 'api'")],
    ids=["orphan", "reparent"],
)
def test_a_dry_run_names_whom_it_would_leave_behind(hopper: Hopper, how: list[str], fate: str) -> None:
    hopper.tree()
    words = ("rm", "web", "--dry-run", "--children", *how)
    assert hopper.document(*words) == {"items": ["web"], "moved": ["run"]}
    assert hopper.ok(*words) == f"instance 'web' would be deregistered\ninstance 'run' {fate}\n"
    assert hopper.ok(*words, "-o", "name") == "web\n"


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["--children", "burn"], 2, ["burn"]),
        (["--children", "reparent"], 2, ["reparent_to"]),
        (["--reparent-to", "api"], 2, ["reparent_to", "'api'"]),
        (["--children", "reparent", "--reparent-to", "ghost"], 3, ["'web'", "'ghost'"]),
        (["--children", "reparent", "--reparent-to", "hub"], 4, ["'web'", "'hub'"]),
        (["--dry-run"], 4, ["'web'", "1"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_refused(hopper: Hopper, words: list[str], code: int, names: list[str]) -> None:
    hopper.tree()
    said = hopper.refused("rm", "web", *words, code=code)
    assert all(name in said for name in names), said


def test_a_dead_global_does_not_block_its_successor(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("state", "hub", "fail")
    hopper.ok("register", "--scope", "global", "--id", "hub2", "--takeover", "if-dead")
    assert hopper.ok("ls", "--scope", "global", "-o", "name") == "hub2\n"
    assert hopper.ok("ls", "--orphan", "-o", "name") == "web\napi\n"
    assert hopper.document("get", "web")["wish"] == {"id": None, "name": None, "tags": []}


def test_a_state_may_be_expected(hopper: Hopper) -> None:
    hopper.tree()
    said = hopper.refused("state", "web", "stop", "--expected-state", "paused", code=5)
    assert "it is running, not paused" in said
    assert (
        hopper.document("state", "web", "stop", "--expected-state", "running", "--reason", "night")["state"]
        == "stopping"
    )
