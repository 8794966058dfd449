"""The routes of instances: what they answer, what they refuse, and with which words."""

import asyncio
from typing import Any

import fakeredis
import orjson
import pytest

from api.serving import PREFIX, ids, problem_of
from hopper import InstanceSpec, Scope
from hopper.errors import Unavailable
from servers import dump
from waiting import wait_until

ONE = f"{PREFIX}/instances"


# -- registering ---------------------------------------------------------------------------------------------------


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


# -- what is refused -----------------------------------------------------------------------------------------------

DEEP = b'{"scope":"project","config":' + b'{"a":' * 300 + b"1" + b"}" * 301

REFUSED: dict[str, tuple[str, str, Any, int, str, list[str]]] = {
    "no JSON": ("POST", "", b"{", 400, "malformed", ["not JSON"]),
    "an empty body": ("POST", "", b"", 400, "malformed", ["not JSON"]),
    "no UTF-8": ("POST", "", b'{"scope":"\xff"}', 400, "malformed", ["not JSON"]),
    "nested too deep": ("POST", "", DEEP, 400, "malformed", ["too deep"]),
    "no object": ("POST", "", [1], 422, "invalid", ["object"]),
    "no scope": ("POST", "", {}, 422, "invalid", ["'scope'"]),
    "an unknown scope": ("POST", "", {"scope": "team"}, 422, "invalid", ["scope", "'team'"]),
    "an unknown field": ("POST", "", {"scope": "project", "colour": 1}, 422, "invalid", ["'colour'"]),
    "a bad id": ("POST", "", {"scope": "project", "id": "A B"}, 422, "invalid", ["id", "'A B'"]),
    "a short ttl": ("POST", "", {"scope": "project", "ttl_ms": 5}, 422, "invalid", ["ttl_ms", "5"]),
    "a bad address": ("POST", "", {"scope": "project", "address": "{x:80"}, 422, "invalid", ["address"]),
    "an unknown takeover": ("POST", "?takeover=x", {"scope": "project"}, 422, "invalid", ["takeover", "'x'"]),
    "an unknown parameter": ("POST", "?colour=x", {"scope": "project"}, 422, "invalid", ["'colour'"]),
    "too large a body": ("POST", "", b'"' + b"x" * 70_000 + b'"', 413, "too-large", ["65536"]),
    "too large a record": (
        "POST", "", {"scope": "project", "config": {"x": "y" * 9000}}, 422, "invalid", ["8192"],
    ),
    "a second global": ("POST", "", {"scope": "global", "id": "g2"}, 409, "global-exists", ["'g2'", "'g'"]),
    "a taken name": (
        "POST", "", {"scope": "project", "id": "x", "name": "the web"}, 409, "name-taken", ["'x'", "'web'"],
    ),
    "a parent of the wrong scope": (
        "POST", "", {"scope": "orchestration", "id": "x", "parent_id": "g"}, 409, "scope-rule", ["'x'", "'g'"],
    ),
    "a parent that is not there": (
        "POST", "", {"scope": "orchestration", "id": "x", "parent_id": "no"}, 404, "not-found", ["'x'", "'no'"],
    ),
    "another scope": ("POST", "", {"scope": "orchestration", "id": "web"}, 409, "exists", ["'web'"]),
    "a patch of nobody": ("PATCH", "/no", {"version": "1"}, 404, "not-found", ["'no'"]),
    "a patch of the id": ("PATCH", "/web", {"id": "x"}, 422, "invalid", ["'id'"]),
    "a patch of the health": ("PATCH", "/web", {"health": "down"}, 422, "invalid", ["'health'"]),
    "a patch of nothing known": ("PATCH", "/web", {"colour": 1}, 422, "invalid", ["'colour'"]),
    "a patch with a bad value": ("PATCH", "/web", {"tags": "x"}, 422, "invalid", ["tags"]),
    "a patch that is a list": ("PATCH", "/web", [], 422, "invalid", ["object"]),
    "a patch to a taken name": ("PATCH", "/shop", {"name": "the web"}, 409, "name-taken", ["'shop'", "'web'"]),
    "a replacement of nobody": ("PUT", "/no", {"scope": "project"}, 404, "not-found", ["'no'"]),
    "a replacement of the scope": ("PUT", "/web", {"scope": "global"}, 422, "invalid", ["scope", "'web'"]),
    "a replacement of the state": ("PUT", "/web", {"state": "paused"}, 422, "invalid", ["'state'"]),
    "a replacement that is a string": ("PUT", "/web", "x", 422, "invalid", ["object"]),
    "a removal of nobody": ("DELETE", "/no", None, 404, "not-found", ["'no'"]),
    "a removal of a parent": ("DELETE", "/web", None, 409, "has-children", ["'web'", "2"]),
    "a link without a parent": ("PUT", "/run-1/parent", {}, 422, "invalid", ["parent_id"]),
    "a link to a number": ("PUT", "/run-1/parent", {"parent_id": 7}, 422, "invalid", ["parent_id", "7"]),
    "a link with more": ("PUT", "/run-1/parent", {"parent_id": "shop", "x": 1}, 422, "invalid", ["'x'"]),
    "a link to nobody": ("PUT", "/run-1/parent", {"parent_id": "no"}, 404, "not-found", ["'run-1'", "'no'"]),
    "a link across the levels": ("PUT", "/run-1/parent", {"parent_id": "g"}, 409, "scope-rule", ["'run-1'", "'g'"]),
    "a link of the global": ("PUT", "/g/parent", {"parent_id": "web"}, 409, "scope-rule", ["'g'", "'web'"]),
    "an unlink of the global": ("DELETE", "/g/parent", None, 409, "scope-rule", ["'g'"]),
    "an unlink of nobody": ("DELETE", "/no/parent", None, 404, "not-found", ["'no'"]),
    "a verb of another state": ("POST", "/web/start", None, 409, "illegal-transition", ["'web'", "'start'"]),
    "a verb of nobody": ("POST", "/no/pause", None, 404, "not-found", ["'no'"]),
    "a verb of an older one": (
        "POST", "/web/pause", {"incarnation": 1}, 409, "stale-incarnation", ["'web'", "not 1"],
    ),
    "a verb with a bad reason": ("POST", "/web/pause", {"reason": 7}, 422, "invalid", ["reason", "7"]),
    "a verb with a bad incarnation": ("POST", "/web/pause", {"incarnation": "1"}, 422, "invalid", ["incarnation"]),
    "a verb with more": ("POST", "/web/pause", {"force": True}, 422, "invalid", ["'force'"]),
    "a heartbeat of nobody": ("PUT", "/no/heartbeat", {}, 404, "not-found", ["'no'"]),
    "too large a heartbeat": ("PUT", "/web/heartbeat", b"x" * 70_000, 413, "too-large", ["65536"]),
    "a read of nobody": ("GET", "/no", None, 404, "not-found", ["'no'"]),
    "a read of no field": ("GET", "/web?fields=colour", None, 422, "invalid", ["'colour'"]),
    "a read of none": ("GET", "/web?fields=", None, 422, "invalid", ["fields"]),
    "a read with an unknown parameter": ("GET", "/web?colour=1", None, 422, "invalid", ["'colour'"]),
    "children of nobody": ("GET", "/no/children", None, 404, "not-found", ["'no'"]),
    "ancestors of nobody": ("GET", "/no/ancestors", None, 404, "not-found", ["'no'"]),
    "descendants of nobody": ("GET", "/no/descendants", None, 404, "not-found", ["'no'"]),
    "the health of nobody": ("GET", "/no/health", None, 404, "not-found", ["'no'"]),
    "nothing": ("GET", "/web/colour", None, 404, "not-found", ["/web/colour"]),
    "another method": ("PUT", "", {}, 405, "method-not-allowed", ["PUT"]),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_says_why_and_changes_not_one_key(
    method, path, body, status, code, words, api, tree, fake_client
):
    before = await dump(fake_client, "default")
    content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
    answer = await api.request(method, ONE + path, content=content)
    document = problem_of(answer, status, code)
    for word in words:
        assert word in document["detail"]
    assert await dump(fake_client, "default") == before


async def test_an_invalid_field_is_a_member_of_the_problem(api):
    answer = await api.post(ONE, json={"scope": "project", "restart": {"jitter": 7}})
    assert problem_of(answer, 422, "invalid")["field"] == "restart.jitter"


async def test_another_method_is_told_which_there_are(api, tree):
    answers = {path: await api.request("PATCH", ONE + path) for path in ("", "/web/parent", "/web/pause")}
    allowed = {path: set(answer.headers["Allow"].split(", ")) for path, answer in answers.items()}
    assert allowed == {"": {"GET", "HEAD", "POST"}, "/web/parent": {"PUT", "DELETE"}, "/web/pause": {"POST"}}


async def test_a_sentence_does_not_grow_with_what_was_sent(api):
    answer = await api.post(ONE, json={"scope": "x" * 60_000})
    assert len(problem_of(answer, 422, "invalid")["detail"]) < 2100


# -- one instance --------------------------------------------------------------------------------------------------


async def test_one_instance_is_answered_with_its_tag_and_not_again_to_who_has_it(api, tree):
    answer = await api.get(f"{ONE}/web")
    tag = answer.headers["ETag"]
    assert answer.json()["id"] == "web"
    assert set(answer.json()) == {*tree["web"]} - {"heartbeat_key", "setex"}
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await api.get(f"{ONE}/web", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    await api.patch(f"{ONE}/web", json={"version": "2"})
    newer = await api.get(f"{ONE}/web", headers={"If-None-Match": tag})
    assert (newer.status_code, newer.json()["version"]) == (200, "2")


async def test_head_answers_as_get_does(api, tree):
    for path in (f"{ONE}/web", ONE, f"{PREFIX}/health", f"{PREFIX}/topology"):
        head, got = await api.head(path), await api.get(path)
        assert (head.status_code, head.headers["Hopper-Revision"]) == (200, got.headers["Hopper-Revision"])


async def test_only_the_fields_asked_for_are_answered(api, tree):
    assert (await api.get(f"{ONE}/web?fields=id,tags")).json() == {"id": "web", "tags": ["eu"]}
    listed = await api.get(f"{ONE}?fields=name&scope=global")
    assert listed.json()["items"] == [{"name": "g"}]


async def test_a_patch_changes_what_it_names_and_null_takes_it_away(api, tree):
    answer = await api.patch(f"{ONE}/web", json={"metadata": {"z": None, "a": "2"}, "version": "7"})
    assert answer.json()["metadata"] == {"a": "2"}
    assert (await api.patch(f"{ONE}/web", json={"version": None})).json()["version"] is None
    assert (await api.get(f"{ONE}/web")).json()["tags"] == ["eu"]


async def test_a_patch_that_changes_nothing_is_no_event(api, tree, registry):
    revision = registry.view.revision
    assert (await api.patch(f"{ONE}/web", json={"tags": ["eu"]})).status_code == 200
    assert registry.view.revision == revision


async def test_a_put_gives_the_fields_left_out_their_defaults_and_keeps_the_rest(api, tree):
    answer = await api.put(f"{ONE}/web", json={"version": "9", "scope": "project", "id": "web", "parent_id": "g"})
    document = answer.json()
    assert (document["version"], document["tags"], document["metadata"], document["name"]) == ("9", [], {}, "web")
    assert (document["parent_id"], document["state"], document["incarnation"]) == ("g", "running", 2)


async def test_a_change_can_ask_for_the_revision_it_was_made_for(api, tree, registry):
    tag = (await api.get(f"{ONE}/web")).headers["ETag"]
    assert (await api.patch(f"{ONE}/web", json={"version": "2"}, headers={"If-Match": tag})).status_code == 200
    stale = await api.patch(f"{ONE}/web", json={"version": "3"}, headers={"If-Match": tag})
    assert "'web'" in problem_of(stale, 412, "precondition-failed")["detail"]
    gone = await api.delete(f"{ONE}/run-1", headers={"If-Match": tag})
    problem_of(gone, 412, "precondition-failed")
    other_epoch = await api.put(f"{ONE}/web", json={}, headers={"If-Match": '"other.2"'})
    assert "epoch" in problem_of(other_epoch, 412, "precondition-failed")["detail"]
    for no_tag in ("x", '"x.y"', '"9999999999999999999999.99999999999999999999999"', '"a.1", "b.2"'):
        refused = await api.patch(f"{ONE}/web", json={}, headers={"If-Match": no_tag})
        assert refused.status_code in (412, 422)
    assert (await api.patch(f"{ONE}/web", json={"version": "4"}, headers={"If-Match": "*"})).status_code == 200


async def test_a_removal_answers_what_went(api, tree, registry):
    answer = await api.delete(f"{ONE}/run-1")
    assert answer.json() == {"items": ["run-1"], "revision": registry.view.revision}
    assert (await api.get(f"{ONE}/run-1")).status_code == 404
    for mode in ("restrict", "eat"):
        answer = await api.delete(f"{ONE}/run-2", params={"children": mode})
        assert answer.status_code == (200 if mode == "restrict" else 422)


async def test_a_parent_is_given_changed_and_taken(api, tree):
    moved = await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"})
    assert moved.json()["parent_id"] == "shop"
    assert ids(await api.get(f"{ONE}/shop/children")) == ["run-1"]
    assert (await api.put(f"{ONE}/run-1/parent", json={"parent_id": "shop"})).status_code == 200
    assert (await api.delete(f"{ONE}/run-1/parent")).json()["parent_id"] is None
    assert ids(await api.get(f"{ONE}?orphan=true")) == ["run-1"]


async def test_the_verbs_lead_through_the_states_and_a_repeat_is_no_error(api, registry):
    await api.post(ONE, json={"scope": "project", "id": "p", "state": "created"})
    for verb, state in (
        ("start", "starting"), ("run", "running"), ("pause", "paused"), ("pause", "paused"), ("resume", "running"),
        ("stop", "stopping"), ("stopped", "stopped"), ("start", "starting"), ("fail", "failed"),
    ):  # fmt: skip
        answer = await api.post(f"{ONE}/p/{verb}", json={"reason": "test"})
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert registry.view.revision == 9


async def test_a_family_is_listed_in_pages(api, tree):
    assert ids(await api.get(f"{ONE}/web/children")) == ["run-1", "run-2"]
    assert ids(await api.get(f"{ONE}/run-1/ancestors?sort=-created_revision")) == ["web", "g"]
    page = await api.get(f"{ONE}/g/descendants?limit=3")
    assert ids(page) == ["web", "shop", "run-1"]
    rest = await api.get(f"{ONE}/g/descendants", params={"limit": 3, "cursor": page.json()["next_cursor"]})
    assert (ids(rest), rest.json()["next_cursor"]) == (["run-2"], None)


# -- heartbeats ----------------------------------------------------------------------------------------------------


async def test_a_heartbeat_keeps_alive_and_says_until_when(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    answer = await api.put(f"{ONE}/web/heartbeat", json={"queue_depth": 3})
    assert answer.json()["problems"] == []
    assert answer.json()["expires_at_ms"] == await fake_client.pexpiretime("hopper:{default}:heartbeat:web")
    health = (await api.get(f"{ONE}/web/health")).json()
    assert (health["metrics"], health["heartbeat"]) == ({"queue_depth": 3}, True)
    assert 0 < health["expires_in_ms"] <= 15_000


BAD_VALUES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"alive!", "not JSON"),
    "no UTF-8": (b"\xff\xfe", "not JSON"),
    "a list": (b"[1]", "not a JSON object"),
    "a value out of range": (b'{"error_rate": 7}', "error_rate is 7"),
    "a value of another type": (b'{"queue_depth": "many"}', "queue_depth is 'many'"),
    "over 4 KiB": (b'{"x":"' + b"y" * 5000 + b'"}', "5008 bytes, over 4096"),
}


@pytest.mark.parametrize(("value", "problem"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
async def test_a_heartbeat_with_a_bad_value_counts_and_is_told_what_is_wrong(value, problem, api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    answer = await api.put(f"{ONE}/web/heartbeat", content=value)
    assert answer.status_code == 200
    assert problem in answer.json()["problems"][0]
    assert 14 <= await fake_client.ttl("hopper:{default}:heartbeat:web") <= 15
    assert await fake_client.strlen("hopper:{default}:heartbeat:web") <= 4096
    health = await api.get(f"{ONE}/web/health")
    assert problem in orjson.dumps([health.json()["problems"], health.json()["metrics"]]).decode()


async def test_a_heartbeat_without_a_body_counts(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    assert (await api.put(f"{ONE}/web/heartbeat")).json()["problems"] == []
    assert 14 <= await fake_client.ttl("hopper:{default}:heartbeat:web") <= 15


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["g", "web", "shop", "run-1", "run-2"]),
        ("scope=project&scope=global", ["g", "web", "shop"]),
        ("scope=PROJECT&tag=eu", ["web"]),
        ("tag=eu&tag=us", []),
        ("name=the web", ["web"]),
        ("name=run-*", ["run-1", "run-2"]),
        ("parent=web&state=running&health=healthy", ["run-1", "run-2"]),
        ("ancestor=g&scope=orchestration", ["run-1", "run-2"]),
        ("version=2", ["shop"]),
        ("meta.z=1", ["web"]),
        ("orphan=false&available=true&limit=2", ["g", "web"]),
        ("sort=-id", ["web", "shop", "run-2", "run-1", "g"]),
        ("sort=version&limit=1", ["g"]),
    ],
)
async def test_a_list_holds_what_the_filters_ask_for(query, found, api, tree):
    answer = await api.get(f"{ONE}?{query}")
    assert ids(answer) == found
    document = answer.json()
    assert (document["complete"], document["revision"]) == (True, 5)
    assert set(document) == {"items", "next_cursor", "revision", "complete"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("colour=red", ["'colour'"]),
        ("scope=team", ["scope", "'team'", "global, project, orchestration"]),
        ("state=idle", ["state", "'idle'"]),
        ("health=fine", ["health", "'fine'"]),
        ("orphan=yes", ["orphan", "'yes'"]),
        ("available=1", ["available", "'1'"]),
        ("consistent=maybe", ["consistent", "'maybe'"]),
        ("name=a&name=b", ["name", "2 times"]),
        ("limit=0", ["limit", "'0'"]),
        ("limit=1001", ["limit", "'1001'"]),
        ("limit=ten", ["limit", "'ten'"]),
        ("limit=1_0", ["limit", "'1_0'"]),
        ("limit=" + "9" * 5000, ["limit"]),
        ("sort=colour", ["sort", "'colour'"]),
        ("fields=id,colour", ["fields", "'colour'"]),
        ("cursor=abc", ["cursor", "'abc'"]),
        ("meta.=x", ["'meta.'"]),
    ],
)
async def test_an_unknown_parameter_or_value_is_named(query, words, api, tree):
    document = problem_of(await api.get(f"{ONE}?{query}"), 422, "invalid")
    for word in words:
        assert word in document["detail"]
    assert document["field"] in query


async def test_a_list_of_thousands_is_paged_whole_while_others_come_and_go(api, registry):
    for start in range(0, 1500, 50):
        made = (registry.store.register(spec(f"p{n:04}")) for n in range(start, start + 50))
        await asyncio.gather(*made)
    await registry.view.catch_up()
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 1000, "sort": "id"}
    page = await api.get(ONE, params=params)
    seen += ids(page)
    await api.delete(f"{ONE}/p0001")
    await api.delete(f"{ONE}/p1200")
    await api.post(ONE, json={"scope": "project", "id": "p0000-new"})
    page = await api.get(ONE, params=params | {"cursor": page.json()["next_cursor"]})
    seen += ids(page)
    assert seen == [f"p{n:04}" for n in range(1500) if n != 1200]
    assert page.json()["next_cursor"] is None
    moved = await api.get(
        ONE, params={"sort": "-id", "cursor": (await api.get(ONE, params=params)).json()["next_cursor"]}
    )
    assert problem_of(moved, 422, "invalid")["field"] == "cursor"


