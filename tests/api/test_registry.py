"""The routes of the registry as a whole: discovery, health, the topology, and whether it is ready."""

import asyncio
from typing import Any

import orjson
import pytest

from api.serving import PREFIX, client_of, ids, problem_of
from hopper import InstanceRegistry, Settings
from hopper.api.app import create_app
from waiting import wait_until

TEXT = """\
● g global running healthy
├── ● web (the web) project running healthy
│   ├── ● run-1 orchestration running healthy
│   └── ● run-2 orchestration running healthy
└── ● shop project running healthy
"""


# -- discover ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["g", "web", "shop", "run-2"]),
        ("available=true", ["g", "web", "shop", "run-2"]),
        ("available=false", ["g", "web", "shop", "run-1", "run-2"]),
        ("scope=orchestration", ["run-2"]),
        ("can_parent=orchestration", ["web", "shop"]),
        ("can_parent=ORCHESTRATION&tag=eu", ["web"]),
        ("can_parent=project", ["g"]),
        ("can_parent=global", []),
        ("can_parent=orchestration&scope=global", []),
        ("sort=-id&limit=2", ["web", "shop"]),
        ("select=least-loaded&can_parent=orchestration&limit=1", ["shop"]),
    ],
)
async def test_discovery_finds_what_is_in_service_unless_told_otherwise(query, found, api, tree):
    await api.post(f"{PREFIX}/instances/run-1/pause")
    assert ids(await api.get(f"{PREFIX}/discover?{query}")) == found


async def test_the_least_loaded_by_its_own_word_comes_first(api, tree):
    await api.put(f"{PREFIX}/instances/run-1/heartbeat", json={"active_tasks": 5, "queue_depth": 2})
    await api.put(f"{PREFIX}/instances/run-2/heartbeat", json={"queue_depth": 3})
    for _ in range(5):
        answer = await api.get(f"{PREFIX}/discover?scope=orchestration&select=least-loaded")
        assert ids(answer) == ["run-2", "run-1"]


async def test_a_random_choice_varies(api, tree):
    chosen = {tuple(ids(await api.get(f"{PREFIX}/discover?select=random"))) for _ in range(20)}
    assert len(chosen) > 1
    assert {frozenset(order) for order in chosen} == {frozenset(tree)}


@pytest.mark.parametrize("query", ["select=best", "can_parent=team", "colour=red", "limit=-1", "available=maybe"])
async def test_what_a_discovery_does_not_know_is_named(query, api):
    document = problem_of(await api.get(f"{PREFIX}/discover?{query}"), 422, "invalid")
    assert document["field"] == query.split("=")[0]


# -- health --------------------------------------------------------------------------------------------------------


async def test_health_counts_by_health_scope_and_state(api, tree):
    await api.post(f"{PREFIX}/instances/run-1/fail")
    document = (await api.get(f"{PREFIX}/health")).json()
    assert document == {
        "status": "degraded",
        "total": 5,
        "health": {"unknown": 1, "healthy": 4, "degraded": 0, "unhealthy": 0, "suspect": 0, "down": 0},
        "scopes": {"global": 1, "project": 2, "orchestration": 2},
        "states": {
            "created": 0, "starting": 0, "running": 4, "paused": 0, "stopping": 0, "stopped": 0, "failed": 1,
        },
        "by_scope": {
            "global": {"healthy": 1}, "project": {"healthy": 2}, "orchestration": {"unknown": 1, "healthy": 1},
        },
        "orphans": 0,
        "unreadable": {},
        "monitor": None,
        "hold": None,
        "guards": {},
        "strays": {},
        "troubled": {"failed": {"count": 1, "ids": ["run-1"]}},
        "redis": "ok",
        "revision": 6,
        "complete": True,
    }  # fmt: skip


async def test_health_is_ok_with_a_monitor_and_says_of_a_hold(api, tree, fake_client):
    await fake_client.set("hopper:{default}:monitor", "monitor-1", ex=60)
    document = (await api.get(f"{PREFIX}/health")).json()
    assert (document["status"], document["monitor"]) == ("ok", "monitor-1")
    await fake_client.hset("hopper:{default}:holds", "hold", '{"reason": "a stall"}')
    document = (await api.get(f"{PREFIX}/health")).json()
    assert (document["status"], document["hold"]) == ("degraded", {"reason": "a stall"})
    await fake_client.hset("hopper:{default}:holds", "hold", "by hand")
    assert (await api.get(f"{PREFIX}/health")).json()["hold"] == {"reason": "by hand"}


