"""The Lua lint finds each kind of defect, and none in the scripts of Hopper."""

from pathlib import Path

import pytest

from hopper.store.scripts import lua_directory
from lint_lua import lint

REFUSE = """
local function refuse(code, sentence, ...)
  return redis.error_reply('HOPPER_' .. code .. ' ' .. string.format(sentence, ...))
end
"""

LOG = """
local function append_event(key, text)
  redis.call('XADD', key, '*', 'text', text)
end
"""

RAISE = """
local function raised(counter, step)
  if redis.call('GET', counter) == 'full' then
    return refuse('CONFLICT', 'the counter is full')
  end
  return tonumber(redis.call('GET', counter) or '0') + step
end
"""

SAMPLE = """-- Raise a counter.
--
-- KEYS     counter   integer  the counter
--          events    stream   the log
-- ARGV     id        string   who asks
--          steps*    integer  how far
-- RETURNS  value     integer  the counter's new value
-- ERRORS   NOT_FOUND nobody asks
--          CONFLICT  the counter is full
-- USES     refuse log raise
local counter_key, events = unpack(KEYS)
local id = unpack(ARGV, 1, 1)
local FIRST_STEP = 2

if id == '' then
  return refuse('NOT_FOUND', 'nobody asks')
end
local value = 0
for i = FIRST_STEP, #ARGV do
  value = raised(counter_key, ARGV[i])
end
append_event(events, id)
redis.call('SET', counter_key, value)
return { value }
"""


def write(directory: Path, *, sample: str = SAMPLE, raised: str = RAISE) -> Path:
    """A directory of one script and three pieces."""
    scripts = directory / "lua"
    (scripts / "lib").mkdir(parents=True)
    (scripts / "sample.lua").write_text(sample)
    for name, text in {"refuse": REFUSE, "log": LOG, "raise": raised}.items():
        (scripts / "lib" / f"{name}.lua").write_text(text)
    return scripts


def test_the_scripts_of_hopper_have_no_finding():
    assert [str(finding) for finding in lint(lua_directory())] == []


def test_a_clean_sample_has_no_finding(tmp_path):
    assert lint(write(tmp_path)) == []