def spec(id: str) -> Any:
    return InstanceSpec(scope=Scope.PROJECT, id=id)


# -- freshness -----------------------------------------------------------------------------------------------------


async def test_a_read_may_ask_for_a_revision(api, tree):
    for path in (f"{ONE}/web", ONE, f"{ONE}/web/children", f"{PREFIX}/discover", f"{PREFIX}/topology"):
        answer = await api.get(path, headers={"Hopper-Min-Revision": "5"})
        assert (answer.status_code, int(answer.headers["Hopper-Revision"])) == (200, 5)
        beyond = await api.get(path, headers={"Hopper-Min-Revision": "6"})
        assert "at 5" in problem_of(beyond, 412, "precondition-failed")["detail"]
        for bad in ("x", "-1", "1.0", "9" * 5000):
            refused = await api.get(path, headers={"Hopper-Min-Revision": bad})
            assert problem_of(refused, 422, "invalid")["field"] == "Hopper-Min-Revision"


async def test_a_consistent_read_sees_what_another_wrote_just_before(api, tree, registry):
    for number in range(5):
        await registry.store.register(spec(f"p{number}"))
        assert (await api.get(f"{ONE}/p{number}?consistent=true")).status_code == 200


# -- without Redis -------------------------------------------------------------------------------------------------