async def test_health_shows_strays_and_one_that_only_has_no_record_degrades_nothing(api, tree, fake_client):
    await fake_client.set("hopper:{default}:monitor", "monitor-1", ex=60)
    stray = {"kind": "no-record", "incarnation": None, "seen_at_ms": 5}
    await fake_client.hset("hopper:{default}:strays", "ghost", orjson.dumps(stray))
    document = (await api.get(f"{PREFIX}/health")).json()
    assert (document["status"], document["strays"]) == ("ok", {"ghost": stray})
    await fake_client.hset("hopper:{default}:strays", "web", orjson.dumps(stray | {"kind": "old-incarnation"}))
    assert (await api.get(f"{PREFIX}/health")).json()["status"] == "degraded"


async def test_health_of_one_says_why_it_is_not_well_and_how_all_below_it_are(api, tree):
    await api.patch(f"{PREFIX}/instances/web", json={"thresholds": {"queue_depth": {"degraded": 3}}})
    await api.put(f"{PREFIX}/instances/web/heartbeat", json={"queue_depth": 3})
    await api.post(f"{PREFIX}/instances/run-1/fail")
    reasons = ["queue_depth is 3, at or over 3 (degraded)"]
    web = (await api.get(f"{PREFIX}/instances/web/health")).json()
    assert web["reasons"] == reasons
    assert web["rollup"] == {"counts": {"healthy": 2, "unknown": 1}, "worst": "healthy", "total": 3}
    run = (await api.get(f"{PREFIX}/instances/run-1/health")).json()
    assert (run["reasons"], run["rollup"]) == (["it is failed, and not monitored"], None)
    whole = (await api.get(f"{PREFIX}/instances/g/health")).json()["rollup"]
    assert (whole["counts"], whole["total"]) == ({"healthy": 4, "unknown": 1}, 5)
    items = (await api.get(f"{PREFIX}/health?detail=true&name=the web")).json()["items"]
    assert [(item["reasons"], item["rollup"]) for item in items] == [(reasons, None)]


async def test_detail_pages_instances_with_their_metrics_and_what_is_wrong_with_them(api, tree):
    await api.put(f"{PREFIX}/instances/web/heartbeat", json={"queue_depth": 3, "error_rate": "high"})
    first = (await api.get(f"{PREFIX}/health?detail=true&limit=2")).json()
    assert [item["id"] for item in first["items"]] == ["g", "web"]
    left_ms = first["items"][1].pop("expires_in_ms")
    assert 0 < left_ms <= 15_000
    assert first["items"][1] == {
        "id": "web", "name": "the web", "scope": "project", "state": "running", "health": "healthy",
        "reasons": [], "metrics": {"queue_depth": 3},
        "problems": ["error_rate is 'high', not a number"], "heartbeat": True,
        "ttl_ms": 15_000, "incarnation": 2, "down_at_ms": None,
        "started_at_ms": tree["web"]["started_at_ms"], "flapping": False, "restarts": 0,
        "restart": None, "rollup": None,
    }  # fmt: skip
    rest = await api.get(f"{PREFIX}/health", params={"detail": "true", "cursor": first["next_cursor"]})
    assert ids(rest) == ["shop", "run-1", "run-2"]
    only = await api.get(f"{PREFIX}/health?detail=true&scope=global")
    assert ids(only) == ["g"]


async def test_a_lapsed_heartbeat_is_said_in_the_detail(api, tree, fake_client):
    await fake_client.delete("hopper:{default}:heartbeat:web")
    document = (await api.get(f"{PREFIX}/health?detail=true&tag=eu")).json()
    assert [(item["heartbeat"], item["expires_in_ms"]) for item in document["items"]] == [(False, None)]


# -- topology ------------------------------------------------------------------------------------------------------


async def test_the_topology_as_data(api, tree):
    document = (await api.get(f"{PREFIX}/topology")).json()
    assert (document["orphans"], document["revision"], document["complete"]) == ([], 5, True)
    root = document["root"]
    assert [child["id"] for child in root["children"]] == ["web", "shop"]
    assert root["rollup"] == {"counts": {"healthy": 5}, "worst": "healthy", "total": 5}
    web = root["children"][0]
    assert {name: web[name] for name in ("id", "name", "scope", "parent_id", "tags", "hidden_children")} == {
        "id": "web", "name": "the web", "scope": "project", "parent_id": "g", "tags": ["eu"], "hidden_children": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("how", "begins"), [("text", TEXT), ("mermaid", 'graph TD\n  n0["g<br/>'), ("dot", "digraph hopper {\n")]
)
async def test_the_topology_is_drawn(how, begins, api, tree):
    answer = await api.get(f"{PREFIX}/topology?format={how}")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(begins)


