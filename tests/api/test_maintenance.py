"""Maintenance over REST."""

import pytest

from api.serving import ONE, PREFIX, ids, problem_of

WEB = f"{ONE}/web/maintenance"


async def test_an_instance_is_taken_out_of_service_and_put_back(api, tree):
    answer = await api.post(WEB, json={"reason": "disk", "for_s": 60})
    assert answer.status_code == 200
    record = answer.json()
    assert record["maintenance"] == {"reason": "disk", "until_ms": record["updated_at_ms"] + 60_000}
    assert "web" not in ids(await api.get(f"{PREFIX}/discover"))
    assert (await api.get(f"{ONE}/web")).headers["ETag"] == answer.headers["ETag"]
    assert (await api.delete(WEB)).json()["maintenance"] is None
    assert "web" in ids(await api.get(f"{PREFIX}/discover"))


async def test_a_body_may_be_left_out_and_a_repeat_changes_nothing(api, tree):
    first = await api.post(WEB)
    assert first.json()["maintenance"] == {"reason": "", "until_ms": None}
    assert (await api.post(WEB, json={})).headers["Hopper-Revision"] == first.headers["Hopper-Revision"]
    await api.delete(WEB)
    again = await api.delete(WEB)
    assert (again.status_code, again.headers["Hopper-Revision"]) == (200, "7")


async def test_a_second_delivery_of_a_key_answers_as_the_first(api, tree):
    asked = {"json": {"for_s": 60}, "headers": {"Idempotency-Key": "once"}}
    first = (await api.post(WEB, **asked)).json()
    assert (await api.post(WEB, **asked)).json() == first


async def test_it_outlives_a_registration(api, tree):
    await api.post(WEB, json={"reason": "disk"})
    again = await api.post(ONE, json={"scope": "project", "id": "web"})
    assert (again.status_code, again.json()["maintenance"]["reason"]) == (200, "disk")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"until_ms": 5}, "until_ms"),
        ({"until_ms": "soon"}, "until_ms"),
        ({"for_s": 0}, "for_s"),
        ({"for_s": 1, "until_ms": 10**14}, "for_s"),
        ({"reason": 5}, "reason"),
        ({"until": 5}, "until"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_and_named(body, field, api, tree):
    problem = problem_of(await api.post(WEB, json=body), 422, "invalid")
    assert problem["field"] == field
    assert (await api.get(f"{ONE}/web")).headers["Hopper-Revision"] == "5"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_nobody_cannot_be_maintained(method, api, tree):
    problem_of(await api.request(method, f"{ONE}/nobody/maintenance"), 404, "not-found")


async def test_another_method_is_told_both(api, tree):
    assert set((await api.get(WEB)).headers["Allow"].split(", ")) == {"DELETE", "POST"}
