"""One tree of errors; its drawing, its codes and its statuses are what the code says."""

import inspect
import re

import pytest

from hopper import errors
from hopper.errors import BY_LUA_CODE, Compacted, HopperError, Invalid, Malformed, Superseded, Unavailable

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}

BY_CONTRACT = {
    "malformed": 400, "not-found": 404, "global-exists": 409, "scope-rule": 409, "name-taken": 409, "exists": 409,
    "has-children": 409, "leaving": 409, "illegal-transition": 409, "stale-incarnation": 409, "conflict": 409,
    "compacted": 410, "precondition-failed": 412, "too-large": 413, "invalid": 422, "unavailable": 503,
}  # fmt: skip
"""Codes and statuses of section 9 of the design."""


def drawn() -> list[tuple[str, str, str | None]]:
    """Each line of the tree in the docstring: name, the name above it, and the status if one is written."""
    lines = [line for line in errors.__doc__.splitlines() if re.match(r"[│├└─ ]*[A-Z]\w+(\s{2,}|$)", line)]
    above: list[str] = []
    found = []
    for line in lines:
        match = re.match(r"(?P<indent>[│├└─ ]*)(?P<name>\w+)\s*(?P<status>\d{3})?", line)
        depth = len(match["indent"]) // 4
        del above[depth:]
        found.append((match["name"], above[-1] if above else "Exception", match["status"]))
        above.append(match["name"])
    return found


def test_every_error_is_drawn_exported_and_a_hopper_error():
    assert sorted(name for name, *_ in drawn()) == sorted(CLASSES)
    assert set(errors.__all__) == {*CLASSES, "BY_LUA_CODE"}
    assert errors.__all__ == sorted(errors.__all__)
    assert all(issubclass(kind, HopperError) for kind in CLASSES.values())


@pytest.mark.parametrize(("name", "above", "status"), drawn(), ids=[name for name, *_ in drawn()])
def test_the_drawing_shows_the_true_parent_and_status(name, above, status):
    assert CLASSES[name].__base__.__name__ == above
    if status is not None:
        assert CLASSES[name].status == int(status)


@pytest.mark.parametrize(("code", "status"), BY_CONTRACT.items(), ids=BY_CONTRACT.keys())
def test_a_code_of_the_contract_has_its_status(code, status):
    kinds = [kind for kind in CLASSES.values() if vars(kind).get("code") == code]
    assert [kind.status for kind in kinds] == [status]


def test_no_two_errors_share_a_code_but_a_session_that_was_superseded():
    codes: dict[str, str] = {}
    for name, kind in CLASSES.items():
        if kind not in (errors.Refused, Superseded):
            assert codes.setdefault(kind.code, name) == name
    assert Superseded.code == "stale-incarnation"


@pytest.mark.parametrize(("word", "kind"), BY_LUA_CODE.items(), ids=BY_LUA_CODE.keys())
def test_a_word_of_lua_is_the_code_in_capitals(word, kind):
    assert re.fullmatch(r"[A-Z_]+", word)
    assert kind.code == word.lower().replace("_", "-")


MEMBERS = {
    "no more than the sentence": (errors.NotFound("x"), {}),
    "a field and its value": (Invalid("x", field="ttl_ms", value=5), {"field": "ttl_ms", "value": 5}),
    "a field that is absent": (Invalid("x", field="scope", value=None), {"field": "scope", "value": None}),
    "no field": (Malformed("x"), {}),
    "the revisions that are left": (
        Compacted("x", oldest_revision=3, revision=9),
        {"oldest_revision": 3, "revision": 9},
    ),
    "the outcome": (Unavailable("x", outcome="unknown"), {"outcome": "unknown"}),
    "the outcome unless told": (Unavailable("x"), {"outcome": "not-applied"}),
    "the outcome of a stall": (errors.Stalled("x"), {"outcome": "not-applied"}),
}


@pytest.mark.parametrize(("error", "members"), MEMBERS.values(), ids=MEMBERS.keys())
def test_an_error_carries_what_a_program_may_want_to_read(error, members):
    assert error.members == members
    assert str(error) == "x"
