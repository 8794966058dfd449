"""The script loader: the header block is the binding between Python and Lua."""

import itertools

import pytest
import redis.exceptions

from hopper.model.record import FIELDS
from hopper.store.scripts import CONSTANTS, MAX_GROUP, Script, lua_directory, parse_header, script, script_names

ECHO = """-- Answer what was given.
--
-- KEYS     first     string   a key
--          rest*     string   more of them
-- ARGV     word      string   a word
--          words*    string   more of them
-- RETURNS  all*      string   keys, then words
-- ERRORS   NOT_FOUND there is none
-- USES     double
local all = {}
for i = 1, #KEYS do all[#all + 1] = KEYS[i] end
for i = 1, #ARGV do all[#all + 1] = doubled(ARGV[i]) end
return all
"""

DOUBLE = """local function doubled(word)
  return word .. word
end
"""


@pytest.fixture
def echo() -> Script:
    return Script("echo", ECHO, {"double": DOUBLE})


def prefixed(store, *names: str) -> list[str]:
    return [f"{store.keys.prefix}:{name}" for name in names]


def test_a_header_is_read_into_its_parts():
    header = parse_header(ECHO)
    assert header.summary == "Answer what was given."
    assert [(entry.name, entry.kind, entry.is_group) for entry in header.keys] == [
        ("first", "string", False),
        ("rest*", "string", True),
    ]
    assert [entry.name for entry in header.arguments] == ["word", "words*"]
    assert [entry.name for entry in header.returns] == ["all*"]
    assert [(entry.name, entry.text) for entry in header.errors] == [("NOT_FOUND", "there is none")]
    assert header.uses == ("double",)


@pytest.mark.parametrize(
    "line",
    [
        "-- KEYS     onlyaname",
        "-- KEYS     UPPER   string   text",
        "-- KEYS     name  string",
        "-- ERRORS   lower  text",
    ],
)
def test_a_header_line_of_another_form_is_refused_with_the_line(line):
    with pytest.raises(ValueError, match="header line") as refused:
        parse_header(f"-- Do it.\n{line}\n")
    assert line in str(refused.value)


@pytest.mark.parametrize("name", script_names())
def test_every_script_has_a_header_that_says_what_it_does(name):
    header = script(name).header
    assert header.summary.endswith(".")
    assert header.returns


def test_every_lua_file_is_a_script():
    assert script_names() == tuple(sorted(path.stem for path in lua_directory().glob("*.lua")))
    assert {"register", "update", "deregister", "link", "unlink", "transition", "expire"} <= set(script_names())


def test_an_unknown_script_is_a_key_error():
    with pytest.raises(KeyError, match="nonsense"):
        script("nonsense")


KEYS = {"first": "a", "rest": ["b", "c"]}
ARGUMENTS = {"word": "x", "words": ["y"]}


def test_keys_and_arguments_are_passed_in_the_order_of_the_header(echo):
    given = {"words": ["y", "z"], "word": "x"}
    assert echo.bind({"rest": ["b", "c"], "first": "a"}, given) == (3, ["a", "b", "c", "x", "y", "z"])


def test_an_empty_group_is_passed_as_nothing(echo):
    assert echo.bind({"first": "a", "rest": []}, {"word": "x", "words": []}) == (1, ["a", "x"])


MISMATCHES = {
    "a missing key": ({"first": "a"}, ARGUMENTS, "rest"),
    "an unknown key": ({**KEYS, "extra": "d"}, ARGUMENTS, "extra"),
    "a missing argument": (KEYS, {"word": "x"}, "words"),
    "an unknown argument": (KEYS, {**ARGUMENTS, "actor": "me"}, "actor"),
    "a misspelt key": ({"first": "a", "rests": []}, ARGUMENTS, "rest, rests"),
    "nothing at all": ({}, {}, "first, rest, word, words"),
}


