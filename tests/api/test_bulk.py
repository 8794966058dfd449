"""Bulk requests: many instances at once, each with a result of its own."""

import pytest

from api.serving import ONE, ids, problem_of

TREE = [
    {"scope": "global", "id": "g"},
    {"scope": "project", "id": "web", "parent_id": "g"},
    {"scope": "orchestration", "id": "run-1", "parent_id": "web"},
]


@pytest.mark.parametrize("body", [TREE, {"items": TREE}], ids=["array", "items"])
async def test_a_whole_tree_is_registered_in_one_request_in_its_order(body, api):
    answer = await api.post(f"{ONE}/bulk", json=body)
    assert answer.status_code == 200
    document = answer.json()
    assert [(item["status"], item["id"], item["revision"]) for item in document["items"]] == [
        (201, "g", 1),
        (201, "web", 2),
        (201, "run-1", 3),
    ]
    assert (document["succeeded"], document["failed"], document["revision"]) == (3, 0, 3)
    assert document["items"][1]["heartbeat_key"].endswith(":heartbeat:web")
    assert ids(await api.get(ONE)) == ["g", "web", "run-1"]


async def test_each_entry_has_a_result_of_its_own_and_one_that_fails_stops_no_other(api, tree):
    answer = await api.post(
        f"{ONE}/bulk",
        json=[
            {"scope": "global", "id": "g2"},
            {"scope": "project", "id": "new", "parent_id": "g"},
            {"scope": "project", "id": "Bad Id"},
            "nonsense",
            {"scope": "project", "id": "web"},
            {"scope": "orchestration", "id": "o", "parent_id": "nobody"},
        ],
    )
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [409, 201, 422, 422, 200, 404]
    assert [item.get("code") for item in items] == ["global-exists", None, "invalid", "invalid", None, "not-found"]
    assert items[0]["detail"] == "instance 'g2' cannot be the global: 'g' is"
    assert items[2]["field"] == "id"
    assert (answer.json()["succeeded"], answer.json()["failed"]) == (2, 4)


async def test_a_repeat_with_the_same_key_is_answered_the_same_and_changes_nothing(api):
    body = [{"scope": "project"}, {"scope": "project"}]
    first = await api.post(f"{ONE}/bulk", json=body, headers={"Idempotency-Key": "k"})
    again = await api.post(f"{ONE}/bulk", json=body, headers={"Idempotency-Key": "k"})
    assert again.json() == first.json()
    assert len({item["id"] for item in first.json()["items"]}) == 2
    assert len(ids(await api.get(ONE))) == 2


async def test_a_thousand_are_registered_and_linked_and_one_more_is_too_many(api):
    await api.post(ONE, json={"scope": "global", "id": "g"})
    many = [{"scope": "project", "id": f"p-{number}"} for number in range(1000)]
    assert (await api.post(f"{ONE}/bulk", json=many)).json()["succeeded"] == 1000
    links = [{"id": entry["id"], "parent_id": "g"} for entry in many]
    assert (await api.post(f"{ONE}/bulk/parent", json=links)).json()["succeeded"] == 1000
    problem = problem_of(await api.post(f"{ONE}/bulk", json=[*many, many[0]]), 422, "invalid")
    assert problem["detail"] == "items has 1001 entries, not 1 to 1000"
    assert len((await api.get(f"{ONE}/g/children", params={"limit": 1000})).json()["items"]) == 1000


async def test_links_have_results_of_their_own(api, tree):
    answer = await api.post(
        f"{ONE}/bulk/parent",
        json={
            "items": [
                {"id": "run-1", "parent_id": "shop"},
                {"id": "run-2", "parent_id": "g"},
                {"id": "nobody", "parent_id": "g"},
                {"id": "run-2"},
                {"id": "run-2", "parent_id": 7},
                {"id": "run-1", "parent_id": "shop"},
            ]
        },
    )
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [200, 409, 404, 422, 422, 200]
    assert items[0]["revision"] == items[-1]["revision"]
    assert (await api.get(f"{ONE}/run-1")).json()["parent_id"] == "shop"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "neither an array nor an object with items"),
        ({"items": [], "more": 1}, "neither an array nor an object with items"),
        ("text", "neither an array nor an object with items"),
        ([], "items has 0 entries"),
    ],
    ids=["empty object", "unknown member", "text", "no entries"],
)
@pytest.mark.parametrize("path", ["bulk", "bulk/parent"])
async def test_a_body_that_is_no_list_of_entries_is_refused(path, body, says, api):
    problem = problem_of(await api.post(f"{ONE}/{path}", json=body), 422, "invalid")
    assert says in problem["detail"]
    assert problem["field"] == "items"


async def test_a_bulk_request_may_be_larger_than_a_single_one_and_has_a_limit_too(api):
    entries = [{"scope": "project", "id": f"p-{number}", "description": "x" * 1000} for number in range(100)]
    assert (await api.post(f"{ONE}/bulk", json=entries)).json()["succeeded"] == 100
    answer = await api.post(f"{ONE}/bulk", content=b"[" + b" " * 8 * 1024 * 1024 + b"]")
    assert "8388608" in problem_of(answer, 413, "too-large")["detail"]


async def test_only_living_parents_where_a_request_asks_for_it(api, tree):
    await api.post(f"{ONE}/shop/fail")
    asked = {"require_live_parent": "true"}
    entry = {"scope": "orchestration", "id": "o", "parent_id": "shop"}
    (result,) = (await api.post(f"{ONE}/bulk", json=[entry], params=asked)).json()["items"]
    assert (result["status"], result["code"]) == (409, "scope-rule")
    problem_of(await api.post(ONE, json=entry, params=asked), 409, "scope-rule")
    problem_of(await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"}, params=asked), 409, "scope-rule")
    assert (await api.post(ONE, json=entry)).status_code == 201


async def test_an_entry_whose_check_does_not_fit_into_its_ttl_is_refused_by_itself(api):
    check = {"tcp": True, "interval_s": 14, "timeout_s": 2}
    entries = [
        {"scope": "project", "id": "a"},
        {"scope": "project", "id": "late", "address": "web:80", "check": check},
        {"scope": "project", "id": "b", "address": "web:80", "check": {"tcp": True}},
    ]
    items = (await api.post(f"{ONE}/bulk", json=entries)).json()["items"]
    assert [item["status"] for item in items] == [201, 422, 201]
    assert items[1]["field"] == "check"
    assert [items[0]["id"], items[2]["id"]] == ["a", "b"]
    problem = problem_of(await api.post(ONE, json=entries[1]), 422, "invalid")
    assert "interval_s 14 and timeout_s 2" in problem["detail"]