@pytest.fixture
def away(fake_client: fakeredis.FakeAsyncRedis) -> Any:
    """Cut this test's server off, as often as it is called with True, and let it come back with False."""
    server = fake_client.connection_pool.connection_kwargs["server"]

    def cut(gone: bool) -> None:
        server.connected = not gone

    return cut


async def test_without_redis_reads_go_on_and_say_how_stale_they_are(api, tree, registry, away):
    away(True)
    await wait_until(lambda: not registry.view.complete)
    for path in (ONE, f"{PREFIX}/discover", f"{ONE}/web/children"):
        answer = await api.get(path)
        assert answer.json()["complete"] is False
        assert int(answer.headers["Hopper-Stale-Ms"]) >= 0
    assert (await api.get(f"{ONE}/web")).headers["Hopper-Stale-Ms"]
    assert (await api.get(f"{PREFIX}/health")).json()["status"] == "unavailable"
    detail = await api.get(f"{PREFIX}/health?detail=true")
    assert {item["heartbeat"] for item in detail.json()["items"]} == {None}
    assert (await api.get(f"{ONE}/web/health")).json()["heartbeat"] is None
    assert len(ids(await api.get(f"{PREFIX}/discover?select=least-loaded"))) == 5
    assert (await api.get(f"{PREFIX}/topology")).json()["complete"] is False
    assert (await api.get("/readyz")).json()["status"] == "degraded"
    away(False)
    await wait_until(lambda: registry.view.complete)
    assert "Hopper-Stale-Ms" not in (await api.get(f"{ONE}/web")).headers


