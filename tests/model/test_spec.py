"""What a caller says of an instance: what is accepted, what is refused and how, and what a patch makes of it."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopper.errors import Invalid
from hopper.model.policy import RestartPolicy, Threshold, Wish
from hopper.model.record import FIELDS, Record
from hopper.model.scope import Scope
from hopper.model.spec import MUTABLE_FIELDS, InstanceSpec, apply_patch, as_spec, hash_values, parse_spec, spec_of
from hopper.model.state import State
from records import documents, records


def project(**fields: Any) -> dict[str, Any]:
    return {"scope": "project", **fields}


def listed(value: Any) -> Any:
    """A value as JSON would bring it: tuples as lists, policies as objects."""
    return orjson.loads(orjson.dumps(value))


# -- what is accepted ----------------------------------------------------------------------------------------------

GOOD: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a scope in capitals": ({"scope": "PROJECT"}, "scope", Scope.PROJECT),
    "a state in capitals": (project(state="Created"), "state", State.CREATED),
    "no state": (project(), "state", State.RUNNING),
    "tags said twice": (project(tags=["a", "b", "a"]), "tags", ("a", "b")),
    "a URL": (project(address="https://[::1]:8443/x"), "address", "https://[::1]:8443/x"),
    "a host and a port": (project(address="web:80"), "address", "web:80"),
    "an IPv6 host and a port": (project(address="[::1]:80"), "address", "[::1]:80"),
    "named addresses": (project(address={"a": "b:1", "c": "d://e"}), "address", {"a": "b:1", "c": "d://e"}),
    "the shortest ttl": (project(ttl_ms=1000), "ttl_ms", 1000),
    "the longest ttl": (project(ttl_ms=86_400_000), "ttl_ms", 86_400_000),
    "null for what may be absent": (project(address=None, wish=None, max_children=None), "wish", None),
    "a policy": (project(restart={"mode": "always"}), "restart", RestartPolicy(mode="always")),
    "thresholds": (project(thresholds={"queue_depth": {"degraded": 5}}), "thresholds", {"queue_depth": Threshold(5)}),
    "a wish": (project(wish={"tags": ["a"]}), "wish", Wish(tags=("a",))),
    "config of any shape": (project(config={"a": [{"b": None}]}), "config", {"a": [{"b": None}]}),
}


@pytest.mark.parametrize(("document", "field", "value"), GOOD.values(), ids=GOOD.keys())
def test_a_good_document_is_accepted(document, field, value):
    assert getattr(parse_spec(document), field) == value


# -- what is refused -----------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str, Any]] = {
    "no scope": ({}, "scope", None),
    "another scope": ({"scope": "galaxy"}, "scope", "galaxy"),
    "a scope that is no text": ({"scope": 5}, "scope", 5),
    "another state": (project(state="asleep"), "state", "asleep"),
    "a bad id": (project(id="Web"), "id", "Web"),
    "a bad parent": (project(parent_id="We b"), "parent_id", "We b"),
    "a bad name": (project(name="a*"), "name", "a*"),
    "a name that is no text": (project(name=5), "name", 5),
    "an unknown field": (project(colour="blue"), "colour", "blue"),
    "a field of the registry": (project(health="healthy"), "health", "healthy"),
    "a revision": (project(revision=5), "revision", 5),
    "an address without a port": (project(address="web"), "address", "web"),
    "an address with a port too high": (project(address="web:65536"), "address", "web:65536"),
    "an address without a host": (project(address=":80"), "address", ":80"),
    "an empty address": (project(address=""), "address", ""),
    "an address that looks like an object": (project(address="{a}:80"), "address", "{a}:80"),
    "no named address": (project(address={}), "address", {}),
    "a version too long": (project(version="1" * 201), "version", "1" * 201),
    "a version that is no text": (project(version=1), "version", 1),
    "tags that are a text": (project(tags="eu"), "tags", "eu"),
    "an empty tag": (project(tags=["eu", ""]), "tags.1", ""),
    "a tag that is no text": (project(tags=[5]), "tags.0", 5),
    "metadata that is no text": (project(metadata={"a": 5}), "metadata.a", 5),
    "metadata named like a type": (project(metadata={"str": 5}), "metadata.str", 5),
    "metadata that is a list": (project(metadata=["a"]), "metadata", ["a"]),
    "a ttl too short": (project(ttl_ms=999), "ttl_ms", 999),
    "a ttl too long": (project(ttl_ms=86_400_001), "ttl_ms", 86_400_001),
    "a ttl that is no number": (project(ttl_ms="soon"), "ttl_ms", "soon"),
    "a ttl of a fraction": (project(ttl_ms=1500.5), "ttl_ms", 1500.5),
    "a negative grace": (project(grace_ms=-1), "grace_ms", -1),
    "a negative room": (project(max_children=-1), "max_children", -1),
    "a room beyond 64 bits": (project(max_children=2**70), "max_children", 2**70),
    "a time beyond 64 bits": (project(deregister_after_ms=2**70), "deregister_after_ms", 2**70),
    "ephemeral or not": (project(ephemeral="maybe"), "ephemeral", "maybe"),
    "another restart mode": (project(restart={"mode": "sometimes"}), "restart.mode", "sometimes"),
    "an unknown field of a policy": (project(restart={"mod": "never"}), "restart.mod", "never"),
    "a policy that is a text": (project(restart="never"), "restart", "never"),
    "jitter over one": (project(restart={"jitter": 2}), "restart.jitter", 2),
    "a first delay for ever": (project(restart={"initial_delay_s": 1e308}), "restart.initial_delay_s", 1e308),
    "a longest delay for ever": (project(restart={"max_delay_s": 1e308}), "restart.max_delay_s", 1e308),
    "a threshold that is no number": (
        project(thresholds={"queue_depth": {"degraded": "x"}}), "thresholds.queue_depth.degraded", "x",
    ),
    "a wish for a bad id": (project(wish={"id": "A"}), "wish.id", "A"),
    "another check": (project(check={"kind": "udp"}), "check.kind", "udp"),
    "a check without its kind": (project(check={"interval_s": 5}), "check.kind", None),
    "config that is a list": (project(config=[1]), "config", [1]),
}  # fmt: skip


@pytest.mark.parametrize(("document", "field", "value"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_refused_by_field_and_value(document, field, value):
    with pytest.raises(Invalid) as refused:
        parse_spec(document)
    assert (refused.value.field, refused.value.value) == (field, value)
    sentence = str(refused.value)
    assert field in sentence
    assert value is None or "unknown field" in sentence or repr(value)[:50] in sentence


@pytest.mark.parametrize("document", [[], None, "project", 5], ids=["list", "null", "text", "number"])
def test_what_is_no_object_is_refused(document):
    with pytest.raises(Invalid, match="an instance is an object of fields"):
        parse_spec(document)


NO_JSON = {"a set": {1}, "an object": object(), "a large integer": 2**70, "a lone surrogate": "\ud800"}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON.keys())
def test_config_that_has_no_json_form_is_invalid_and_no_type_error(value):
    with pytest.raises(Invalid, match="config"):
        parse_spec(project(config={"x": value}))


def test_a_document_over_8_kib_is_refused_with_its_size():
    with pytest.raises(Invalid, match=r"the record has 9\d{3} bytes, and at most 8192 are stored"):
        parse_spec(project(metadata={"a": "x" * 9000}))


def test_a_long_bad_value_is_not_repeated_whole():
    with pytest.raises(Invalid) as refused:
        parse_spec(project(description="x" * 5000))
    assert len(str(refused.value)) < 500


@given(documents)
def test_any_document_of_good_values_is_accepted_as_it_is(document):
    spec = parse_spec(listed(document))
    for name, value in document.items():
        assert listed(getattr(spec, name)) == listed(value)


# -- what is filled in ---------------------------------------------------------------------------------------------


def test_what_is_absent_is_filled_in():
    spec = parse_spec(project()).completed(ttl_ms=15_000)
    assert spec.id.startswith("project-")
    assert (spec.name, spec.ttl_ms, spec.ephemeral, spec.deregister_after_ms) == (spec.id, 15_000, False, None)


def test_what_is_there_is_kept():
    spec = parse_spec(project(id="p", name="Web", ttl_ms=5000, ephemeral=True, deregister_after_ms=7))
    assert spec.completed(ttl_ms=15_000) == spec


EPHEMERAL = {
    "a project": ("project", None, None, False, None),
    "an orchestration": ("orchestration", None, None, True, 600_000),
    "an orchestration that stays": ("orchestration", False, None, False, None),
    "a project that goes": ("project", True, None, True, 600_000),
    "a time of its own": ("orchestration", None, 5, True, 5),
    "at once": ("orchestration", None, 0, True, 0),
    "one that stays, reaped": ("project", None, 5, False, 5),
}


@pytest.mark.parametrize(("scope", "said", "after", "ephemeral", "reap_ms"), EPHEMERAL.values(), ids=EPHEMERAL.keys())
def test_orchestrations_are_ephemeral_and_ephemeral_ones_are_reaped_after_ten_minutes(
    scope, said, after, ephemeral, reap_ms
):
    spec = InstanceSpec(scope=Scope(scope), ephemeral=said, deregister_after_ms=after).completed(ttl_ms=1000)
    assert (spec.ephemeral, spec.deregister_after_ms) == (ephemeral, reap_ms)


def test_the_hash_of_a_spec_has_exactly_the_fields_an_update_may_change():
    values = hash_values(parse_spec(project(tags=["a"])).completed(ttl_ms=1000))
    assert tuple(values) == MUTABLE_FIELDS
    assert (values["tags"], values["address"], values["ttl_ms"]) == ('["a"]', "", "1000")
    assert set(MUTABLE_FIELDS) < set(FIELDS)
    assert not {"id", "scope", "parent_id", "state", "health", "revision", "incarnation"} & set(MUTABLE_FIELDS)


@given(records)
def test_the_spec_of_a_record_is_what_would_register_it(record):
    spec = spec_of(record)
    assert all(getattr(spec, name) == getattr(record, name) for name in MUTABLE_FIELDS)
    assert (spec.id, spec.scope, spec.parent_id, spec.state) == (
        record.id, record.scope, record.parent_id, record.state,
    )  # fmt: skip


# -- patches -------------------------------------------------------------------------------------------------------

RECORD = Record(
    id="p", name="web", scope=Scope.PROJECT, tags=("a", "b"), metadata={"x": "1", "y": "2"}, version="1",
    config={"deep": {"a": 1, "b": 2}, "list": [1, 2]}, max_children=5, restart=RestartPolicy(mode="always"),
)  # fmt: skip

PATCHES: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a value": ({"version": "2"}, "version", "2"),
    "null removes": ({"version": None}, "version", None),
    "null for a default": ({"max_children": None}, "max_children", None),
    "a list is replaced": ({"tags": ["c"]}, "tags", ("c",)),
    "null empties a list": ({"tags": None}, "tags", ()),
    "an object is merged": ({"metadata": {"y": "3", "z": "4"}}, "metadata", {"x": "1", "y": "3", "z": "4"}),
    "null removes a member": ({"metadata": {"x": None}}, "metadata", {"y": "2"}),
    "null for a member that is not there": ({"metadata": {"q": None}}, "metadata", {"x": "1", "y": "2"}),
    "null empties an object": ({"metadata": None}, "metadata", {}),
    "an empty object changes nothing": ({"metadata": {}}, "metadata", {"x": "1", "y": "2"}),
    "deep in an object": ({"config": {"deep": {"a": None, "c": 3}}}, "config",
        {"deep": {"b": 2, "c": 3}, "list": [1, 2]}),
    "a list deep in an object is replaced": ({"config": {"list": [3]}}, "config",
        {"deep": {"a": 1, "b": 2}, "list": [3]}),
    "an object for a value": ({"config": {"list": {"a": 1}}}, "config", {"deep": {"a": 1, "b": 2}, "list": {"a": 1}}),
    "nulls in a new object are left out": ({"config": {"new": {"a": None, "b": 1}}}, "config",
        {"deep": {"a": 1, "b": 2}, "list": [1, 2], "new": {"b": 1}}),
    "one field of a policy": ({"restart": {"max_restarts": 1}}, "restart",
        RestartPolicy(mode="always", max_restarts=1)),
    "a policy removed": ({"restart": None}, "restart", None),
    "nothing": ({}, "tags", ("a", "b")),
}  # fmt: skip


@pytest.mark.parametrize(("patch", "field", "value"), PATCHES.values(), ids=PATCHES.keys())
def test_a_patch_is_merged_as_rfc_7396_says_and_leaves_the_rest(patch, field, value):
    spec = apply_patch(RECORD, patch)
    assert getattr(spec, field) == value
    assert replace(spec, **{field: getattr(RECORD, field)}) == spec_of(RECORD)


BAD_PATCHES: dict[str, tuple[Any, str]] = {
    "an unknown field": ({"colour": "blue"}, "'colour' is not a field"),
    "the scope": ({"scope": "global"}, "'scope' is not changed by an update"),
    "the parent": ({"parent_id": "g"}, "'parent_id' is not changed by an update"),
    "the state": ({"state": "running"}, "'state' is not changed by an update"),
    "the health": ({"health": "down"}, "'health' is not changed by an update"),
    "the id": ({"id": "q"}, "'id' is not changed by an update"),
    "the revision": ({"revision": 5}, "'revision' is not changed by an update"),
    "a bad value": ({"ttl_ms": 5}, "ttl_ms is 5"),
    "a bad value deep": ({"restart": {"mode": "x"}}, "restart.mode is 'x'"),
    "a list": ([], "a patch is an object of fields"),
    "null": (None, "a patch is an object of fields"),
}


@pytest.mark.parametrize(("patch", "says"), BAD_PATCHES.values(), ids=BAD_PATCHES.keys())
def test_a_bad_patch_is_refused(patch, says):
    with pytest.raises(Invalid) as refused:
        apply_patch(RECORD, patch)
    assert says in str(refused.value)


@given(records)
def test_an_empty_patch_changes_nothing(record):
    assert apply_patch(record, {}) == spec_of(record)


unchecked = records.map(lambda record: replace(record, check=None))
"""Records whose address nothing depends on."""


@given(unchecked, documents)
def test_a_patch_of_good_values_is_what_is_read_afterwards(record, document):
    patch = listed({name: value for name, value in document.items() if name in MUTABLE_FIELDS and value is not None})
    plain = {name: value for name, value in patch.items() if not isinstance(value, dict)}
    spec = apply_patch(record, plain)
    assert all(listed(getattr(spec, name)) == value for name, value in plain.items())


@given(unchecked, st.sampled_from(MUTABLE_FIELDS))
def test_null_puts_any_field_back_to_its_default(record, name):
    assert getattr(apply_patch(record, {name: None}), name) == getattr(InstanceSpec(scope=record.scope), name)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"scope": "global", "wish": {}}, r"wish is {}, and a global looks for no parent"),
        ({"scope": "global", "wish": {"name": "x"}}, r"wish is {'name': 'x'}, and a global looks for no parent"),
        ({"scope": "orchestration", "wish": {}}, r"wish is {}, and an orchestration looks for an id, a name or tags"),
    ],
    ids=["a global", "a global by name", "an orchestration for nobody"],
)
def test_a_wish_that_nothing_could_ever_fulfil_is_refused(document, says):
    with pytest.raises(Invalid, match=says) as refused:
        parse_spec(document)
    assert refused.value.field == "wish"


def test_a_project_may_wish_for_whichever_global_there_is():
    assert parse_spec({"scope": "project", "wish": {}}).wish == Wish()


def test_a_spec_that_a_program_made_itself_is_validated_too():
    made = InstanceSpec(scope="project", id="web", tags=["a"])  # type: ignore[arg-type]
    assert as_spec(made) == parse_spec({"scope": "project", "id": "web", "tags": ["a"]})
    with pytest.raises(Invalid, match="'Bad Id'"):
        as_spec(InstanceSpec(scope=Scope.PROJECT, id="Bad Id"))


@pytest.mark.parametrize("url", ["ftp://hooks/", "http://me:secret@hooks/", "hooks:80", ""])
def test_a_webhook_that_would_never_be_called_is_refused(url):
    with pytest.raises(Invalid, match=r"restart\.webhook is '.*': a webhook is an http:// or https:// URL") as refused:
        parse_spec({"scope": "project", "restart": {"mode": "always", "webhook": url}})
    assert (refused.value.field, refused.value.value) == ("restart.webhook", url)


def test_a_limit_is_no_flag():
    with pytest.raises(Invalid, match=r"thresholds\.queue_depth\.degraded is True: a limit is a number"):
        parse_spec({"scope": "project", "thresholds": {"queue_depth": {"degraded": True}}})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"scope": "project", "address": "a:1", "check": {"ping": True}}, "check.ping"),
        ({"scop": "project"}, "scop"),
    ],
    ids=["in a check", "at the top"],
)
def test_an_unknown_field_is_named_before_one_that_is_missing(document, field):
    with pytest.raises(Invalid, match=f"unknown field '{field}'"):
        parse_spec(document)
