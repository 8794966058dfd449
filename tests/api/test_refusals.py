"""What the routes of instances refuse: with which words, and changing not one key."""

from typing import Any

import orjson
import pytest

from api.serving import ONE, problem_of
from servers import dump

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
