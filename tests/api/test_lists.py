"""Lists of instances over the API: filters, pages, and parameters that nobody knows."""

import asyncio
from typing import Any

import pytest

from api.serving import ONE, ids, problem_of
from specs import spec


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
        made = (registry.store.register(spec("project", f"p{n:04}")) for n in range(start, start + 50))
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
