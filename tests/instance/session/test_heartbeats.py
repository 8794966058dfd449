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


async def problems(store: InstanceStore) -> tuple[str, ...]:
    value, _ = await store.read_heartbeat("p")
    return parse_heartbeat(value or b"").problems


async def test_metrics_that_fail_are_a_problem_of_the_heartbeat_and_logged_once_until_they_work(store, settings):
    faults: list[Exception] = [TypeError("no number 1"), ValueError("x" * 5000)]
    calls = iter(range(1000))

    def metrics() -> dict[str, Any]:
        next(calls)
        if faults:
            raise faults[0]
        return {"queue_depth": 1}

    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings, metrics=metrics) as session:
            await wait_until(lambda: session._pacemaker.beats >= 1)
            assert await problems(store) == ("metrics failed: TypeError: no number 1",)
            faults[0] = TypeError("no number 2")  # as with the time, or an address, in it
            beats = session._pacemaker.beats
            await wait_until(lambda: session._pacemaker.beats >= beats + 2)
            del faults[0]

            async def long_one() -> tuple[str, ...]:
                found = await problems(store)
                return found if "ValueError" in found[0] else ()

            (cut,) = await wait_until(long_one)
            assert 100 < len(cut) < 250
            del faults[0]
            await wait_until(lambda: reported(store, "queue_depth", 1))
            assert await problems(store) == ()
    said = [(entry["event"], entry.get("detail", "")[:26]) for entry in logs if "metrics" in entry["event"]]
    assert said == [
        ("pacemaker.metrics_failed", "metrics failed: TypeError:"),
        ("pacemaker.metrics_failed", "metrics failed: ValueError"),
        ("pacemaker.metrics_recovered", ""),
    ]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there are no words")


@pytest.mark.parametrize("error", [Unspeakable(), ValueError("\ud800"), ValueError()])
async def test_an_error_that_cannot_be_told_costs_no_heartbeat(error, store, settings):
    def metrics() -> dict[str, Any]:
        raise error

    async with InstanceSession(scope="project", id="p", settings=settings, metrics=metrics) as session:
        await wait_until(lambda: session._pacemaker.beats >= 2)
        (problem,) = await problems(store)
        assert problem.startswith("metrics failed: ")


async def test_an_answer_that_nobody_expects_does_not_end_the_heartbeats(store, client, settings):
    with capture_logs() as logs:
        async with InstanceSession(scope="project", id="p", settings=settings) as session:
            await client.hset(store.keys.record("p"), "incarnation", "x")
            await wait_until(lambda: [entry for entry in logs if entry["event"] == "pacemaker.failing"])
            await client.hset(store.keys.record("p"), "incarnation", session.incarnation)
            beats = session._pacemaker.beats
            await wait_until(lambda: session._pacemaker.beats > beats + 1)
