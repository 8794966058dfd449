"""Groups by name: whose guard spares an instance."""

import pytest

from hopper.model.group import groups_around, is_group, project_of
from hopper.model.record import Record
from hopper.model.scope import Scope

WHOSE = {
    "the global": (("g", Scope.GLOBAL, None), ("global",)),
    "a project": (("p", Scope.PROJECT, "g"), ("global",)),
    "an orchestration": (("o", Scope.ORCHESTRATION, "p"), ("project:p", "global")),
    "an orphan": (("o", Scope.ORCHESTRATION, None), ("orphans",)),
    "an orphan project": (("p", Scope.PROJECT, None), ("orphans",)),
}


@pytest.mark.parametrize(("who", "groups"), WHOSE.values(), ids=WHOSE.keys())
def test_the_groups_whose_guard_spares_an_instance_begin_with_its_own(who, groups):
    id, scope, parent_id = who
    assert groups_around(Record(id=id, name=id, scope=scope, parent_id=parent_id)) == groups


@pytest.mark.parametrize(
    ("name", "known", "project"),
    [("global", True, None), ("orphans", True, None), ("project:web", True, "web"), ("web", False, None)],
)
def test_a_name_is_that_of_a_group_or_of_none(name, known, project):
    assert (is_group(name), project_of(name)) == (known, project)
