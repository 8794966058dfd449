"""What an operator does by hand, and what becomes of the policy's restarts then."""

from typing import Any

import pytest

from hopper.config import Settings
from hopper.instance.restart.restarts import Restarts
from hopper.model.event import Event, EventType
from hopper.model.restart import Outcome
from hopper.model.state import Verb
from instance.failures import POLICY, SETTLE_S, outcome_of, passed, stands, until_told
from instance.lapses import TTL_MS, Story, leading, passes
from specs import known, spec
from waiting import wait_until

CLAIMS = {EventType.RESTART_CLAIMED, EventType.RESTART_EXHAUSTED}
HOOK = {**POLICY, "webhook": "http://hook.invalid/start"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"guard_settle_s": SETTLE_S, "executor_lease_s": 0.5, "restart_wait_s": 1.5})


class Hook:
    """A fake sender of webhooks, whose receiver starts nothing."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def __call__(self, url: str, document: dict[str, Any], delivery: str) -> None:
        assert (url, delivery.split("-")[-3]) == (HOOK["webhook"], document["id"])
        self.sent.append(document)

    def of(self, id: str) -> list[dict[str, Any]]:
        return [document for document in self.sent if document["id"] == id]


async def claims(story: Story, id: str) -> list[Event]:
    return [event for event in await story.of(id) if event.type in CLAIMS]


@pytest.mark.parametrize("most", [0, 2], ids=["used up", "claimed"])
async def test_one_that_is_started_by_hand_and_fails_again_is_claimed_again(most, settings, store, story):
    kind = EventType.RESTART_CLAIMED if most else EventType.RESTART_EXHAUSTED
    async with leading(settings, send=Hook()):
        await store.register(spec("project", "web", ttl_ms=60_000, restart={**HOOK, "max_restarts": most}))
        await store.transition("web", Verb.FAIL)
        await until_told(story, "web", kind)
        await store.transition("web", Verb.START)
        await store.transition("web", Verb.FAIL)
        await until_told(story, "web", kind, count=2)
        first, second = await claims(story, "web")
    assert [event.evidence["count"] for event in (first, second)] == ([1, 2] if most else [0, 0])
    assert second.reason == "failed"


async def test_one_that_is_started_by_hand_before_its_restart_is_not_restarted(settings, store, story, client):
    hook = Hook()
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", ttl_ms=60_000, restart={**HOOK, "initial_delay_s": 0.5}))
        await store.transition("web", Verb.FAIL)
        claim = await until_told(story, "web", EventType.RESTART_CLAIMED)
        await store.transition("web", Verb.START)
        await passes(client, claim.evidence["delay_ms"])
        await passed(story, store)
    assert hook.of("web") == []


async def test_one_that_dies_after_an_operators_restart_came_to_nothing_is_restarted(settings, store, story):
    hook, settings = Hook(), settings.model_copy(update={"restart_wait_s": 0.2})
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", ttl_ms=2 * TTL_MS, restart=HOOK))
        await Restarts(store).request("web", actor="me")
        await until_told(story, "web", EventType.RESTART_CLAIMED, count=2)
        first, second = (await claims(story, "web"))[:2]
    assert (first.reason, second.reason) == ("operator", "lapsed")
    assert (second.record.state, second.evidence["count"]) == ("failed", 1)


async def test_an_operators_restart_during_which_the_old_one_dies_is_one_restart(settings, store, story, client):
    """Its receiver ends the old one, which is seen to be down, before the new one registers."""
    hook = Hook()
    async with leading(settings, send=hook):
        await store.register(spec("project", "web", ttl_ms=60_000, restart=HOOK))
        await Restarts(store).request("web", actor="me")
        await wait_until(lambda: outcome_of(store, "web", Outcome.SENT))
        await store.transition("web", Verb.FAIL)
        await passed(story, store)
        await store.register(spec("project", "web", ttl_ms=60_000, restart=HOOK))
        await passes(client, settings.restart_wait_s * 1000)
        await passed(story, store)
        assert len(await claims(story, "web")) == len(hook.of("web")) == 1
        assert not await stands(store, "web")
        assert (await known(store, "web")).restarts == 1
