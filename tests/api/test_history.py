"""The past over REST: the events of an instance, its story, and the tree as it was."""

import pytest

from api.serving import ONE, PREFIX, problem_of


@pytest.fixture
async def lived(api, tree):
    """`run-1` has moved, been paused, and gone; others have changed in between."""
    await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"})
    await api.patch(f"{ONE}/web", json={"version": "2"})
    await api.post(f"{ONE}/run-1/pause", json={"reason": "lunch"})
    await api.delete(f"{ONE}/run-1")
    await api.patch(f"{ONE}/web", json={"version": "3"})
    return api


async def test_the_events_of_one_come_in_order_also_when_it_is_gone(lived):
    document = (await lived.get(f"{ONE}/run-1/events")).json()
    assert [item["type"] for item in document["items"]] == [
        "registered",
        "parent_changed",
        "state_changed",
        "deregistered",
    ]
    assert {item["id"] for item in document["items"]} == {"run-1"}
    assert document["items"][1]["previous"] == {"parent_id": "web"}
    assert (document["next_cursor"], document["oldest_revision"], document["complete"]) == (None, 1, True)


async def test_the_newest_come_first_where_that_is_asked_for(lived):
    document = (await lived.get(f"{ONE}/web/events", params={"sort": "-revision"})).json()
    assert [item["type"] for item in document["items"]] == ["updated", "updated", "registered"]


@pytest.mark.parametrize("sort", ["revision", "-revision"])
async def test_the_pages_of_a_history_join_without_a_hole(sort, lived):
    found, asked = [], {"limit": 1, "sort": sort}
    while True:
        document = (await lived.get(f"{ONE}/run-1/events", params=asked)).json()
        found += [item["revision"] for item in document["items"]]
        if document["next_cursor"] is None:
            break
        asked["cursor"] = document["next_cursor"]
    whole = (await lived.get(f"{ONE}/run-1/events", params={"sort": sort})).json()["items"]
    assert found == [item["revision"] for item in whole]
    assert len(found) == 4


async def test_a_history_can_begin_after_a_revision(lived):
    document = (await lived.get(f"{ONE}/run-1/events", params={"since": 6})).json()
    assert [item["type"] for item in document["items"]] == ["state_changed", "deregistered"]


async def test_the_story_is_told_in_sentences(lived):
    document = (await lived.get(f"{ONE}/run-1/explain")).json()
    assert [item["text"] for item in document["items"]] == [
        "registered as orchestration 'run-1' under 'web', running, by api",
        "moved from 'web' to 'shop', by api",
        "running -> paused, by api (lunch)",
        "deregistered, by api (operator)",
    ]
    assert document["now"] == "it is not registered"
    assert [line.split("  ")[-1] for line in document["page"]] == [item["text"] for item in document["items"]]
    assert (document["digest"]["events"], document["digest"]["registrations"]) == (4, 1)
    assert (await lived.get(f"{ONE}/web/explain")).json()["now"] == "it is running and healthy"


async def test_one_of_whom_nothing_was_ever_heard_is_not_found(api, tree):
    problem_of(await api.get(f"{ONE}/nobody/events"), 404, "not-found")
    problem_of(await api.get(f"{ONE}/nobody/explain"), 404, "not-found")


@pytest.mark.parametrize(
    "params",
    [{"sort": "id"}, {"limit": 0}, {"since": -1}, {"since": 1, "sort": "-revision"}, {"cursor": "x"}, {"x": 1}],
    ids=str,
)
async def test_a_question_that_cannot_be_answered_is_refused(params, api, tree):
    problem_of(await api.get(f"{ONE}/web/events", params=params), 422, "invalid")


def ids_of(node):
    return [] if node is None else [node["id"], *(id for child in node["children"] for id in ids_of(child))]


async def test_the_tree_is_told_as_it_was_at_every_revision(api):
    steps = [
        ("POST", ONE, {"scope": "global", "id": "g"}),
        ("POST", ONE, {"scope": "project", "id": "web", "parent_id": "g"}),
        ("POST", ONE, {"scope": "project", "id": "shop"}),
        ("PUT", f"{ONE}/shop/parent", {"parent_id": "g"}),
        ("PATCH", f"{ONE}/web", {"name": "the web", "tags": ["eu"]}),
        ("DELETE", f"{ONE}/web/parent", None),
        ("POST", f"{ONE}/shop/pause", None),
        ("DELETE", f"{ONE}/web", None),
        ("POST", ONE, {"scope": "project", "id": "web", "parent_id": "g"}),
        ("POST", ONE, {"scope": "project", "id": "web", "version": "2"}),
    ]
    now = []
    for method, path, body in steps:
        assert (await api.request(method, path, json=body)).status_code < 300
        now.append((await api.get(f"{PREFIX}/topology")).json())
    for revision, document in enumerate(now, start=1):
        then = (await api.get(f"{PREFIX}/topology", params={"at_revision": revision})).json()
        assert then == document | {"revision": revision}
    empty = (await api.get(f"{PREFIX}/topology", params={"at_revision": 0})).json()
    assert (empty["root"], empty["orphans"]) == (None, [])


async def test_a_revision_that_is_not_there_yet_is_refused(api, tree):
    problem = problem_of(await api.get(f"{PREFIX}/topology", params={"at_revision": 99}), 422, "invalid")
    assert (problem["field"], problem["value"]) == ("at_revision", 99)


async def test_a_revision_that_the_log_no_longer_reaches_is_gone(api, tree, registry):
    await registry.store.client.xtrim(registry.store.keys.events, maxlen=2, approximate=False)
    assert (await api.get(f"{PREFIX}/topology", params={"at_revision": 3})).status_code == 200
    answer = await api.get(f"{PREFIX}/topology", params={"at_revision": 2})
    assert answer.status_code == 410
    assert (answer.json()["code"], answer.json()["oldest_revision"], answer.json()["revision"]) == ("compacted", 3, 5)
