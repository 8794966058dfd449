"""The heartbeats of a session: in time whatever the program does, with its metrics where they can be had."""

import threading
import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from hopper import InstanceSession
from hopper.model.heartbeat import parse_heartbeat
from hopper.store.instances import InstanceStore
from instance.session.onlookers import TTL_MS
from waiting import wait_until


class Watcher(threading.Thread):
    """Looks at one key in a thread of its own, as an outsider would."""

    def __init__(self, server: Any, key: str) -> None:
        super().__init__()
        self.left_ms: list[int] = []
        self._server, self._key, self._stopping = server, key, threading.Event()

    def run(self) -> None:
        with self._server.connect() as direct:
            while not self._stopping.wait(0.01):
                self.left_ms.append(direct.pttl(self._key))

    def __enter__(self) -> "Watcher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()


async def test_heartbeats_come_at_a_third_of_the_ttl_though_the_event_loop_is_blocked(server, store, settings):
    async with InstanceSession(scope="project", id="p", settings=settings) as session:
        with Watcher(server, store.keys.heartbeat("p")) as watcher:
            began, beats = time.monotonic(), session._pacemaker.beats
            time.sleep(2 * TTL_MS / 1000)  # the fault: a program that does not give the loop back
            beats, took_s = session._pacemaker.beats - beats, time.monotonic() - began
        assert took_s * 1000 / TTL_MS * 3 / 1.1 - 1 <= beats <= took_s * 1000 / TTL_MS * 3 / 0.9 + 1
        assert min(watcher.left_ms) > TTL_MS / 3
        assert (await session.record()).incarnation == session.incarnation


async def test_heartbeats_carry_the_metrics_and_the_incarnation(store, settings):
    count = iter(range(1000))
    async with InstanceSession(
        scope="project", id="p", settings=settings, metrics=lambda: {"queue_depth": next(count)}
    ) as session:
        await wait_until(lambda: reported(store, "queue_depth", 2))
        value, _ = await store.read_heartbeat("p")
        metrics = parse_heartbeat(value)
        assert (metrics.incarnation, metrics.problems) == (session.incarnation, ())


async def reported(store: InstanceStore, name: str, at_least: int) -> bool:
    value, _ = await store.read_heartbeat("p")
    return (parse_heartbeat(value or b"").as_json().get(name) or 0) >= at_least


def raising() -> dict[str, Any]:
    raise RuntimeError("a fault of the caller's")


@pytest.mark.parametrize(
    "metrics",
    [raising, lambda: {"x": "y" * 5000}, lambda: {"x": object()}, lambda: None],
    ids=["raises", "too large", "no JSON", "nothing"],
)
async def test_metrics_that_cannot_be_had_cost_the_metrics_and_not_the_heartbeat(metrics, store, client, settings):
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings, metrics=metrics) as session:
            await wait_until(lambda: session._pacemaker.beats >= 2)
            value, _ = await store.read_heartbeat("p")
            assert parse_heartbeat(value).as_json() == {"incarnation": session.incarnation}
    assert "pacemaker.metrics_failed" in {entry["event"] for entry in logs}


async def test_an_answer_that_nobody_expects_does_not_end_the_heartbeats(store, client, settings):
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await client.hset(store.keys.record("p"), "incarnation", "x")
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "pacemaker.failing"])
            await client.hset(store.keys.record("p"), "incarnation", session.incarnation)
            beats = session._pacemaker.beats
            await wait_until(lambda: session._pacemaker.beats > beats + 1)
