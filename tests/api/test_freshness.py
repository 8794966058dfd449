"""How fresh an answer of the API is: at least as asked for, and honest without Redis."""

from typing import Any

import fakeredis
import pytest

from api.serving import ONE, PREFIX, ids, problem_of
from hopper.errors import Unavailable
from specs import spec
from waiting import wait_until

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
        await registry.store.register(spec("project", f"p{number}"))
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