async def test_without_redis_writes_are_refused_and_say_what_became_of_them(api, tree, registry, away):
    away(True)
    await wait_until(lambda: not registry.view.complete)
    for method, path, body in (
        ("POST", "", {"scope": "project"}), ("PATCH", "/web", {"version": "3"}), ("DELETE", "/run-1", None),
        ("PUT", "/run-1/parent", {"parent_id": "shop"}), ("POST", "/web/pause", None), ("PUT", "/web/heartbeat", {}),
    ):  # fmt: skip
        document = problem_of(await api.request(method, ONE + path, json=body), 503, "unavailable")
        assert document["outcome"] in {"not-applied", "unknown"}
    consistent = await api.get(f"{ONE}/web?consistent=true")
    problem_of(consistent, 503, "unavailable")
    away(False)


async def test_an_answer_that_the_view_is_late_for_is_read_from_redis(api, tree, registry, monkeypatch):
    async def late(*_: Any, **__: Any) -> None:
        raise Unavailable("the view is late")

    monkeypatch.setattr(registry.view, "reach", late)
    answer = await api.patch(f"{ONE}/web", json={"version": "late"})
    assert (answer.status_code, answer.json()["version"]) == (200, "late")
    assert (await api.delete(f"{ONE}/run-1")).status_code == 200