async def test_a_part_of_the_topology(api, tree):
    await api.delete(f"{PREFIX}/instances/run-1/parent")
    below = (await api.get(f"{PREFIX}/topology?root=web&depth=0")).json()
    assert (below["root"]["id"], below["root"]["children"], below["root"]["hidden_children"]) == ("web", [], 1)
    whole = (await api.get(f"{PREFIX}/topology?depth=1")).json()
    assert [node["id"] for node in whole["orphans"]] == ["run-1"]
    assert (await api.get(f"{PREFIX}/topology?root=shop&format=text")).text == "● shop project running healthy\n"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("root=nobody", 404, "not-found"),
        ("depth=-1", 422, "invalid"),
        ("depth=deep", 422, "invalid"),
        ("format=png", 422, "invalid"),
        ("red=colour", 422, "invalid"),
    ],
)
async def test_a_topology_that_cannot_be_had(query, status, code, api, tree):
    document = problem_of(await api.get(f"{PREFIX}/topology?{query}"), status, code)
    name, _, value = query.partition("=")
    assert name in document["detail"]
    assert value in document["detail"] or document["detail"] == f"unknown parameter '{name}'"


# -- the process ---------------------------------------------------------------------------------------------------


async def test_it_lives_and_says_where_to_look(api):
    assert (await api.get("/livez")).json() == {"status": "ok"}
    places = (await api.get("/")).json()
    for name in ("instances", "discover", "health", "topology"):
        assert (await api.get(places[name])).status_code == 200


async def test_it_is_ready_once_the_view_has_loaded(registry, monkeypatch):
    opened, gate = registry.store.open, asyncio.Event()

    async def slow_open() -> Any:
        await gate.wait()
        return await opened()

    monkeypatch.setattr(registry.store, "open", slow_open)
    app = create_app(registry=registry)
    async with app.router.lifespan_context(app), client_of(app) as api:
        assert (await api.get("/livez")).status_code == 200
        problem_of(await api.get("/readyz"), 503, "unavailable")
        reading = asyncio.create_task(api.get(f"{PREFIX}/instances"))
        gate.set()
        assert (await reading).json()["items"] == []
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")


async def test_without_redis_from_the_start_it_is_not_ready_and_says_why(new_settings):
    settings: Settings = new_settings(redis_url="redis://127.0.0.1:1/0", read_wait_s=0.2)
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as api:
        for path in ("/readyz", f"{PREFIX}/instances", f"{PREFIX}/health", f"{PREFIX}/instances/x"):
            problem_of(await api.get(path), 503, "unavailable")
        document = await wait_until(lambda: not_ready(api, "connecting"))
        assert document["detail"].startswith("the view has not loaded yet: Redis is away")
        problem_of(await api.post(f"{PREFIX}/instances", json={"scope": "project"}), 503, "unavailable")


async def not_ready(api: Any, word: str) -> Any:
    document = problem_of(await api.get("/readyz"), 503, "unavailable")
    return document if word in document["detail"] else None


async def test_keys_of_a_newer_version_are_said_to_every_reader(registry: InstanceRegistry, fake_client):
    await fake_client.set("hopper:{default}:schema", "99")
    app = create_app(registry=registry)
    async with app.router.lifespan_context(app), client_of(app) as api:
        answer = await api.get(f"{PREFIX}/instances")
        assert (answer.status_code, answer.json()["code"]) == (500, "newer-schema")
        assert "upgrade" in answer.json()["detail"]


@pytest.mark.parametrize("parameter", ["sort=name", "cursor=x"])
async def test_an_answer_that_orders_by_itself_takes_neither_sort_nor_cursor(api: Any, parameter: str) -> None:
    refused = await api.get(f"{PREFIX}/discover?select=random&{parameter}")
    assert (refused.status_code, refused.json()["field"]) == (422, parameter.partition("=")[0])


async def test_the_address_that_serve_prints_says_where_to_look(api: Any) -> None:
    answer = await api.get(PREFIX)
    assert (answer.status_code, answer.json()["instances"]) == (200, f"{PREFIX}/instances")
