"""Registering over the API: what is answered, and what an idempotency key keeps from happening twice."""

import pytest

from api.serving import ONE, problem_of


async def test_a_registration_answers_the_record_where_it_is_and_how_to_heartbeat(api, registry, fake_client):
    answer = await api.post(ONE, json={"scope": "PROJECT", "id": "web", "ttl_ms": 7500, "tags": ["a", "a"]})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{ONE}/web"
    document = answer.json()
    assert document["heartbeat_key"] == "hopper:{default}:heartbeat:web"
    assert document["setex"] == "SETEX hopper:{default}:heartbeat:web 8 {}"
    assert (document["scope"], document["tags"], document["state"]) == ("project", ["a"], "running")
    assert answer.headers["Hopper-Revision"] == "1"
    assert answer.headers["Hopper-Epoch"] == registry.view.epoch
    assert answer.headers["ETag"] == f'"{registry.view.epoch}.1"'
    assert await fake_client.exists(document["heartbeat_key"])
    location = await api.get(answer.headers["Location"])
    assert location.json() == {name: document[name] for name in location.json()}


async def test_an_id_that_exists_is_superseded_or_refused_as_asked(api):
    body = {"scope": "project", "id": "web"}
    assert (await api.post(ONE, json=body)).status_code == 201
    again = await api.post(ONE, json=body)
    assert (again.status_code, again.json()["incarnation"]) == (200, 2)
    for takeover in ("never", "if-dead"):
        refused = problem_of(await api.post(ONE, json=body, params={"takeover": takeover}), 409, "exists")
        assert "'web'" in refused["detail"]


async def test_the_same_idempotency_key_registers_once_and_answers_the_same(api, registry):
    headers = {"Idempotency-Key": "k-1"}
    first = await api.post(ONE, json={"scope": "project"}, headers=headers)
    again = await api.post(ONE, json={"scope": "project"}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert registry.view.revision == 1
    other = await api.post(ONE, json={"scope": "project"}, headers={"Idempotency-Key": "k-2"})
    assert other.json()["id"] != first.json()["id"]


async def test_an_idempotency_key_of_one_route_never_answers_for_another(api, tree):
    headers = {"Idempotency-Key": "k"}
    assert (await api.post(ONE, json={"scope": "project", "id": "x"}, headers=headers)).status_code == 201
    patched = await api.patch(f"{ONE}/x", json={"version": "2"}, headers=headers)
    assert (patched.status_code, patched.json()["version"]) == (200, "2")
    assert (await api.patch(f"{ONE}/web", json={"version": "3"}, headers=headers)).json()["version"] == "3"
    assert (await api.delete(f"{ONE}/x", headers=headers)).status_code == 200
    assert (await api.get(f"{ONE}/x")).status_code == 404


async def test_a_repeated_patch_with_if_match_and_a_key_is_answered_and_not_refused(api, tree, registry):
    headers = {"Idempotency-Key": "k", "If-Match": (await api.get(f"{ONE}/web")).headers["ETag"]}
    assert (await api.patch(f"{ONE}/web", json={"version": "2"}, headers=headers)).status_code == 200
    revision = registry.view.revision
    again = await api.patch(f"{ONE}/web", json={"version": "2"}, headers=headers)
    assert (again.status_code, registry.view.revision) == (200, revision)


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "\x07"], ids=["empty", "a space", "too long", "a bell"])
async def test_an_idempotency_key_that_is_none_is_refused(key, api):
    answer = await api.post(ONE, json={"scope": "project"}, headers={"Idempotency-Key": key})
    assert problem_of(answer, 422, "invalid")["field"] == "Idempotency-Key"
