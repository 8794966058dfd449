"""Consistency: every key that does not agree is found and named, with the command that mends it."""

import shlex
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

import hopper.instance.diagnosis.consistency
from census import Census
from hopper.instance.diagnosis.consistency import take_census
from hopper.model.record import Record
from hopper.model.state import Verb
from hopper.store.diagnosis import Diagnosis
from hopper.store.instances import InstanceStore
from servers import dump
from specs import patching, spec


@pytest.fixture
async def diagnosis(settings) -> AsyncIterator[Diagnosis]:
    async with aclosing(Diagnosis(settings)) as opened:
        yield opened


@pytest.fixture
async def planted(store: InstanceStore) -> InstanceStore:
    """g over p and q, p over o and o2; an orphan; and one that is stopped."""
    await store.register(spec("global", "g"))
    for id in ("p", "q"):
        await store.register(spec("project", id, parent_id="g"))
    for id in ("o", "o2"):
        await store.register(spec("orchestration", id, parent_id="p"))
    await store.register(spec("orchestration", "alone", wish={"id": "nobody"}))
    await store.register(spec("project", "idle", parent_id="g", state="stopped"))
    return store


SPOILED = {
    "a name is lost": (["HDEL", "names", "project:p"], "'p' is named 'project:p', and in {P}:names that is nobody's"),
    "a name of nobody": (
        ["HSET", "names", "project:x", "ghost"],
        "{P}:names gives 'project:x' to 'ghost', which has no record",
    ),
    "a name of another": (["HSET", "names", "project:x", "p"], "gives 'project:x' to 'p', which is the project 'p'"),
    "a name that was given away": (["HSET", "names", "project:p", "q"], "'p' is named 'project:p', .* that of 'q'"),
    "a child is lost": (["SREM", "children:p", "o"], "'o' has the parent 'p', and {P}:children:p does not name it"),
    "a child of another": (["SADD", "children:q", "o"], "{P}:children:q names 'o', which has the parent 'p'"),
    "a child of nobody": (["SADD", "children:q", "ghost"], "names 'ghost', which has no parent, or no record"),
    "an orphan is lost": (["SREM", "orphans", "alone"], "{P}:orphans does not name 'alone', and it has no parent"),
    "an orphan that is none": (["SADD", "orphans", "o"], "{P}:orphans names 'o', and its parent is 'p'"),
    "an orphan of nobody": (["SADD", "orphans", "ghost"], "{P}:orphans names 'ghost', which has no record"),
    "one down that is not": (["SADD", "down", "o"], "{P}:down names 'o', and it is healthy"),
    "one down of nobody": (["SADD", "down", "ghost"], "{P}:down names 'ghost', which has no record"),
    "an id without a record": (
        ["ZADD", "instances", "99", "ghost"],
        "{P}:instances names 'ghost', which has no record",
    ),
    "an id is lost": (["ZREM", "instances", "alone"], "'alone' has a record, and {P}:instances does not"),
    "the global is lost": (["DEL", "global"], "'g' is a global, and {P}:global names nobody"),
    "the global is none": (["SET", "global", "p"], "{P}:global names 'p', which is a project"),
    "the global is nobody": (["SET", "global", "ghost"], "{P}:global names 'ghost', which has no record"),
    "two globals": (["HSET", "instance:idle", "scope", "global"], "'idle' is a global beside 'g', which is the one"),
    "a parent is nobody": (["HSET", "instance:o", "parent_id", "ghost"], "'o' has the parent 'ghost', which has no"),
    "a parent of the wrong scope": (
        ["HSET", "instance:o", "parent_id", "g"],
        "orchestration 'o' has the parent 'g', a",
    ),
    "a health behind the index": (
        ["HSET", "instance:o", "health", "down"],
        "{P}:down does not name 'o', and it is down",
    ),
}


@pytest.mark.parametrize(("command", "says"), SPOILED.values(), ids=SPOILED.keys())
async def test_what_does_not_agree_is_named_and_nothing_is_changed(command, says, planted, diagnosis):
    word, key, *rest = command
    await planted.client.execute_command(word, f"{planted.keys.prefix}:{key}", *rest)
    before = await dump(planted.client, planted.settings.namespace)
    census = await take_census(diagnosis)
    texts = [one.text for one in census.disagreements]
    pattern = says.replace("{P}", planted.keys.prefix.replace("{", r"\{"))
    with pytest.raises(AssertionError, match=pattern):
        raise AssertionError("\n".join(texts))
    assert all(one.remedy for one in census.disagreements)
    assert await dump(planted.client, planted.settings.namespace) == before


