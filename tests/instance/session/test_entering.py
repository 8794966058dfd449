"""Entering a session: the instance is registered and alive, or the refusal is raised."""

import pytest

from census import Census
from hopper import InstanceSession, InstanceSpec, Scope, Settings, State
from hopper.errors import Exists, GlobalExists, Invalid, NotFound, Unavailable
from instance.session.onlookers import add, beating


async def test_a_session_registers_and_leaves_no_trace_of_an_ephemeral_instance(store, client, settings):
    async with InstanceSession(scope="orchestration", name="worker", settings=settings) as session:
        record = await session.record()
        assert (record.state, record.name, record.incarnation) == (State.RUNNING, "worker", session.incarnation)
        assert await beating(client, store, session.id)
    assert await store.read(session.id) is None
    assert not await beating(client, store, session.id)
    census = await Census.take(client, settings.namespace)
    assert census.problems == []
    assert [event.reason for event in census.events if event.reason] == ["exit"] * 3


async def test_a_spec_does_as_its_fields_do(store, settings):
    spec = InstanceSpec(scope=Scope.PROJECT, id="p")
    async with InstanceSession(spec, settings=settings) as session:
        assert (await session.record()).id == "p"
    assert (await store.read("p")).state is State.STOPPED


async def test_a_bad_field_is_refused_before_anything_is_asked_of_redis():
    with pytest.raises(Invalid, match="scope"):
        InstanceSession(scope="team", settings=Settings(redis_url="redis://127.0.0.1:1"))


async def test_a_session_without_redis_says_so(new_settings):
    with pytest.raises(Unavailable):
        async with InstanceSession(scope="project", settings=new_settings(redis_url="redis://127.0.0.1:1")):
            pass


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"scope": "global", "id": "g2"}, GlobalExists),
        ({"scope": "project", "id": "taken", "takeover": "never"}, Exists),
        ({"scope": "orchestration", "id": "o", "parent_id": "nobody"}, NotFound),
    ],
    ids=["a second global", "an id that is taken", "a parent by name that is not there"],
)
async def test_a_refused_registration_is_raised_on_entry(fields, error, store, settings):
    await add(store, "global", "g")
    await add(store, "project", "taken")
    with pytest.raises(error):
        async with InstanceSession(settings=settings, **fields):
            pytest.fail("the body must not run")
