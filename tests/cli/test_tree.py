"""`hopper tree` in each of its formats."""

import pytest

from cli.commands import Hopper


def test_the_text_shows_who_stands_under_whom_and_the_orphans(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("register", "--scope", "project", "--id", "lone", "--state", "created")
    assert hopper.ok("tree") == (
        "● hub global running healthy\n"
        "├── ● web project running healthy\n"
        "│   └── ● run (nightly) orchestration running healthy\n"
        "└── ● api project running healthy\n"
        "orphans\n"
        "└── ○ lone project created unknown\n"
    )


def test_depth_cuts_and_root_chooses_where_to_begin(hopper: Hopper) -> None:
    hopper.tree()
    assert hopper.ok("tree", "--depth", "0").split() == ["●", "hub", "global", "running", "healthy", "…", "2", "more"]
    assert hopper.ok("tree", "--root", "web").splitlines()[0] == "● web project running healthy"


def test_the_json_has_the_same_tree_with_rollups(hopper: Hopper) -> None:
    hopper.tree()
    tree = hopper.document("tree")
    assert tree["root"]["id"] == "hub"
    assert tree["root"]["rollup"] == {"counts": {"healthy": 4}, "worst": "healthy", "total": 4}
    assert [child["id"] for child in tree["root"]["children"]] == ["web", "api"]
    assert tree["orphans"] == []


@pytest.mark.parametrize(
    ("how", "first", "edge"),
    [("mermaid", "graph TD", "n0 --> n1"), ("dot", "digraph hopper {", '"hub" -> "web";')],
    ids=["mermaid", "dot"],
)
def test_the_drawings_have_their_edges(hopper: Hopper, how: str, first: str, edge: str) -> None:
    hopper.tree()
    lines = [line.strip() for line in hopper.ok("tree", "-o", how).splitlines()]
    assert lines[0] == first
    assert edge in lines


def test_an_empty_namespace_is_said_to_be_empty(hopper: Hopper) -> None:
    assert hopper.ok("tree") == "(empty)\n"


def test_an_unknown_root_ends_with_3(hopper: Hopper) -> None:
    hopper.tree()
    assert "'ghost'" in hopper.refused("tree", "--root", "ghost", code=3)


def test_a_negative_depth_ends_with_2(hopper: Hopper) -> None:
    assert "depth" in hopper.refused("tree", "--depth", "-1", code=2)
