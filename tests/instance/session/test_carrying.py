"""What a session carries on when it registers again: its record as it is now, not as it was at first."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper import InstanceSession
from hopper.errors import Invalid
from hopper.model.policy import Wish
from hopper.model.record import Record
from hopper.model.spec import MUTABLE_FIELDS, apply_patch
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore, Registration
from instance.session.onlookers import add, adopted, parent_of
from specs import known
from waiting import wait_until

PATCH: dict[str, Any] = {
    "name": "renamed",
    "address": "127.0.0.1:81",
    "version": "2",
    "description": "said by an operator",
    "tags": ["b"],
    "metadata": {"k": "v"},
    "config": {"x": [1]},
    "ephemeral": True,
    "ttl_ms": 3000,
    "grace_ms": 500,
    "deregister_after_ms": 1_000_000,
    "restart": {"mode": "always"},
    "thresholds": {"queue_depth": {"degraded": 5}},
    "check": {"tcp": True, "interval_s": 1, "timeout_s": 0.1},
    "wish": {"name": "web"},
    "max_children": 7,
}


async def patch(store: InstanceStore, id: str, **changes: Any) -> None:
    await store.update(id, lambda record: apply_patch(record, changes))


async def made_failed(session: InstanceSession, store: InstanceStore) -> None:
    times = session.registrations
    await store.transition(session.id, Verb.FAIL)
    await wait_until(lambda: session.registrations > times)


async def restarted(session: InstanceSession, store: InstanceStore) -> None:
    await session.restart()


def said(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in MUTABLE_FIELDS}


def test_the_patch_of_these_tests_is_of_every_field_that_there_is():
    assert set(PATCH) == set(MUTABLE_FIELDS)


@pytest.mark.parametrize("again", [made_failed, restarted])
async def test_what_was_patched_stays_when_it_registers_again(again, store, settings):
    async with InstanceSession(scope="orchestration", id="o", settings=settings, tags=["a"]) as session:
        await patch(store, "o", **PATCH)
        patched = await known(store, "o")
        await again(session, store)
        record = await known(store, "o")
        assert record.incarnation > patched.incarnation
        assert said(record) == said(patched)
        assert (record.description, record.ttl_ms) == ("said by an operator", 3000)


async def test_what_was_patched_last_stays_also_when_the_record_vanishes_later(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await patch(store, "p", description="patched")
        await session.restart()
        await store.deregister("p")
        await wait_until(lambda: session.registrations == 3)
        assert (await known(store, "p")).description == "patched"


async def test_a_new_session_replaces_what_was_patched(store, settings):
    fields: dict[str, Any] = {"scope": "project", "id": "p", "description": "mine", "settings": settings}
    async with InstanceSession(**fields):
        await patch(store, "p", description="patched", tags=["b"])
    async with InstanceSession(**fields):
        record = await known(store, "p")
        assert (record.description, record.tags) == ("mine", ())


async def test_a_patch_between_the_look_and_the_registration_is_not_lost(store, settings, monkeypatch):
    register, patches = InstanceStore.register, iter(["first", "second"])

    async def patched_first(self: InstanceStore, *args: Any, **more: Any) -> Registration:
        if (text := next(patches, None)) is not None:
            await patch(store, "p", description=text)
        return await register(self, *args, **more)

    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        monkeypatch.setattr(InstanceStore, "register", patched_first)
        await session.restart()
        assert (await known(store, "p")).description == "second"
        assert session.registrations == 2


async def test_one_whose_record_has_grown_by_its_parent_registers_again_as_it_stands(store, settings):
    await add(store, "project", "w" * 90)
    async with InstanceSession(scope="orchestration", id="o", settings=settings) as session:
        await fill(store, "o")
        await store.link("o", "w" * 90)
        full = await known(store, "o")
        await session.restart()
        record = await known(store, "o")
        assert (record.config, record.parent_id) == (full.config, "w" * 90)


async def fill(store: InstanceStore, id: str) -> None:
    """Let the owner say as much as an owner may, but for a few bytes."""
    for size in range(6500, 8192, 16):
        try:
            await patch(store, id, config={"x": "y" * size})
        except Invalid:
            return
    pytest.fail("a record has a limit")


@pytest.mark.parametrize("named", [{"parent_id": "web"}, {"wish": {"id": "web"}}, {}], ids=["named", "wished", "none"])
async def test_it_stays_where_others_have_moved_it(named, store, settings):
    await add(store, "project", "web")
    await add(store, "project", "other")
    async with InstanceSession(scope="orchestration", id="o", settings=settings, **named) as session:
        await store.link("o", "other")
        await session.restart()
        assert await parent_of(store, "o") == "other"


async def test_one_that_was_taken_from_its_parent_stays_an_orphan(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", parent_id="web", settings=settings) as session:
        await store.unlink("o")
        await session.restart()
        record = await known(store, "o")
        assert (record.parent_id, record.wish) == (None, None)


async def test_a_wish_that_was_patched_is_the_one_it_looks_by(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", wish={"id": "ghost"}, settings=settings) as session:
        await patch(store, "o", wish={"id": "web"})
        await session.restart()
        await wait_until(lambda: adopted(store, "o", "web"))
        assert (await known(store, "o")).wish == Wish(id="web")


async def test_it_heartbeats_by_a_ttl_that_was_patched(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings):
        await patch(store, "p", ttl_ms=60_000)

        async def lasts() -> bool:
            return (await store.read_heartbeat("p"))[1] > 50_000

        await wait_until(lasts)
        await patch(store, "p", ttl_ms=1000)

        async def soon() -> bool:
            return 0 < (await store.read_heartbeat("p"))[1] <= 1000

        await wait_until(soon)


@pytest.mark.parametrize("takeover", ["if-dead", "never"])
async def test_what_is_its_own_it_takes_at_once_though_its_last_heartbeat_stands(takeover, store, settings):
    spec = {"scope": "project", "id": "p", "ttl_ms": 60_000, "takeover": takeover}
    async with InstanceSession(settings=settings, **spec) as session:
        await asyncio.wait_for(session.restart(), 5)
        assert session.registrations == 2


@pytest.mark.parametrize("takeover", ["if-dead", "never"])
async def test_what_was_started_by_hand_is_its_own_still_and_goes_on_as_it_stands(takeover, store, settings):
    spec = {"scope": "project", "id": "p", "ttl_ms": 60_000, "takeover": takeover, "returns": False}
    async with InstanceSession(settings=settings, **spec) as session:
        await session.fail()
        await patch(store, "p", description="patched")
        await store.transition("p", Verb.START)
        await asyncio.wait_for(session.restart(), 5)
        assert (await known(store, "p")).description == "patched"


async def test_what_has_only_its_number_is_not_carried_on(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await session.stop_beating()
        await store.client.flushall()
        await store.open()
        await add(store, "project", "p", description="of another")
        assert (await known(store, "p")).incarnation == session.incarnation
        await session.restart()
        assert (await known(store, "p")).description is None


WEB = "w" * 90


@pytest.fixture
async def full(store, settings) -> dict[str, Any]:
    """A wish for `WEB`, and as much else as an instance without a parent may say."""
    said: dict[str, Any] = {"wish": {"name": WEB}}
    async with InstanceSession(scope="orchestration", id="full", settings=settings, **said):
        await fill(store, "full")
        return said | {"config": dict((await known(store, "full")).config)}


async def test_one_without_room_for_its_parent_joins_it_after_it_has_registered(full, store, settings):
    await add(store, "project", WEB)
    async with InstanceSession(scope="orchestration", id="o", settings=settings, **full) as session:
        await wait_until(lambda: adopted(store, "o", WEB))
        await store.deregister("o")
        await wait_until(lambda: session.registrations == 2)
        await wait_until(lambda: adopted(store, "o", WEB))


async def test_one_without_room_for_a_wish_waits_for_the_parent_that_it_names(store, settings):
    await add(store, "project", "w")
    async with InstanceSession(scope="orchestration", id="o", parent_id="w", settings=settings) as session:
        await fill(store, "o")
        await session.restart()
        await store.unlink("o")
        await store.deregister("w")
        await store.deregister("o")
        with capture_logs() as logs:
            await wait_until(lambda: any(entry["event"] == "session.not_registered" for entry in logs))
        await add(store, "project", "w")
        await wait_until(lambda: session.registrations == 3)
        assert await adopted(store, "o", "w")
