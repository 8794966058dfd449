"""Losing the registration of a session: to another, with the record, or with all of Redis."""

import asyncio
import contextlib
import time
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from hopper import InstanceSession, State, Superseded
from hopper.errors import GlobalExists, IllegalTransition, Leaving, NameTaken
from hopper.instance.restart.restarts import Restarts
from hopper.model.children import ChildrenMode
from hopper.model.departure import Departure
from hopper.model.policy import Wish
from hopper.model.spec import apply_patch
from hopper.model.state import Verb
from hopper.store.instances import InstanceStore, Registration
from instance.session.onlookers import TTL_MS, add, adopted, beating, parent_of
from waiting import until_ended, wait_until


async def overtaken(session: InstanceSession, store: InstanceStore, **usurper: Any) -> None:
    """A body in which another registration takes the id."""
    async with session:
        await add(store, "project", **{"id": session.id, "ttl_ms": TTL_MS, **usurper})
        await until_ended()


async def test_a_superseded_session_raises_in_its_body_and_stops_beating(store, client, settings):
    session = InstanceSession(scope="project", id="p", settings=settings)
    with pytest.raises(Superseded, match="'p'"):
        await overtaken(session, store)
    assert not session._pacemaker.is_alive()
    record = await store.read("p")
    assert record.incarnation > session.incarnation
    assert record.state is State.RUNNING
    await wait_until(lambda: lapsed(client, store, "p"), timeout_s=3)


async def lapsed(client: redis.asyncio.Redis, store: InstanceStore, id: str) -> bool:
    return not await beating(client, store, id)


async def test_of_two_sessions_with_one_id_the_later_stays(store, settings):
    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings):
            await until_ended()

    first = asyncio.create_task(program())
    await wait_until(lambda: store.read("p"))
    async with InstanceSession(scope="project", id="p", settings=settings) as second:
        with pytest.raises(Superseded):
            await first
        assert (await second.record()).incarnation == second.incarnation
        assert (await second.record()).state is State.RUNNING
        assert second._pacemaker.is_alive()
    assert (await store.read("p")).state is State.STOPPED


async def test_a_record_that_vanished_is_registered_again(store, settings):
    async with InstanceSession(scope="project", id="p", tags=["x"], settings=settings) as session:
        first = session.incarnation
        await store.deregister("p")
        await wait_until(lambda: session.registrations == 2)
        record = await session.record()
        assert (record.tags, record.incarnation) == (("x",), session.incarnation)
        assert session.incarnation > first
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats)


async def test_one_that_vanished_with_its_parent_comes_back_and_joins_that_when_it_is_back(store, settings):
    await add(store, "project", "web")
    async with InstanceSession(scope="orchestration", id="o", parent_id="web", settings=settings) as session:
        await deregister_all(store)
        with capture_logs() as logs:
            await wait_until(lambda: session.registrations == 2)
        record = await session.record()
        assert (record.parent_id, record.wish) == (None, Wish(id="web"))
        assert [entry["log_level"] for entry in logs if entry["event"] == "session.parent_lost"] == ["warning"]
        await store.deregister("o")
        with capture_logs() as logs:
            await wait_until(lambda: session.registrations == 3)
        assert not [entry for entry in logs if entry["event"] == "session.parent_lost"]
        await add(store, "project", "web")
        await wait_until(lambda: adopted(store, "o", "web"))


async def test_a_project_that_vanished_with_its_parent_looks_for_the_global_that_there_is(store, settings):
    await add(store, "global", "g")
    async with InstanceSession(scope="project", id="p", parent_id="g", settings=settings) as session:
        await store.deregister("p")
        await store.deregister("g")
        await add(store, "global", "h")
        await wait_until(lambda: session.registrations == 2)
        record = await session.record()
        assert (record.parent_id, record.wish) == ("h", Wish())


async def test_one_that_vanished_with_its_parent_looks_by_its_own_wish_where_it_has_one(store, settings):
    await add(store, "project", "web")
    await add(store, "project", "other", tags=["spare"])
    fields = {"scope": "orchestration", "id": "o", "parent_id": "web", "wish": {"tags": ["spare"]}}
    async with InstanceSession(settings=settings, **fields) as session:
        await deregister_all(store)
        await wait_until(lambda: session.registrations == 2)
        assert await parent_of(store, "o") == "other"


async def deregister_all(store: InstanceStore) -> None:
    """Remove `o` and its parent `web`, the parent first as far as the session can see."""
    await store.unlink("o")
    await store.deregister("web")
    await store.deregister("o")


async def test_a_refusal_that_may_pass_is_said_once_and_asked_ever_more_seldom(store, settings, monkeypatch):
    register, asked = InstanceStore.register, []

    async def refused(self: InstanceStore, *args: Any, **more: Any) -> Registration:
        asked.append(time.monotonic())
        if len(asked) < 5:
            raise Leaving(f"it is being removed by {'one' if len(asked) < 4 else 'another'}")
        return await register(self, *args, **more)

    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        monkeypatch.setattr(InstanceStore, "register", refused)
        with capture_logs() as logs:
            await store.deregister("p")
            await wait_until(lambda: session.registrations == 2)
    said = [entry["detail"] for entry in logs if entry["event"] == "session.not_registered"]
    assert said == ["it is being removed by one", "it is being removed by another"]
    assert asked[4] - asked[3] > 0.05 * 1.5**3
    assert asked[3] - asked[2] > 0.05 * 1.5**2


