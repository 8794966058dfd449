"""Many instances by one command."""

import orjson
import pytest

from cli.commands import Hopper

TREE = [
    {"scope": "global", "id": "hub"},
    {"scope": "project", "id": "web", "parent_id": "hub"},
    {"scope": "orchestration", "id": "run", "parent_id": "web"},
]


def test_an_array_registers_a_whole_tree(hopper: Hopper) -> None:
    printed = hopper.ok("register", "--file", "-", input=orjson.dumps(TREE).decode())
    assert printed == "hub  revision 1\nweb  revision 2\nrun  revision 3\n"
    assert hopper.document("get", "run")["parent_id"] == "web"


def test_what_is_refused_is_told_and_the_others_are_registered(hopper: Hopper) -> None:
    entries = [*TREE, {"scope": "global", "id": "hub2"}, {"scope": "project", "id": "api"}]
    result = hopper("register", "--file", "-", "-o", "name", input=orjson.dumps(entries).decode())
    assert result.exit_code == 4
    assert result.stdout == "hub\nweb\nrun\napi\n"
    assert result.stderr == "hopper: instance 'hub2' cannot be the global: 'hub' is\n"


def test_an_entry_that_cannot_be_read_stops_all_before_the_first(hopper: Hopper) -> None:
    entries = orjson.dumps([*TREE, {"scope": "planet"}]).decode()
    said = hopper.refused("register", "--file", "-", input=entries, code=2)
    assert "entry 4 of 4: scope is 'planet'" in said


def test_several_children_are_put_under_a_parent(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("register", "--scope", "orchestration", "--id", "run-2")
    results = hopper.document("link", "run", "run-2", "api")
    assert [result["id"] for result in results] == ["run", "run-2"]
    assert hopper.ok("ls", "--parent", "api", "-o", "name") == "run\nrun-2\n"


@pytest.mark.parametrize(("children", "code"), [(["run", "web"], 4), (["ghost", "run"], 3)], ids=["scope", "nobody"])
def test_a_child_that_is_refused_is_told_and_the_others_move(hopper: Hopper, children: list[str], code: int) -> None:
    hopper.tree()
    result = hopper("link", *children, "api", "-o", "json")
    assert result.exit_code == code
    assert {entry["id"]: "revision" in entry for entry in orjson.loads(result.stdout)} == {
        id: id == "run" for id in children
    }
    assert hopper.document("get", "run")["parent_id"] == "api"


def test_only_under_a_living_parent_where_that_is_asked_for(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("state", "api", "fail")
    said = hopper.refused("link", "run", "api", "--require-live-parent", code=4)
    assert "it is failed and unknown (require_live_parent)" in said
    hopper.ok("link", "run", "api")


def test_options_beside_an_array_are_refused(hopper: Hopper) -> None:
    said = hopper.refused("register", "--file", "-", "--tag", "x", input=orjson.dumps(TREE).decode(), code=2)
    assert "tags is ['x'], and an array names the fields of each itself" in said
