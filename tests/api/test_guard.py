"""The hold and the guards over REST."""

from api.serving import PREFIX, problem_of
from hopper.store.surveillance import SurveillanceStore

GUARD = f"{PREFIX}/guard"
WEB = {"group": "project:web", "reason": "20 of 30 lapsed within 15 s, over 15%", "since_ms": 1}


async def raised(registry, *groups):
    """These groups are guarded, as a monitor would have it, and a hold is on."""
    surveillance = SurveillanceStore(registry.settings)
    surveillance._client = surveillance._pulse_client = registry.store.client
    await surveillance.pulse("m1")
    await surveillance.start_hold(monitor_id="m1", reason="Redis stood still for 900 ms", since_ms=1)
    for group in groups:
        await surveillance.raise_guard(group, monitor_id="m1", reason=WEB["reason"], evidence={**WEB, "group": group})


async def test_nothing_is_in_force_where_all_is_well(api):
    document = (await api.get(GUARD)).json()
    assert document == {"hold": None, "guards": {}, "monitor": None}


async def test_hold_and_guards_are_shown_with_their_evidence_and_make_the_health_degraded(api, registry):
    await raised(registry, "project:web")
    document = (await api.get(GUARD)).json()
    assert document["guards"] == {"project:web": WEB}
    assert document["hold"]["reason"] == "Redis stood still for 900 ms"
    assert document["monitor"] == "m1"
    health = (await api.get(f"{PREFIX}/health")).json()
    assert (health["status"], health["guards"]) == ("degraded", {"project:web": WEB})


async def test_one_guard_is_released_and_the_others_and_the_hold_stand(api, registry, tree):
    await raised(registry, "project:web", "global")
    document = (await api.delete(GUARD, params={"group": "project:web"})).json()
    assert (document["released"], set(document["guards"])) == (["project:web"], {"global"})
    assert document["hold"] is not None
    revision = (await registry.store.position()).revision
    again = await api.delete(GUARD, params={"group": "project:web"})
    assert (again.status_code, again.json()["released"]) == (200, [])
    assert (await registry.store.position()).revision == revision


async def test_all_guards_are_released_where_none_is_named(api, registry):
    await raised(registry, "project:web", "global")
    document = (await api.delete(GUARD)).json()
    assert sorted(document["released"]) == ["global", "project:web"]
    assert document["guards"] == {}


async def test_the_group_of_a_project_that_is_not_there_is_named_unless_it_is_guarded(api, registry, tree):
    for group in ("project:nobody", "project:run-1"):
        problem = problem_of(await api.delete(GUARD, params={"group": group}), 404, "not-found")
        assert f"'{group}'" in problem["detail"]
    await raised(registry, "project:gone")
    assert (await api.delete(GUARD, params={"group": "project:gone"})).json()["released"] == ["project:gone"]


async def test_what_is_no_group_is_named(api, registry):
    await raised(registry, "project:web")
    problem = problem_of(await api.delete(GUARD, params={"group": "hold"}), 422, "invalid")
    assert (problem["field"], problem["value"]) == ("group", "hold")
    problem_of(await api.delete(GUARD, params={"groups": "global"}), 422, "invalid")
    assert set((await api.get(GUARD)).json()["guards"]) == {"project:web"}