@pytest.mark.parametrize(("keys", "arguments", "named"), MISMATCHES.values(), ids=MISMATCHES.keys())
def test_a_missing_or_unknown_name_is_a_type_error_that_names_it(keys, arguments, named, echo):
    with pytest.raises(TypeError) as refused:
        echo.bind(keys, arguments)
    assert str(refused.value) == f"lua/echo.lua: missing or unknown names: {named}"


def test_a_group_of_500_keys_is_passed_and_one_of_501_refused(echo):
    most = [str(i) for i in range(MAX_GROUP)]
    assert echo.bind({"first": "a", "rest": most}, ARGUMENTS)[0] == 501
    with pytest.raises(TypeError, match="501 keys in one call, over 500"):
        echo.bind({"first": "a", "rest": [*most, "one more"]}, ARGUMENTS)


def test_a_piece_that_lib_has_not_is_refused_by_name():
    with pytest.raises(ValueError, match=r"lua/echo\.lua uses double"):
        _ = Script("echo", ECHO, {}).text


def test_only_the_constants_that_are_named_are_injected():
    source = "-- Do it.\n--\n-- RETURNS  n  integer  how many\nreturn { SCHEMA, #FIELDS }\n"
    text = Script("count", source, {}).text
    assert text.startswith("local FIELDS = ")
    assert "local SCHEMA = 1\n" in text
    assert not any(f"local {name} =" in text for name in CONSTANTS.keys() - {"FIELDS", "SCHEMA"})


async def test_the_constants_are_the_tables_of_the_model(store):
    source = """-- Answer some of the constants.
--
-- RETURNS  some*  string  them
return {
  table.concat(FIELDS, ' '), tostring(PARENT_SCOPE['global']), PARENT_SCOPE['project'], tostring(MONITORED['created']),
  tostring(MONITORED['paused']), tostring(MONITORED['nonsense']), TRANSITIONS['stop'].target,
  tostring(TRANSITIONS['stop'].origins['paused']), tostring(TRANSITIONS['stop'].origins['failed']), MAX_RECORD_BYTES,
}
"""
    answer = await Script("constants", source, {})(store.client, keys={}, arguments={})
    assert answer == [
        " ".join(FIELDS), "false", "global", "false", "true", "nil", "stopping", "true", "nil", 8192,
    ]  # fmt: skip


async def test_a_script_runs_with_its_pieces_and_answers_decoded_words(echo, store):
    first, *rest = prefixed(store, "a", "b")
    answer = await echo(store.client, keys={"first": first, "rest": rest}, arguments=ARGUMENTS)
    assert answer == [first, *rest, "xx", "yy"]


async def test_a_script_flush_in_the_middle_goes_unnoticed(echo, store):
    keys = {"first": prefixed(store, "a")[0], "rest": []}
    for _ in range(2):
        assert (await echo(store.client, keys=keys, arguments=ARGUMENTS))[1:] == ["xx", "yy"]
        await store.client.script_flush()
    assert await store.client.script_exists(echo.sha) == [False]
    await echo(store.client, keys=keys, arguments=ARGUMENTS)
    assert await store.client.script_exists(echo.sha) == [True]


async def test_redis_names_a_script_as_the_loader_does(store):
    for name in script_names():
        assert await store.client.script_load(script(name).text) == script(name).sha


def test_two_scripts_never_have_the_same_name_for_redis():
    for one, other in itertools.combinations(script_names(), 2):
        assert script(one).sha != script(other).sha


async def test_an_error_reply_leaves_as_redis_py_raises_it(store):
    header = "-- Refuse.\n--\n-- RETURNS  n  integer  nothing\n"
    source = header + "return redis.error_reply('HOPPER_NOT_FOUND it is not there')\n"
    with pytest.raises(redis.exceptions.ResponseError, match="HOPPER_NOT_FOUND it is not there"):
        await Script("refuse", source, {})(store.client, keys={}, arguments={})
