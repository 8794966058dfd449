"""`ls` and `discover`: filters, order and formats."""

import pytest

from cli.commands import Hopper
from hopper.cli.output import age


def names(printed: str) -> list[str]:
    return printed.split()


@pytest.fixture
def fleet(hopper: Hopper) -> Hopper:
    """The tree, and two orphans: `lone`, paused and tagged, and `done`, stopped."""
    hopper.tree()
    hopper.ok(
        *("register", "--scope", "project", "--id", "lone", "--state", "paused", "--version", "2"),
        *("--tag", "gpu", "--tag", "eu", "--meta", "team=core", "--address", "lone.example:80"),
    )
    hopper.ok("register", "--scope", "orchestration", "--id", "done", "--state", "stopped", "--tag", "gpu")
    return hopper


def test_the_table_has_a_line_for_each_instance_in_the_order_of_creation(fleet: Hopper) -> None:
    lines = [line.split() for line in fleet.ok("ls").splitlines()]
    assert lines[0] == ["id", "name", "scope", "parent", "state", "health", "age"]
    assert [line[0] for line in lines[1:]] == ["hub", "web", "api", "run", "lone", "done"]
    assert lines[4][:6] == ["run", "nightly", "orchestration", "web", "running", "healthy"]


def test_the_columns_of_the_table_are_aligned_and_have_no_trailing_spaces(fleet: Hopper) -> None:
    lines = fleet.ok("ls").splitlines()
    assert len({line.index(word) for line, word in ((lines[0], "scope"), (lines[4], "orchestration"))}) == 1
    assert not [line for line in lines if line != line.rstrip()]


def test_the_wide_table_adds_columns(fleet: Hopper) -> None:
    header, lone = fleet.ok("ls", "--name", "lone", "-o", "wide").splitlines()
    assert header.split()[7:] == ["address", "version", "tags", "incarnation", "ttl", "revision"]
    assert lone.split()[-6:] == ["lone.example:80", "2", "gpu,eu", "5", "15s", "5"]


def test_json_is_a_list_of_records(fleet: Hopper) -> None:
    records = fleet.document("ls", "--scope", "project")
    assert [record["id"] for record in records] == ["web", "api", "lone"]
    assert records[2]["metadata"] == {"team": "core"}


def test_an_empty_namespace_is_an_empty_list(hopper: Hopper) -> None:
    assert hopper.document("ls") == []
    assert hopper.ok("ls", "-o", "name") == ""


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--scope", "Project"], ["web", "api", "lone"]),
        (["--scope", "project", "--scope", "global"], ["hub", "web", "api", "lone"]),
        (["--state", "paused"], ["lone"]),
        (["--health", "unknown"], ["done"]),
        (["--tag", "gpu"], ["lone", "done"]),
        (["--tag", "gpu", "--tag", "eu"], ["lone"]),
        (["--name", "nightly"], ["run"]),
        (["--name", "*o*"], ["lone", "done"]),
        (["--parent", "hub"], ["web", "api"]),
        (["--ancestor", "hub"], ["web", "run", "api"]),
        (["--version", "2"], ["lone"]),
        (["--meta", "team=core"], ["lone"]),
        (["--meta", "team=other"], []),
        (["--orphan"], ["lone", "done"]),
        (["--no-orphan"], ["hub", "web", "api", "run"]),
        (["--available"], ["hub", "web", "api", "run"]),
        (["--no-available"], ["lone", "done"]),
        (["--scope", "project", "--orphan"], ["lone"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("-") else None,
)
def test_a_filter_lets_through_those_that_it_describes(fleet: Hopper, filters: list[str], found: list[str]) -> None:
    assert sorted(names(fleet.ok("ls", *filters, "-o", "name"))) == sorted(found)


def test_sort_and_limit_order_and_cut_the_list(fleet: Hopper) -> None:
    assert names(fleet.ok("ls", "--sort", "-id", "--limit", "3", "-o", "name")) == ["web", "run", "lone"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sort", "colour"], ["sort", "colour"]),
        (["--limit", "0"], ["limit", "0"]),
        (["--state", "asleep"], ["state", "asleep"]),
        (["--health", "fine"], ["health", "fine"]),
        (["--meta", "lonely"], ["meta", "lonely"]),
    ],
    ids=" ".join,
)
def test_a_bad_filter_ends_with_2_and_is_named(fleet: Hopper, words: list[str], named: list[str]) -> None:
    said = fleet.refused("ls", *words, code=2)
    assert all(word in said for word in named), said


def test_discover_finds_only_those_in_service(fleet: Hopper) -> None:
    assert names(fleet.ok("discover", "-o", "name")) == ["hub", "web", "api", "run"]
    assert names(fleet.ok("discover", "--tag", "gpu", "-o", "name")) == []


def test_discover_finds_the_others_too_when_asked(fleet: Hopper) -> None:
    assert names(fleet.ok("discover", "--tag", "gpu", "--no-available", "-o", "name")) == ["lone", "done"]


def test_discover_finds_those_that_can_take_a_child(fleet: Hopper) -> None:
    fleet.ok("register", "--scope", "project", "--id", "full", "--parent", "hub", "--max-children", "0")
    assert names(fleet.ok("discover", "--can-parent", "orchestration", "-o", "name")) == ["web", "api"]
    assert names(fleet.ok("discover", "--can-parent", "global", "-o", "name")) == []


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (-5, "0s"),
        (119_999, "119s"),
        (120_000, "2m"),
        (7_199_999, "119m"),
        (7_200_000, "2h"),
        (172_799_999, "47h"),
        (172_800_000, "2d"),
    ],
)
def test_an_age_is_shown_in_its_largest_useful_unit(milliseconds: int, shown: str) -> None:
    assert age(milliseconds) == shown
