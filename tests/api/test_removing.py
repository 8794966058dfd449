"""Removing over REST: what becomes of children, dry runs, and what is refused."""

import pytest

from api.serving import ONE, ids, problem_of


async def test_restrict_is_the_default_and_refuses_one_with_children(api, tree):
    problem = problem_of(await api.delete(f"{ONE}/web"), 409, "has-children")
    assert problem["detail"] == "project 'web' cannot be removed: it still has children (2)"
    assert (await api.delete(f"{ONE}/shop")).json() == {"items": ["shop"], "revision": 6}


async def test_a_cascade_removes_all_below(api, tree):
    answer = await api.delete(f"{ONE}/g", params={"children": "cascade"})
    assert answer.status_code == 200
    assert ids(await api.get(ONE)) == []


async def test_children_can_become_orphans(api, tree):
    await api.delete(f"{ONE}/web", params={"children": "orphan"})
    assert ids(await api.get(ONE, params={"orphan": "true"})) == ["run-1", "run-2"]


async def test_children_can_move(api, tree):
    await api.delete(f"{ONE}/web", params={"children": "reparent", "reparent_to": "shop"})
    assert ids(await api.get(f"{ONE}/shop/children")) == ["run-1", "run-2"]


async def test_a_dry_run_answers_the_very_set_and_removes_nobody(api, tree):
    asked = {"children": "cascade", "dry_run": "true"}
    answer = await api.delete(f"{ONE}/g", params=asked)
    assert answer.status_code == 200
    assert answer.json()["items"] == ["shop", "run-2", "run-1", "web", "g"]
    assert len(ids(await api.get(ONE))) == 5
    assert (await api.delete(f"{ONE}/web", params={"children": "orphan", "dry_run": "true"})).json()["items"] == ["web"]


@pytest.mark.parametrize(
    ("params", "status", "code", "says"),
    [
        ({"children": "burn"}, 422, "invalid", "children is 'burn', not one of restrict, orphan, cascade, reparent"),
        ({"children": "reparent"}, 422, "invalid", "reparent_to is missing"),
        ({"reparent_to": "shop"}, 422, "invalid", "reparent_to is 'shop', and children=restrict moves nobody"),
        ({"children": "reparent", "reparent_to": "no"}, 404, "not-found", "'no': it does not exist"),
        ({"children": "reparent", "reparent_to": "g"}, 409, "scope-rule", "it is not another project"),
        ({"dry_run": "yes"}, 422, "invalid", "dry_run is 'yes', not true or false"),
        ({"dry_run": "true"}, 409, "has-children", "it still has children"),
        ({"cascade": "true"}, 422, "invalid", "unknown parameter 'cascade'"),
    ],
    ids=["mode", "no target", "target too many", "target gone", "scope", "flag", "dry restrict", "unknown"],
)
async def test_what_cannot_be_done_is_refused_and_changes_nothing(params, status, code, says, api, tree):
    assert says in problem_of(await api.delete(f"{ONE}/web", params=params), status, code)["detail"]
    assert (await api.get(f"{ONE}/web")).headers["Hopper-Revision"] == "5"


async def test_a_removal_that_asks_for_a_revision_is_fenced_by_it(api, tree):
    stale = (await api.get(f"{ONE}/web")).headers["ETag"]
    await api.patch(f"{ONE}/web", json={"version": "2"})
    asked = {"children": "cascade"}
    problem_of(await api.delete(f"{ONE}/web", params=asked, headers={"If-Match": stale}), 412, "precondition-failed")
    fresh = (await api.get(f"{ONE}/web")).headers["ETag"]
    assert (await api.delete(f"{ONE}/web", params=asked, headers={"If-Match": fresh})).status_code == 200


async def test_a_transition_may_expect_a_state(api, tree):
    asked = {"expected_state": "paused"}
    problem_of(await api.post(f"{ONE}/web/stop", json=asked), 412, "precondition-failed")
    problem_of(await api.post(f"{ONE}/web/stop", json={"expected_state": "tired"}), 422, "invalid")
    assert (await api.post(f"{ONE}/web/stop", json={"expected_state": "running"})).json()["state"] == "stopping"
    assert (await api.post(f"{ONE}/web/stop", json={"expected_state": "running"})).json()["state"] == "stopping"


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "run-1/parent"), ("DELETE", "run-1/parent"), ("POST", "run-1/pause")], ids=str
)
async def test_a_condition_that_would_not_be_looked_at_is_refused(method, path, api, tree):
    answer = await api.request(method, f"{ONE}/{path}", json={"parent_id": "shop"}, headers={"If-Match": '"1"'})
    assert problem_of(answer, 422, "invalid")["field"] == "If-Match"
    assert (await api.get(f"{ONE}/run-1")).headers["Hopper-Revision"] == "5"


async def test_a_cascade_answers_whom_it_removed_leaves_first(api, tree):
    answer = await api.delete(f"{ONE}/web", params={"children": "cascade"})
    assert sorted(answer.json()["items"][:2]) == ["run-1", "run-2"]
    assert answer.json()["items"][2:] == ["web"]


@pytest.mark.parametrize("how", [{"children": "orphan"}, {"children": "reparent", "reparent_to": "shop"}], ids=str)
async def test_a_dry_run_tells_who_would_stay_behind(how, api, tree):
    answer = await api.delete(f"{ONE}/web", params=how | {"dry_run": "true"})
    assert (answer.json()["items"], answer.json()["moved"]) == (["web"], ["run-1", "run-2"])
