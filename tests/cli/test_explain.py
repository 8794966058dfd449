"""`explain`: the story of one instance; and the tree as it was."""

import re

from cli.commands import Hopper


def test_the_story_of_one_has_a_line_for_each_event_and_how_it_stands_now(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("link", "run", "api")
    hopper.ok("state", "run", "pause", "--reason", "lunch")
    *lines, summary, now = hopper.ok("explain", "run").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} +", "", line) for line in lines] == [
        "4  registered as orchestration 'nightly' under 'web', running, by cli",
        "5  moved from 'web' to 'api', by cli",
        "6  running -> paused, by cli (lunch)",
    ]
    assert now == "now: it is paused and healthy"
    assert summary.endswith(": registered once")
    assert hopper.ok("explain", "run", "--limit", "1").splitlines()[0].endswith("running -> paused, by cli (lunch)")


def test_one_that_is_gone_still_has_its_story_and_one_that_never_was_has_none(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("rm", "web", "--children", "cascade")
    lines = hopper.ok("explain", "run").splitlines()
    assert lines[-3].endswith("deregistered with 'web', below which it stood, by cli (cascade)")
    assert lines[-1] == "now: it is not registered"
    assert "'ghost'" in hopper.refused("explain", "ghost", code=3)


def test_what_happened_again_and_again_is_told_once(hopper: Hopper) -> None:
    hopper.tree()
    for _ in range(5):
        hopper.ok("state", "run", "pause")
        hopper.ok("state", "run", "resume")
    lines = hopper.ok("explain", "run").splitlines()
    assert len(lines) == 6
    assert lines[3].endswith("... the same 2 events 4 times more until here")
    assert len(hopper.document("explain", "run")["items"]) == 11


def test_the_story_is_a_document_too(hopper: Hopper) -> None:
    hopper.tree()
    document = hopper.document("explain", "web")
    assert [item["text"] for item in document["items"]] == ["registered as project 'web' under 'hub', running, by cli"]
    assert (document["id"], document["oldest_revision"]) == ("web", 1)


def test_the_tree_as_it_was(hopper: Hopper) -> None:
    hopper.tree()
    then = hopper.ok("tree")
    hopper.ok("rm", "hub", "--children", "cascade")
    assert hopper.ok("tree", "--at-revision", "4") == then
    assert "at_revision" in hopper.refused("tree", "--at-revision", "99", code=2)


def test_a_restart_that_it_waits_for_is_told(hopper: Hopper) -> None:
    hopper.tree()
    hopper.ok("state", "web", "fail")
    assert "restart:" not in hopper.ok("explain", "web")
    hopper.ok("state", "web", "restart")
    restart = hopper.ok("explain", "web").splitlines()[-2]
    assert restart.startswith("restart: the restart that an operator asked for is due at 20")
    assert restart.endswith(", and has been taken by nobody yet")
    assert hopper.document("explain", "web")["restart"]["outcome"] == "claimed"
    assert restart.removeprefix("restart: ") in hopper.ok("health", "web")