DEFECTS = {
    "a syntax error": ("value = 0\n", "value = = 0\n", "does not parse"),
    "syntax of a newer Lua": ("local value = 0\n", "local value <const> = 0\n", "Lua 5.1 does not compile it"),
    "a global that is assigned": ("local value = 0\n", "value = 0\n", "assigns the global value"),
    "a global function": ("local value = 0\n", "local value = 0\nfunction f() end\n", "assigns the global f"),
    "an unknown global": ("value = 0\n", "value = zero\n", "reads the unknown global zero"),
    "a library that Redis has not": ("value = 0\n", "value = os.time()\n", "reads the unknown global os"),
    "cmsgpack": ("value = 0\n", "value = cmsgpack.pack(0)\n", "uses cmsgpack"),
    "bit": ("value = 0\n", "value = bit.band(0, 1)\n", "uses bit"),
    "error()": ("return refuse('NOT_FOUND', 'nobody asks')", "error('nobody asks')", "uses error()"),
    "an error reply of its own": (
        "return refuse('NOT_FOUND', 'nobody asks')",
        "return redis.error_reply('HOPPER_NOT_FOUND nobody asks')",
        "answers an error without refuse()",
    ),
    "a line too long": ("Raise a counter.", f"Raise a counter{' again' * 20}.", "has 139 characters, over 120"),
    "a shebang": ("-- Raise a counter.\n", "#!lua name=x\n-- Raise a counter.\n", "has a shebang"),
    "a loop without a bound": ("for i = FIRST_STEP, #ARGV do", "local i = 2\nwhile ARGV[i] do", "loop without a bound"),
    "a header line of no form": ("the counter\n", "the counter\n--          nonsense\n", "names no KEYS entry"),
    "a header without a summary": ("-- Raise a counter.\n", "", "does not say what the script does"),
    "keys in another order": ("counter_key, events = ", "events, counter_key = ", "unpacks KEYS"),
    "a key too few": ("counter_key, events = unpack(KEYS)", "counter_key = unpack(KEYS)", "unpacks KEYS"),
    "a key that is not used": ("append_event(events, id)", "append_event(counter_key, id)",
        "has events, which nothing reads"),
    "an argument of another name": ("local id = ", "local ident = ", "unpacks ARGV"),
    "an unpack over the group": ("unpack(ARGV, 1, 1)", "unpack(ARGV)", "must be unpack(ARGV, 1, 1)"),
    "a group read from elsewhere": ("FIRST_STEP = 2", "FIRST_STEP = 3", "the group starts at 2"),
    "a group before the last": ("counter   integer", "counter*  integer", "group that is not the last"),
    "an error that is not declared": ("-- ERRORS   NOT_FOUND nobody asks\n--          CONFLICT", "-- ERRORS   CONFLICT",
        "may refuse with NOT_FOUND"),
    "an error of a piece that is not declared": ("--          CONFLICT  the counter is full\n", "",
        "may refuse with CONFLICT"),
    "an error that is never raised": ("-- ERRORS   ", "-- ERRORS   EXISTS    it is there\n--          ",
        "ERRORS names EXISTS, with which nothing refuses"),
    "an error that Python does not know": ("NOT_FOUND", "NOT_THERE", "refuses with NOT_THERE, which hopper.errors"),
    "a code that is computed": ("refuse('NOT_FOUND'", "refuse(id", "a code that is not a plain word"),
    "a refusal that is ignored": ("  return refuse('NOT", "  refuse('NOT", "ignores the refusal of refuse()"),
    "a refusal of a piece that is ignored": ("  value = raised(counter_key, ARGV[i])", "  raised(counter_key, ARGV[i])",
        "ignores the refusal of raised()"),
    "a piece that is not named": ("refuse log raise", "refuse raise", "USES does not name log"),
    "a piece that is not needed": ("append_event(events, id)", "redis.call('XADD', events, '*', 'id', id)",
        "USES log and needs nothing of it"),
    "a piece that does not exist": ("refuse log raise", "refuse log raise extra", "USES extra, which lib has not"),
    "a piece before the one it needs": ("refuse log raise", "raise refuse log", "names raise before refuse"),
    "a piece that is named twice": ("refuse log raise", "refuse log raise log", "names a piece twice"),
    "a key built in place": ("'SET', counter_key", "'SET', 'hopper:' .. id", "SET with a key that is not from KEYS"),
    "a key built before": ("redis.call('SET', counter_key", "local name = 'x' .. id\nredis.call('SET', name",
        "SET with a key that is not from KEYS"),
    "a key built by a function": ("'SET', counter_key", "'SET', string.format('%s', id)", "SET with a key"),
    "a key that is an argument": ("'SET', counter_key", "'SET', id", "SET with a key that is not from KEYS"),
    "a literal key": ("'SET', counter_key", "'SET', 'counter'", "SET with a key that is not from KEYS"),
    "a second key built": ("redis.call('SET', counter_key, value)", "redis.call('DEL', counter_key, 'x' .. id)",
        "DEL with a key that is not from KEYS"),
    "a built key given to a piece": ("append_event(events, id)", "append_event(id .. events, id)",
        "gives append_event() a key that is not from KEYS"),
    "a built key given to a piece under another name": ("raised(counter_key,", "raised(id,",
        "gives raised() a key that is not from KEYS"),
    "a computed command": ("redis.call('SET'", "redis.call(id", "a command that is not a plain word"),
    "a command in small letters": ("redis.call('SET'", "redis.call('set'", "is not in capitals"),
    "an encoded table": ("value = 0\n", "value = cjson.encode({})\n", "encodes a table"),
    "an answer too long": ("return { value }", "return { value, id }", "answers 2 values, RETURNS names 1"),
    "a write before the event": ("append_event(events, id)\nredis.call('SET', counter_key, value)",
        "redis.call('SET', counter_key, value)\nappend_event(events, id)", "writes (SET) before it appends its event"),
    "a check after the event": ("return { value }",
        "if id == 'x' then return refuse('NOT_FOUND', '') end\nreturn { value }",
        "refuses after it has written"),
}  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "says"), DEFECTS.values(), ids=DEFECTS.keys())
def test_a_planted_defect_is_found(right, wrong, says, tmp_path):
    assert right in SAMPLE
    findings = lint(write(tmp_path, sample=SAMPLE.replace(right, wrong)))
    assert any(says in finding.text and finding.path.endswith("sample.lua") for finding in findings), findings


PIECE_DEFECTS = {
    "a global that is assigned": ("return tonumber", "last = 1\n  return tonumber", "assigns the global last"),
    "an unknown global": ("+ step", "+ stride", "reads the unknown global stride"),
    "a built key": ("'GET', counter) or", "'GET', counter .. step) or", "GET with a key that is not from KEYS"),
    "a function nobody uses": ("local function raised", "local function spare() end\nlocal function raised",
        "no script uses spare()"),
}  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "says"), PIECE_DEFECTS.values(), ids=PIECE_DEFECTS.keys())
def test_a_defect_planted_in_a_piece_is_found(right, wrong, says, tmp_path):
    assert right in RAISE
    findings = lint(write(tmp_path, raised=RAISE.replace(right, wrong)))
    assert any(says in finding.text and finding.path.endswith("raise.lua") for finding in findings), findings


def test_a_finding_names_the_file_and_the_line(tmp_path):
    line = 1 + SAMPLE[: SAMPLE.index("local value = 0")].count("\n")
    findings = lint(write(tmp_path, sample=SAMPLE.replace("local value = 0", "value = 0")))
    assert f"lua/sample.lua:{line}: assigns the global value" in [str(finding) for finding in findings]
