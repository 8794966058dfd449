"""The three scopes, and which may stand under which."""

import pytest

from hopper.model.scope import PARENT_SCOPE, Scope, child_scope


def test_the_table_is_the_one_of_the_contract():
    assert PARENT_SCOPE == {
        Scope.GLOBAL: None,
        Scope.PROJECT: Scope.GLOBAL,
        Scope.ORCHESTRATION: Scope.PROJECT,
    }


@pytest.mark.parametrize(
    ("scope", "below"),
    [(Scope.GLOBAL, Scope.PROJECT), (Scope.PROJECT, Scope.ORCHESTRATION), (Scope.ORCHESTRATION, None)],
    ids=list(Scope),
)
def test_the_scope_below_is_the_one_whose_parent_it_is(scope, below):
    assert child_scope(scope) is below


def test_levels_only_descend_so_that_no_cycle_can_be_built():
    for scope in Scope:
        seen = []
        above: Scope | None = scope
        while above is not None:
            assert above not in seen
            seen.append(above)
            above = PARENT_SCOPE[above]
        assert seen[-1] is Scope.GLOBAL
