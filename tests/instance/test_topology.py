"""The topology: rollups, depth, roots, and the four ways it is written."""

from typing import Any

import pytest

from hopper.errors import NotFound
from hopper.instance.replica import Replica
from hopper.instance.topology import Format, draw, topology
from hopper.model.health import Health
from hopper.model.record import Record
from hopper.model.scope import Scope
from hopper.model.state import State

TEXT = """\
● top global running healthy
├── ✗ web (the web) project running down
│   ├── ● run-1 orchestration running healthy
│   └── ○ run-2 orchestration stopped unknown
└── ● shop project running healthy
orphans
├── ◐ lost project running degraded
│   └── ? run-3 orchestration running suspect
└── ◑ alone orchestration paused unhealthy
"""

MERMAID = """\
graph TD
  n0["top<br/>global · healthy"]:::healthy
  n1["the web<br/>project · down"]:::down
  n2["run-1<br/>orchestration · healthy"]:::healthy
  n3["run-2<br/>orchestration · unknown"]:::unknown
  n4["shop<br/>project · healthy"]:::healthy
  n5["lost<br/>project · degraded"]:::degraded
  n6["run-3<br/>orchestration · suspect"]:::suspect
  n7["alone<br/>orchestration · unhealthy"]:::unhealthy
  n0 --> n1
  n0 --> n4
  n1 --> n2
  n1 --> n3
  n5 --> n6
"""

DOT = """\
digraph hopper {
  rankdir=TB; node [shape=box];
  "top" [label="top\\nglobal healthy"];
  "top" -> "web";
  "top" -> "shop";
  "web" [label="the web\\nproject down"];
  "web" -> "run-1";
  "web" -> "run-2";
  "run-1" [label="run-1\\norchestration healthy"];
  "run-2" [label="run-2\\norchestration unknown"];
  "shop" [label="shop\\nproject healthy"];
  "lost" [label="lost\\nproject degraded"];
  "lost" -> "run-3";
  "run-3" [label="run-3\\norchestration suspect"];
  "alone" [label="alone\\norchestration unhealthy"];
}
"""


def replica(*rows: tuple[str, Scope, str | None, Health, dict[str, Any]]) -> Replica:
    made = Replica()
    for revision, (id, scope, parent_id, health, more) in enumerate(rows, start=1):
        fields = {"name": id, "revision": revision, "created_revision": revision, **more}
        made.put(Record(id=id, scope=scope, parent_id=parent_id, health=health, **fields))
    made.settle()
    return made


@pytest.fixture
def fleet() -> Replica:
    return replica(
        ("top", Scope.GLOBAL, None, Health.HEALTHY, {}),
        ("web", Scope.PROJECT, "top", Health.DOWN, {"name": "the web"}),
        ("run-1", Scope.ORCHESTRATION, "web", Health.HEALTHY, {}),
        ("run-2", Scope.ORCHESTRATION, "web", Health.UNKNOWN, {"state": State.STOPPED}),
        ("shop", Scope.PROJECT, "top", Health.HEALTHY, {}),
        ("lost", Scope.PROJECT, None, Health.DEGRADED, {}),
        ("run-3", Scope.ORCHESTRATION, "lost", Health.SUSPECT, {}),
        ("alone", Scope.ORCHESTRATION, None, Health.UNHEALTHY, {"state": State.PAUSED}),
    )


@pytest.mark.parametrize(("how", "drawn"), [(Format.TEXT, TEXT), (Format.MERMAID, MERMAID), (Format.DOT, DOT)])
def test_the_whole_tree_is_drawn_as_it_ever_was(fleet, how, drawn):
    assert draw(topology(fleet), how) == drawn


@pytest.mark.parametrize(
    ("how", "drawn"),
    [
        (Format.TEXT, "(empty)\n"),
        (Format.MERMAID, "graph TD\n"),
        (Format.DOT, "digraph hopper {\n  rankdir=TB; node [shape=box];\n}\n"),
    ],
)
def test_an_empty_registry_is_drawn_as_nothing(how, drawn):
    assert draw(topology(Replica()), how) == drawn


def test_a_rollup_counts_the_whole_subtree_however_deep_it_is_shown(fleet):
    for depth in (None, 0, 1, 5):
        root = topology(fleet, depth=depth).root
        assert root is not None
        assert root.as_json()["rollup"] == {
            "counts": {"healthy": 3, "down": 1, "unknown": 1},
            "worst": "down",
            "total": 5,
        }


@pytest.mark.parametrize(
    ("depth", "shown", "hidden"), [(0, [], 2), (1, ["web", "shop"], 0), (None, ["web", "shop"], 0)]
)
def test_depth_cuts_the_tree_and_says_how_much_it_hides(fleet, depth, shown, hidden):
    document = topology(fleet, depth=depth).root.as_json()
    assert [child["id"] for child in document["children"]] == shown
    assert document["hidden_children"] == hidden


def test_what_depth_hides_is_said_in_text_too(fleet):
    assert "✗ web (the web) project running down … 2 more" in draw(topology(fleet, depth=1), Format.TEXT)


def test_a_root_shows_its_own_subtree_and_no_orphans(fleet):
    tree = topology(fleet, root="web")
    assert tree.root.as_json()["id"] == "web"
    assert tree.orphans == []


def test_an_orphan_can_be_a_root(fleet):
    assert draw(topology(fleet, root="lost"), Format.TEXT).splitlines()[1:] == [
        "└── ? run-3 orchestration running suspect"
    ]


def test_an_unknown_root_is_not_found(fleet):
    with pytest.raises(NotFound, match="'nobody'"):
        topology(fleet, root="nobody")


def test_orphans_are_there_without_a_global():
    only = replica(("alone", Scope.PROJECT, None, Health.HEALTHY, {}))
    assert draw(topology(only), Format.TEXT) == "orphans\n└── ● alone project running healthy\n"


def test_a_name_cannot_break_out_of_a_drawing():
    name = 'a"];<b>#quot;&\\'
    odd = replica(("odd", Scope.GLOBAL, None, Health.HEALTHY, {"name": name}))
    mermaid = draw(topology(odd), Format.MERMAID).splitlines()[1]
    assert mermaid == '  n0["a#34;#93;#59;#60;b#62;#35;quot#59;#38;#92;<br/>global · healthy"]:::healthy'
    dot = draw(topology(odd), Format.DOT).splitlines()[2]
    assert dot == '  "odd" [label="a\\"];<b>#quot;&\\\\\\nglobal healthy"];'


def test_what_stands_under_a_record_that_cannot_be_read_is_shown_among_the_orphans() -> None:
    replica = Replica()
    replica.put(Record(id="run", name="run", scope=Scope.ORCHESTRATION, parent_id="broken", revision=1))
    replica.unreadable["broken"] = "its scope is none"
    assert [node.record.id for node in topology(replica).orphans] == ["run"]
