"""Whether the model of the tree would notice a bug: one is planted on purpose in a line of the Lua, again and again."""

import pytest

from hopper.errors import HopperError
from hopper.store import scripts
from hopper.store.scripts import Script, lua_directory
from tree_model import run

EXAMPLES = 300
"""Many more than it should take; most bugs are found in the first few."""

BUGS: dict[str, tuple[str, str, str]] = {
    "any scope under any other": ("lib/kinship", "if wanted ~= parent.scope then", "if false then"),
    "room for any number": ("lib/kinship", "SCARD', siblings) >= limit", "SCARD', siblings) > limit"),
    "joining one that leaves": ("lib/kinship", "if (record.leaving or '') ~= '' then", "if false then"),
    "two globals": ("register", "if holder and holder ~= id then", "if false then"),
    "two of a name": ("register", "if namesake and namesake ~= id then", "if false then"),
    "a new name that is taken": ("update", "if namesake and namesake ~= id then", "if false then"),
    "a name that stays taken": ("lib/removal", "redis.call('HDEL', keys.names", "redis.call('HGET', keys.names"),
    "a child that its parent forgets": ("link", "redis.call('SADD', siblings, child_id)", ""),
    "a child in two sets": ("link", "redis.call('SREM', old_siblings, child_id)", ""),
    "a child that stays in a set": ("reparent", "redis.call('SREM', old_siblings, child.id)", ""),
    "an orphan that is not listed": ("reparent", "redis.call('SADD', orphans, child.id)", ""),
    "a parent removed under its children": ("deregister", "if count > 0 then", "if false then"),
    "a batch that removes parents": ("deregister_many", "redis.call('SCARD', children) > 0", "false"),
    "a revision left out": ("lib/log", "redis.call('SET', log.revision, integer(log.next))", ""),
    "an event that repeats no old value": ("lib/draft", "changed[#changed + 1] = name", ""),
    "two events where one is due": (
        "transition",
        "commit(log, record_key, draft(",
        "append_event(log, { type = 'hold_ended' })\nlog.next = log.next + 1\ncommit(log, record_key, draft(",
    ),
    "an event in the wrong place": (
        "lib/log",
        "integer(log.next) .. '-0',",
        "integer(log.next + (log.next > 20 and 1 or 0)) .. '-0',",
    ),
}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The scripts with one line of one file replaced."""
    name, right, wrong = BUGS[request.param]
    directory = lua_directory()
    sources = {path.stem: path.read_text() for path in directory.glob("*.lua")}
    pieces = {path.stem: path.read_text() for path in (directory / "lib").glob("*.lua")}
    place = pieces if name.startswith("lib/") else sources
    stem = name.removeprefix("lib/")
    assert place[stem].count(right) == 1, "the line has changed: plant the bug anew"
    place[stem] = place[stem].replace(right, wrong)
    library = {stem: Script(stem, source, pieces) for stem, source in sources.items()}
    monkeypatch.setattr(scripts, "_library", lambda: library)


@pytest.mark.parametrize("planted", BUGS, indirect=True)
def test_a_bug_that_is_planted_on_purpose_is_found(planted, new_settings):
    with pytest.raises((AssertionError, pytest.fail.Exception, BaseExceptionGroup, HopperError, TypeError)):
        run(new_settings, examples=EXAMPLES)