MENDED = {name: SPOILED[name][0] for name in SPOILED if not name.startswith(("a parent", "a name that", "two"))}


@pytest.mark.parametrize("command", MENDED.values(), ids=MENDED.keys())
async def test_the_commands_that_are_told_mend_it(command, planted, diagnosis):
    word, key, *rest = command
    await planted.client.execute_command(word, f"{planted.keys.prefix}:{key}", *rest)
    for _ in range(2):  # what mends one thing may show another
        for one in (await take_census(diagnosis)).disagreements:
            await planted.client.execute_command(*shlex.split(one.remedy))
    assert (await take_census(diagnosis)).disagreements == []
    if not key.startswith("instance:"):
        taken = await Census.take(planted.client, planted.settings.namespace)
        assert [problem for problem in taken.problems if "the log" not in problem] == []


async def test_where_all_agrees_there_is_nothing_to_look_at_again(planted, diagnosis):
    await planted.transition("o", Verb.FAIL)
    await planted.update("p", patching(name="renamed"))
    await planted.deregister("o2")
    census = await take_census(diagnosis)
    assert (census.disagreements, census.doubts, census.changes) == ([], 0, 0)
    assert len(census.replica) == 6


async def test_an_empty_namespace_agrees(diagnosis):
    census = await take_census(diagnosis)
    assert (census.disagreements, len(census.replica)) == ([], 0)


async def test_what_changes_while_it_walks_is_no_disagreement(planted, diagnosis, monkeypatch):
    original = diagnosis.names

    async def names() -> AsyncIterator[tuple[str, str]]:
        await planted.link("o", "q")
        await planted.unlink("o2")
        await planted.deregister("idle")
        await planted.update("p", patching(name="renamed"))
        await planted.register(spec("orchestration", "new", parent_id="q"))
        async for pair in original():
            yield pair

    monkeypatch.setattr(diagnosis, "names", names)
    census = await take_census(diagnosis)
    assert census.doubts > 4
    assert (census.disagreements, census.changes) == ([], 5)


async def test_what_changes_while_it_is_looked_at_again_is_looked_at_once_more(planted, diagnosis, monkeypatch):
    await planted.client.sadd(planted.keys.orphans, "o")
    original = diagnosis.read

    async def read(id: str) -> Record | None:
        record = await original(id)
        if record is not None and record.parent_id == "p":
            await planted.unlink("o")
        return record

    monkeypatch.setattr(diagnosis, "read", read)
    assert (await take_census(diagnosis)).disagreements == []


async def test_a_record_that_cannot_be_read_is_told_once_and_hides_no_other(planted, diagnosis):
    keys = planted.keys
    await planted.client.hset(keys.record("o"), "ttl_ms", "soon")
    await planted.client.delete(keys.record("alone"))
    await planted.client.set(keys.record("alone"), "rubbish")
    await planted.client.sadd(keys.down, "q")
    census = await take_census(diagnosis)
    assert set(census.unreadable) == {"o", "alone"}
    assert [one.text for one in census.disagreements] == [f"{keys.down} names 'q', and it is healthy"]
    await planted.client.delete(keys.record("alone"))


async def test_more_than_can_be_looked_at_again_is_counted(planted, diagnosis, monkeypatch):
    monkeypatch.setattr(hopper.instance.diagnosis.consistency, "MAX_DOUBTS", 2)
    await planted.client.sadd(planted.keys.orphans, "o", "o2", "p", "q")
    census = await take_census(diagnosis)
    assert (len(census.disagreements), census.unchecked) == (2, 2)


async def test_a_large_namespace_is_walked_in_parts(store, diagnosis):
    await store.register(spec("project", "p"))
    await store.register_many([spec("orchestration", f"o{number}", parent_id="p") for number in range(1200)])
    await store.client.srem(store.keys.children("p"), "o777")
    census = await take_census(diagnosis)
    assert len(census.replica) == 1201
    assert ["'o777' has the parent 'p'" in one.text for one in census.disagreements] == [True]
