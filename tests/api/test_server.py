"""The API as it is served: uvicorn before a real Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvicorn

from api.serving import PREFIX, ids, problem_of
from hopper import Settings
from hopper.api.app import create_app
from hopper.model.spec import parse_spec
from hopper.store.instances import InstanceStore
from servers import RedisServer
from waiting import wait_until

ONE = f"{PREFIX}/instances"


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API on a free port of the loopback interface."""
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: server.started or task.done())
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with served(settings) as client:
        yield client


async def test_a_write_is_answered_and_read_at_once_on_the_same_server(api, settings):
    made = await api.post(ONE, json={"scope": "global", "id": "g"})
    assert made.status_code == 201
    for number in range(20):
        await api.post(ONE, json={"scope": "project", "id": f"p{number}", "parent_id": "g"})
        assert (await api.get(f"{ONE}/p{number}")).json()["parent_id"] == "g"
        assert len(ids(await api.get(f"{ONE}/g/children"))) == number + 1


async def test_a_write_on_one_server_is_seen_by_a_reader_of_another_that_asks_for_it(api, settings):
    async with served(settings) as other:
        for number in range(20):
            made = await api.post(ONE, json={"scope": "project", "id": f"p{number}"})
            revision = made.headers["Hopper-Revision"]
            answer = await other.get(f"{ONE}/p{number}", headers={"Hopper-Min-Revision": revision})
            assert answer.status_code == 200
            assert int(answer.headers["Hopper-Revision"]) >= int(revision)
            assert answer.headers["Hopper-Epoch"] == made.headers["Hopper-Epoch"]
            assert answer.headers["ETag"] == made.headers["ETag"]


async def test_conditions_work_on_the_quick_way_and_on_the_long_one(api):
    made = await api.post(ONE, json={"scope": "project", "id": "p"})
    quick, long = await api.get(f"{ONE}/p"), await api.get(f"{ONE}/p?consistent=true")
    assert quick.content == long.content
    for name in ("ETag", "Hopper-Revision", "Hopper-Epoch", "content-type", "content-length"):
        assert quick.headers[name] == long.headers[name]
    same = await api.get(f"{ONE}/p", headers={"If-None-Match": made.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    head = await api.head(f"{ONE}/p")
    assert (head.content, head.headers["ETag"]) == (b"", made.headers["ETag"])
    problem_of(await api.get(f"{ONE}/p", headers={"Hopper-Min-Revision": "99"}), 412, "precondition-failed")


async def test_many_at_once_are_each_answered_with_their_own_record(api):
    async def one(number: int) -> None:
        made = await api.post(ONE, json={"scope": "project", "id": f"p{number}"})
        assert made.json()["id"] == f"p{number}"
        patched = await api.patch(f"{ONE}/p{number}", json={"version": str(number)})
        assert patched.json()["version"] == str(number)

    await asyncio.gather(*(one(number) for number in range(60)))
    listed = await api.get(f"{ONE}?limit=1000&consistent=true")
    assert len(ids(listed)) == 60
    assert listed.json()["revision"] == 120


async def test_a_body_over_the_limit_is_refused_however_it_comes(api):
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    problem_of(await api.post(ONE, content=chunks()), 413, "too-large")
    assert (await api.get(ONE)).status_code == 200


async def test_redis_that_goes_away_and_comes_back(
    private_server: RedisServer, new_settings: Callable[..., Settings]
) -> None:
    settings = new_settings(redis_url=private_server.url, read_wait_s=1.0)
    async with served(settings) as api:
        await api.post(ONE, json={"scope": "global", "id": "g"})
        await asyncio.to_thread(private_server.kill)
        stale = await wait_until(lambda: answered_stale(api))
        assert (stale.status_code, ids(stale), stale.json()["complete"]) == (200, ["g"], False)
        assert (await api.get(f"{ONE}/g")).status_code == 200
        assert (await api.get("/readyz")).json()["status"] == "degraded"
        await api.post(ONE, json={"scope": "project", "id": "p"})  # may meet a connection that was open
        refused = problem_of(await api.post(ONE, json={"scope": "project", "id": "p"}), 503, "unavailable")
        assert refused["outcome"] == "not-applied"
        await asyncio.to_thread(private_server.restart)
        await wait_until(lambda: answered_fresh(api))
        assert (await api.post(ONE, json={"scope": "project", "id": "p"})).status_code == 201
        async with contextlib.aclosing(InstanceStore(settings)) as store:
            await store.register(parse_spec({"scope": "project", "id": "q"}))
        assert (await api.get(f"{ONE}/q?consistent=true")).status_code == 200


async def answered_stale(api: httpx.AsyncClient) -> httpx.Response | None:
    answer = await api.get(ONE)
    return answer if "Hopper-Stale-Ms" in answer.headers else None


async def answered_fresh(api: httpx.AsyncClient) -> bool:
    return bool((await api.get(ONE)).json()["complete"])
