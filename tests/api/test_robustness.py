"""Whatever is sent, it is answered with a sentence: no input is a fault of the server."""

import asyncio
import json

import fakeredis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.serving import PREFIX, client_of
from hopper import InstanceRegistry, Settings
from hopper.api.app import create_app
from hopper.instance.discovery import SORT_FIELDS
from hopper.model.record import FIELDS
from hopper.model.spec import MUTABLE_FIELDS

Change = tuple[tuple[str, str], bytes, dict[str, str]]
Read = tuple[str, dict[str, str]]

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
WORDS = ["project", "orchestration", "global", "running", "created", "web", "x", "{", "{x:80", "[", "{}", "web:80", ""]
NUMBERS = [0, 1, 1000, -1, 2**63, 2**64, 1e300, 1.5]
OBJECTS = [
    {"a": "b"},
    {"a": None},
    {"id": "web"},
    {"name": "web", "tags": ["x"]},
    {"kind": "tcp"},
    {"mode": "always", "window_s": 1},
    {"queue_depth": {"degraded": 1}},
]
PLAUSIBLE = st.sampled_from(
    [*WORDS, *NUMBERS, *OBJECTS, True, None, [], {}, ["a"], [["a"]], "\x00", "\ud7ff", "é" * 3000]
)
SPECS = st.builds(
    lambda scope, fields: {"scope": scope, **fields},
    st.sampled_from(["project", "orchestration", "global"]),
    st.dictionaries(st.sampled_from(MUTABLE_FIELDS), PLAUSIBLE | JSON, max_size=4),
)
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS) | TEXT, PLAUSIBLE | JSON, max_size=5)
BODIES = (SPECS | DOCUMENTS | JSON).map(lambda document: json.dumps(document).encode())
CHANGES = st.tuples(
    st.sampled_from(
        [
            ("POST", "/instances"),
            ("PUT", "/instances/web"),
            ("PATCH", "/instances/web"),
            ("DELETE", "/instances/web"),
            ("PUT", "/instances/web/parent"),
            ("DELETE", "/instances/web/parent"),
            ("POST", "/instances/web/pause"),
            ("POST", "/instances/web/resume"),
            ("PUT", "/instances/web/heartbeat"),
        ]
    ),
    BODIES | st.binary(max_size=40),
    st.dictionaries(st.sampled_from(["Idempotency-Key", "If-Match"]), st.text('"W/*.,0129az-', max_size=12)),
)
PARAMETERS = [
    *("scope", "state", "health", "tag", "name", "parent", "ancestor", "version", "orphan", "available", "meta.a"),
    *("sort", "fields", "limit", "cursor", "consistent", "can_parent", "select", "detail", "root", "depth", "format"),
]
VALUES = [*SORT_FIELDS, "true", "false", "project", "web", "-id", "1", "0", "json", "random", "[", "*", "?[", "a,b"]
READS = st.tuples(
    st.sampled_from(["/instances", "/instances/web", "/instances/web/children", "/discover", "/health", "/topology"]),
    st.dictionaries(st.sampled_from(PARAMETERS), st.sampled_from(VALUES) | TEXT, max_size=4),
)

NESTED_CONFIG = b'{"scope":"project","config":' + b'{"a":' * 400 + b"1" + b"}" * 401
NESTED_HEARTBEAT = b'{"a":' + b"[" * 600 + b"]" * 600 + b"}"


async def ask(changes: list[Change], reads: list[Read]) -> None:
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    registry = InstanceRegistry(Settings(redis_url="redis://fake.invalid", log_block_ms=20), client=client)
    app = create_app(registry=registry)
    async with app.router.lifespan_context(app), client_of(app) as api:
        for fields in ({"scope": "global", "id": "g"}, {"scope": "project", "id": "web", "parent_id": "g"}):
            await api.post(f"{PREFIX}/instances", json=fields)
        for (method, path), body, headers in changes:
            answer = await api.request(method, PREFIX + path, content=body, headers=headers)
            assert answer.status_code < 500, (method, path, body, headers, answer.text)
            assert answer.status_code < 400 or answer.json()["detail"]
        for path, query in reads:
            answer = await api.get(PREFIX + path, params=query)
            assert answer.status_code < 500, (path, query, answer.text)
        listed = await api.get(f"{PREFIX}/instances?limit=1000&consistent=true")
        assert listed.json()["complete"], listed.text
        assert registry.view.reloads == 1, "a change that the log cannot carry"
    await client.aclose()


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@example([(("POST", "/instances"), b'{"scope":"project","address":"{x:80"}', {})], [])
@example([(("POST", "/instances"), NESTED_CONFIG, {})], [])
@example([(("POST", "/instances"), b'{"scope":"project","deregister_after_ms":18446744073709551616}', {})], [])
@example([(("PUT", "/instances/web/heartbeat"), NESTED_HEARTBEAT, {})], [("/health", {"detail": "true"})])
@given(st.lists(CHANGES, min_size=3, max_size=8), st.lists(READS, max_size=5))
def test_no_input_is_a_fault_of_the_server(changes, reads):
    asyncio.run(ask(changes, reads))