async def test_a_refusal_to_be_registered_again_ends_the_body(store, settings):
    async def program() -> None:
        async with InstanceSession(scope="project", id="p", name="web", settings=settings):
            await store.update("p", lambda record: apply_patch(record, {"name": "renamed"}))
            await add(store, "project", "usurper", name="web")
            await store.deregister("p")
            await until_ended()

    with pytest.raises(NameTaken, match="'usurper'"):
        await program()


async def test_a_session_goes_on_when_redis_comes_back_from_its_file(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await asyncio.to_thread(private_server.kill)
        await asyncio.to_thread(private_server.restart)
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats + 1)
        assert session.registrations == 1
        assert (await session.record()).incarnation == session.incarnation
    async with contextlib.aclosing(InstanceStore(settings)) as store:
        assert (await store.read("p")).state is State.STOPPED


async def test_a_session_whose_redis_lost_everything_registers_again(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        with private_server.connect() as direct:
            direct.flushall()
        await wait_until(lambda: session.registrations == 2)
        assert (await session.record()).id == "p"


async def test_an_orphan_that_waits_outlasts_a_redis_that_is_away(private_server, new_settings):
    settings = new_settings(redis_url=private_server.url, ttl_ms=TTL_MS)
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await asyncio.to_thread(private_server.kill)
        with capture_logs() as logs:
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "session.not_adopted"])
        await asyncio.to_thread(private_server.restart)
        async with contextlib.aclosing(InstanceStore(settings)) as store:
            await add(store, "global", "g")
            await wait_until(lambda: adopted(store, "p", "g"))
        assert session.registrations == 1


async def test_one_that_vanished_while_its_parent_is_being_removed_waits_for_what_comes_of_that(store, settings):
    await add(store, "project", "web")
    mark = Departure(children=ChildrenMode.CASCADE)
    async with InstanceSession(scope="orchestration", id="o", parent_id="web", settings=settings) as session:
        await store.leave("web", mark)
        await store.deregister("o")
        with capture_logs() as logs:
            await wait_until(lambda: any(entry["event"] == "session.not_registered" for entry in logs))
        await store.stay("web", mark)
        await wait_until(lambda: session.registrations == 2)
        assert await parent_of(store, "o") == "web"


async def test_a_session_takes_the_place_of_a_dead_global(store, settings):
    await add(store, "global", "old")
    with pytest.raises(GlobalExists):
        async with InstanceSession(scope="global", id="new", takeover="if-dead", settings=settings):
            pass
    await store.transition("old", Verb.FAIL)
    async with InstanceSession(scope="global", id="new", takeover="if-dead", settings=settings):
        assert await store.global_id() == "new"
        assert await store.read("old") is None


async def claimed_by_others(session: InstanceSession, store: InstanceStore) -> None:
    """What the leading monitor does to one that was away for longer than its TTL."""
    await Restarts(store).claim(session.id, incarnation=session.incarnation, reason="lapsed", alive=True)
    await store.transition(session.id, Verb.FAIL, incarnation=session.incarnation)


@pytest.mark.parametrize("takeover", ["always", "if-dead", "never"])
async def test_one_that_lives_on_though_others_made_it_failed_registers_again_and_ends_the_claim(
    takeover, store, client, settings
):
    async with InstanceSession(
        scope="project", id="p", restart={"mode": "on-failure"}, takeover=takeover, settings=settings
    ) as session:
        await session.transition(Verb.PAUSE)
        first = session.incarnation
        await claimed_by_others(session, store)
        await wait_until(lambda: session.registrations == 2)
        standing = await Restarts(store).store.standing("p")
        assert (standing.record.state, standing.record.incarnation) == (State.PAUSED, session.incarnation)
        assert standing.ledger.incarnation == first
        assert not standing.ledger.is_open(session.incarnation)
        beats = session._pacemaker.beats
        await wait_until(lambda: session._pacemaker.beats > beats)
        assert await beating(client, store, "p")
    assert (await store.read("p")).state is State.STOPPED


async def test_one_that_failed_by_its_own_word_stays_failed_and_is_told_of_another(store, settings):
    async def program() -> None:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await session.transition(Verb.FAIL)
            beats = session._pacemaker.beats
            await wait_until(lambda: session._pacemaker.beats > beats + 2)
            assert (session.registrations, (await session.record()).state) == (1, State.FAILED)
            await add(store, "project", "p")
            await until_ended()

    with pytest.raises(Superseded):
        await program()


async def test_one_that_has_started_after_a_failure_of_its_own_minds_those_of_others_again(store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        await session.transition(Verb.FAIL)
        await session.transition(Verb.START)
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: session.registrations == 2)
        assert (await session.record()).state is State.STARTING


async def test_a_failure_that_was_refused_is_no_word_of_its_own(store, settings):
    async with InstanceSession(scope="project", id="p", state="created", settings=settings) as session:
        with pytest.raises(IllegalTransition):
            await session.transition(Verb.FAIL)
        await store.transition("p", Verb.START)
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: session.registrations == 2)


@pytest.mark.parametrize("whose", [{"returns": False}, {"heartbeats": False}])
async def test_one_whose_life_others_decide_on_leaves_their_failure_alone(whose, store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings, **whose) as session:
        looks = Looks(session)
        await store.transition("p", Verb.FAIL)
        await wait_until(lambda: looks.count > 2)
        assert (session.registrations, (await session.record()).state) == (1, State.FAILED)


class Looks:
    """Counts the looks of a session's pacemaker."""

    def __init__(self, session: InstanceSession) -> None:
        self.count = 0
        writer = session._pacemaker._writer
        self._holder, writer.holder = writer.holder, self._looked

    def _looked(self, id: str) -> Any:
        found = self._holder(id)
        self.count += found is not None and found.failed
        return found
