"""Projects whose children do not recover are unhealthy, and restarted themselves."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper.config import Settings
from hopper.instance.restart import escalation
from hopper.model.event import EventType
from hopper.model.health import Health
from hopper.model.state import State, Verb
from hopper.store.instances import InstanceStore
from instance.failures import POLICY, SETTLE_S, kinds, passed, stands, until_told
from instance.lapses import Story, leading
from specs import known, patching, spec
from waiting import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": 0.5})


class Levels:
    """Takes the levels of health that are reported."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Health, dict[str, Any]]] = []

    def __call__(self, id: str, level: Health, evidence: dict[str, Any]) -> None:
        self.told.append((id, level, evidence))


async def give_up(store: InstanceStore, story: Story, id: str, *, told: bool = True) -> None:
    """Have a child of `web` exhaust its restarts."""
    await store.register(spec("orchestration", id, parent_id="web", restart={**POLICY, "max_restarts": 0}))
    await store.transition(id, Verb.FAIL)
    if told:
        await until_told(story, id, EventType.RESTART_EXHAUSTED)


async def test_a_project_is_unhealthy_and_restarted_when_too_many_children_were_given_up(settings, store, story):
    levels = Levels()
    await store.register(spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 1}))
    async with leading(settings, report=levels):
        await give_up(store, story, "a")
        await passed(story, store)
        assert levels.told == []
        await give_up(store, story, "b")
        claim = await until_told(story, "web", EventType.RESTART_CLAIMED)
        assert (claim.reason, claim.actor, claim.record.state) == ("children", "monitor", State.RUNNING)
        told = {"children": ["a", "b"], "given_up": 2, "reasons": ["2 of its children were given up: a, b"]}
        assert levels.told == [("web", Health.UNHEALTHY, told)]
        await give_up(store, story, "c")
        await wait_until(lambda: len(levels.told) == 2)
        await passed(story, store)
        assert [event.type for event in await story.of("web")].count(EventType.RESTART_CLAIMED) == 1
        await store.register(spec("project", "web", restart={**POLICY, "max_failed_children": 1}))
        await wait_until(lambda: levels.told[-1][1] is Health.HEALTHY)


async def test_of_very_many_children_only_some_are_named(settings, store, story, monkeypatch):
    """A line of the log for each that is given up, with all that were, would be as long as there are children."""
    monkeypatch.setattr(escalation, "_NAMED", 1)
    levels = Levels()
    await store.register(spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 1}))
    with capture_logs() as logs:
        async with leading(settings, report=levels):
            for id in ("a", "b"):
                await give_up(store, story, id)
            await wait_until(lambda: levels.told)
    (line,) = [entry for entry in logs if entry["event"] == "escalation.level"]
    for told in (line, levels.told[0][2]):
        assert (told["children"], told["given_up"]) == (["a"], 2)


async def test_without_a_policy_the_setting_counts_and_the_project_is_only_reported(settings, store, story):
    levels = Levels()
    settings = settings.model_copy(update={"max_failed_children": 0})
    await store.register(spec("project", "web", ttl_ms=600_000))
    async with leading(settings, report=levels):
        await give_up(store, story, "a")
        await wait_until(lambda: levels.told)
        await passed(story, store)
        assert EventType.RESTART_CLAIMED not in await kinds(story, "web")
        await store.transition("a", Verb.START)
        await wait_until(lambda: levels.told[-1][1] is Health.HEALTHY)


async def test_a_project_whose_restarts_are_used_up_is_only_reported_and_its_death_is_claimed(settings, store, story):
    levels = Levels()
    web = spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_restarts": 1, "max_failed_children": 0})
    await store.register(web)
    async with leading(settings, report=levels):
        await store.transition("web", Verb.FAIL)
        await until_told(story, "web", EventType.RESTART_CLAIMED)
        await store.register(web)
        await give_up(store, story, "a")
        await wait_until(lambda: levels.told)
        await passed(story, store)
        assert EventType.RESTART_EXHAUSTED not in await kinds(story, "web")
        assert not await stands(store, "web")
        await store.update("web", patching(restart={**POLICY, "max_restarts": 9}))
        await store.transition("web", Verb.FAIL)
        claim = await until_told(story, "web", EventType.RESTART_CLAIMED, count=2)
        assert (claim.reason, claim.evidence["count"]) == ("failed", 2)


async def test_the_next_leader_knows_who_was_given_up(settings, store, story):
    levels = Levels()
    await store.register(spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 1}))
    async with leading(settings):
        await give_up(store, story, "a")
    async with leading(settings, report=levels):
        await give_up(store, story, "b")
        await wait_until(lambda: levels.told)
    assert levels.told[0][2]["children"] == ["a", "b"]


async def test_who_was_given_up_before_the_project_started_does_not_count(settings, store, story):
    await store.register(spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 0}))
    async with leading(settings):
        await give_up(store, story, "a")
        await until_told(story, "web", EventType.RESTART_CLAIMED)
        await store.register(spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 0}))
    levels = Levels()
    async with leading(settings, report=levels):
        await passed(story, store)
    assert levels.told == []
    assert [event.type for event in await story.of("web")].count(EventType.RESTART_CLAIMED) == 1


WEB = spec("project", "web", ttl_ms=600_000, restart={**POLICY, "max_failed_children": 0})


async def set_back(store: InstanceStore) -> None:
    """Let `web` be as if Redis' clock had been set back by an hour since it started."""
    started_at_ms = (await known(store, "web")).started_at_ms
    assert started_at_ms is not None
    await store.client.hset(store.keys.record("web"), "started_at_ms", started_at_ms + 3_600_000)


async def test_children_that_are_given_up_after_the_clock_was_set_back_count(settings, store, story):
    await store.register(WEB)
    await set_back(store)
    levels = Levels()
    async with leading(settings, report=levels):
        await give_up(store, story, "a")
        await wait_until(lambda: levels.told)
    levels = Levels()
    async with leading(settings, report=levels):
        await wait_until(lambda: levels.told)


async def test_who_was_given_up_before_the_project_was_started_by_hand_does_not_count(settings, store, story):
    await store.register(WEB)
    levels = Levels()
    async with leading(settings, report=levels):
        await give_up(store, story, "a")
        await wait_until(lambda: levels.told)
        for verb in (Verb.STOP, Verb.STOPPED, Verb.START):
            await store.transition("web", verb)
        await wait_until(lambda: levels.told[-1][1] is Health.HEALTHY)
    await set_back(store)
    levels = Levels()
    async with leading(settings, report=levels):
        await passed(story, store)
        assert levels.told == []
        await give_up(store, story, "b")
        await wait_until(lambda: levels.told)
    assert levels.told[0][2]["children"] == ["b"]
