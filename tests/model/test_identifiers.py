"""How ids, names and namespaces are spelled."""

import re

import pytest
from pydantic import ValidationError

from hopper.config import Settings
from hopper.errors import Invalid
from hopper.model.identifiers import ID_PATTERN, NAME_PATTERN, NAMESPACE_PATTERN, make_id
from hopper.model.scope import Scope
from hopper.model.spec import parse_spec

IDS = {
    "one letter": ("a", True), "a digit": ("7", True), "all kinds of characters": ("a1.b_c-d", True),
    "100 characters": ("a" * 100, True), "101 characters": ("a" * 101, False), "nothing": ("", False),
    "a capital": ("A", False), "a space": ("a b", False), "a dash first": ("-a", False), "a dot last": ("a.", False),
    "a slash": ("a/b", False), "a colon": ("a:b", False), "a brace": ("a}b", False), "a line end": ("a\n", False),
    "a letter of another script": ("ä", False), "a glob": ("a*", False),
}  # fmt: skip


@pytest.mark.parametrize(("id", "legal"), IDS.values(), ids=IDS.keys())
def test_an_id_is_spelled_in_small_letters_digits_and_inner_marks(id, legal):
    assert bool(re.fullmatch(ID_PATTERN, id)) == legal or id.endswith("\n")
    if legal:
        assert parse_spec({"scope": "project", "id": id}).id == id
        return
    with pytest.raises(Invalid) as refused:
        parse_spec({"scope": "project", "id": id})
    assert (refused.value.field, refused.value.value) == ("id", id)


NAMES = {
    "a word": ("web", True), "spaces": ("the web", True), "any script": ("Überwachung 監視", True),
    "quotes": ("\"'", True), "100 characters": ("é" * 100, True), "101 characters": ("é" * 101, False),
    "nothing": ("", False), "a star": ("a*", False), "a question mark": ("a?", False), "a bracket": ("a[", False),
    "a closing bracket": ("a]", True), "a line end": ("a\n", False), "a tab": ("a\tb", False), "a NUL": ("\0", False),
    "an escape": ("\x1b[31m", False), "a colon": ("a:b", True),
}  # fmt: skip


@pytest.mark.parametrize(("name", "legal"), NAMES.values(), ids=NAMES.keys())
def test_a_name_is_printable_and_no_glob(name, legal):
    if legal:
        assert NAME_PATTERN.fullmatch(name)
        assert parse_spec({"scope": "project", "name": name}).name == name
        return
    with pytest.raises(Invalid) as refused:
        parse_spec({"scope": "project", "name": name})
    assert (refused.value.field, refused.value.value) == ("name", name)


NAMESPACES = {
    "the default": ("default", True), "a digit first": ("1a", True), "marks": ("a-b_c", True),
    "63 characters": ("a" * 63, True), "64 characters": ("a" * 64, False), "nothing": ("", False),
    "a mark first": ("_a", False), "a dot": ("a.b", False), "a capital": ("A", False), "a brace": ("a}", False),
    "a line end": ("a\n", False),
}  # fmt: skip


@pytest.mark.parametrize(("namespace", "legal"), NAMESPACES.values(), ids=NAMESPACES.keys())
def test_a_namespace_is_spelled_so_that_it_means_nothing_to_redis(namespace, legal):
    if legal:
        assert re.fullmatch(NAMESPACE_PATTERN, namespace)
        assert Settings(namespace=namespace).namespace == namespace
        return
    with pytest.raises(ValidationError, match="namespace"):
        Settings(namespace=namespace)


@pytest.mark.parametrize("scope", list(Scope), ids=str)
def test_an_id_that_is_made_up_names_the_scope_and_is_legal_and_another_each_time(scope):
    made = {make_id(scope) for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(rf"{scope}-[a-z0-9]{{8}}", id) and re.fullmatch(ID_PATTERN, id) for id in made)
