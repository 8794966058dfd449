"""Faults of Redis: how each is brought about, and what a fleet, its monitors and the log make of it."""

import asyncio
import contextlib
import shutil
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from effort import LONG
from fleet import BeatingFleet, register_fleet
from hopper.config import Settings
from hopper.errors import Unavailable
from hopper.model.event import Event, EventType
from hopper.model.health import Health
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog
from proxy import ProxyProcess
from run_monitor import MonitorProcess
from servers import RedisServer
from waiting import wait_until

__all__ = ["BEFORE", "DURING", "FAULTS", "LIMIT_MS", "Stage", "events_of", "played"]

COUNT = 300
TTL_MS = 3_000 if LONG else 2_000
SCALE = TTL_MS / 3_000
LIMIT_MS = 2 * TTL_MS if LONG else 2 * TTL_MS + 1_000
"""How long after a fault the dead may pass for alive. A lease (2 s) and a TTL of working Redis do not scale with it."""
AWAY_S = 60 if LONG else 8 * SCALE
HOUR_MS = 3_600_000
BEFORE, DURING = "stops-before", "stops-during"


@dataclass
class Stage:
    """One fault's server, monitors and fleet, and what came of it."""

    server: RedisServer
    settings: Settings
    monitors: list[MonitorProcess]
    fleet: BeatingFleet
    store: InstanceStore
    stopped: dict[str, float] = field(default_factory=dict)
    front: ProxyProcess | None = None
    replica: RedisServer | None = None
    began_ms: float = 0.0
    ended_ms: float = 0.0
    holds: dict[str, dict[str, Any]] | None = None
    """The hold and the guards in force when all should be over; None where Redis did not say."""
    events: list[Event] = field(default_factory=list)

    def local_ms(self, redis_ms: float) -> float:
        """A time of Redis' clock, which a fault may have moved by an hour, as it was here."""
        return redis_ms - HOUR_MS * round((redis_ms - self.began_ms) / HOUR_MS)

    def silence(self, id: str) -> None:
        """Let one instance really stop."""
        self.stopped[id] = time.time() * 1000
        self.fleet.stop_beating(id)

    def down(self) -> dict[str, float]:
        """Who went down, and when."""
        return {
            str(event.id): self.local_ms(event.at_ms)
            for event in self.events
            if event.type is EventType.HEALTH_CHANGED and event.record and event.record.health is Health.DOWN
        }

    def of_type(self, kind: EventType) -> list[Event]:
        return [event for event in self.events if event.type is kind]

    def story(self) -> str:
        """What the log tells from the fault on, a line each; what was judged, held or guarded, and when after it."""
        told = [event for event in self.events if self.local_ms(event.at_ms) >= self.began_ms]
        return "\n".join(
            f"{self.local_ms(event.at_ms) - self.ended_ms:+.0f} ms {event.type.value} {event.id} {event.reason}"
            f" {event.evidence}"
            for event in told[:100]
        )


async def stall(stage: Stage, seconds: float, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Freeze Redis; the second instance stops, and `meanwhile` happens, in the middle of it."""
    stage.server.pause()
    await asyncio.sleep(seconds / 2)
    if DURING not in stage.stopped:
        stage.silence(DURING)
    meanwhile()
    await asyncio.sleep(seconds / 2)
    stage.server.resume()


async def freeze(stage: Stage) -> None:
    await stall(stage, 5 * SCALE)


async def freeze_and_kill_the_leader(stage: Stage) -> None:
    leader = stage.monitors[0]
    assert await leader.leads(stage.store)
    await stall(stage, 5 * SCALE, meanwhile=leader.kill)


async def refuse_writes(stage: Stage) -> None:
    with stage.server.connect() as direct:
        direct.config_set("maxmemory-policy", "noeviction")
        direct.config_set("maxmemory", "1")
        await asyncio.sleep(4 * SCALE)
        stage.silence(DURING)
        await asyncio.sleep(4 * SCALE)
        direct.config_set("maxmemory", "0")


async def kill_redis(stage: Stage) -> None:
    await asyncio.to_thread(stage.server.kill)
    await asyncio.sleep(AWAY_S / 2)
    stage.silence(DURING)
    await asyncio.sleep(AWAY_S / 2)
    await asyncio.to_thread(stage.server.restart)
    await stage.store.client.connection_pool.disconnect()


async def stall_again_and_again(stage: Stage) -> None:
    for _ in range(6 if LONG else 3):
        await stall(stage, 1.2)
        await asyncio.sleep(8.8 if LONG else 2.8)
    await stall(stage, 1.2)


async def promote_the_replica(stage: Stage) -> None:
    assert stage.front is not None
    assert stage.replica is not None
    stage.silence(DURING)
    await asyncio.to_thread(stage.server.kill)
    await asyncio.sleep(2 * SCALE)
    with stage.replica.connect() as direct:
        direct.replicaof("NO", "ONE")
    stage.front.retarget(stage.replica.port)
    await stage.store.client.connection_pool.disconnect()


def move_the_clock(by_ms: int) -> Callable[[Stage], Awaitable[None]]:
    async def move(stage: Stage) -> None:
        await asyncio.sleep(2 * SCALE)
        with _clock_file(stage.server.data_dir.parent).open("r+b") as clock:  # cut to nothing it would kill its reader
            clock.write(struct.pack("q", by_ms))
        await asyncio.sleep(2 * SCALE)
        stage.silence(DURING)

    return move


FAULTS: dict[str, tuple[int, Callable[[Stage], Awaitable[None]]]] = {
    "redis stands still": (1, freeze),
    "redis stands still and the leader dies": (2, freeze_and_kill_the_leader),
    "redis refuses writes": (1, refuse_writes),
    "redis is killed and comes back from its file": (1, kill_redis),
    "redis stands still again and again": (1, stall_again_and_again),
    "a replica is promoted": (2, promote_the_replica),
}
if shutil.which("cc"):
    FAULTS["redis' clock moves an hour on"] = (1, move_the_clock(HOUR_MS))
    FAULTS["redis' clock moves an hour back"] = (1, move_the_clock(-HOUR_MS))


# -- the stage ---------------------------------------------------------------------------------------------------------


def _clock_file(directory: Path) -> Path:
    return directory / "clock"


def _with_movable_clock(directory: Path) -> dict[str, str]:
    """The environment of a server whose wall clock is moved by what stands in a file."""
    library, clock = directory / "clockshim.so", _clock_file(directory)
    source = Path(__file__).parents[1] / "clockshim.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    clock.write_bytes(struct.pack("q", 0))
    return {"LD_PRELOAD": str(library), "CLOCK_SHIM": str(clock)}


def _stands_by(process: MonitorProcess) -> bool:
    return "view.loaded" in process.log


@contextlib.asynccontextmanager
async def staged(directory: Path, *, which: str, fault: str) -> AsyncIterator[Stage]:
    """A server, its monitors, the first of which leads, and a fleet that heartbeats."""
    monitors, _ = FAULTS[fault]
    async with contextlib.AsyncExitStack() as stack:
        environment = _with_movable_clock(directory) if "clock" in fault else {}
        server = stack.enter_context(
            RedisServer(directory / "server", which=which, append_only=True, environment=environment)
        )
        replica, front, url = None, None, server.url
        if "replica" in fault:
            replica = stack.enter_context(RedisServer(directory / "replica", which=which, append_only=True))
            with replica.connect() as direct:
                direct.replicaof("127.0.0.1", str(server.port))
                await wait_until(lambda: direct.info("replication")["master_link_status"] == "up")
            front = stack.enter_context(ProxyProcess(server.port))
            url = front.url
        settings = Settings(redis_url=url, data_dir=directory, port=0)
        store = await stack.enter_async_context(contextlib.aclosing(InstanceStore(settings)))
        await store.open()
        processes = []
        for number in range(monitors):
            process = stack.enter_context(MonitorProcess(settings, log=directory / f"monitor-{number}.log"))
            if not processes:
                await process.until_settled(store)
            else:
                await wait_until(partial(_stands_by, process), 30.0)
            processes.append(process)
        ids = [f"web-{number}" for number in range(COUNT - 2)] + [BEFORE, DURING]
        fleet = BeatingFleet(settings, ids, ttl_ms=TTL_MS)
        await asyncio.to_thread(fleet.start)
        stack.callback(fleet.stop)
        await register_fleet(store, ids, ttl_ms=TTL_MS)
        yield Stage(server, settings, processes, fleet, store, front=front, replica=replica)


async def played(directory: Path, *, which: str, fault: str) -> Stage:
    """Let one fault happen, and watch for two TTLs and a little what comes of it."""
    _, bring_about = FAULTS[fault]
    async with staged(directory, which=which, fault=fault) as stage:
        await asyncio.sleep(TTL_MS / 1000 if LONG else 0.5)
        stage.silence(BEFORE)
        stage.began_ms = time.time() * 1000
        await bring_about(stage)
        stage.ended_ms = time.time() * 1000
        await asyncio.sleep(LIMIT_MS / 1000 + 0.5)
        with contextlib.suppress(AssertionError):  # what stays is in `holds`, and the story tells why
            await wait_until(partial(_no_holds, stage))
        stage.events = await events_of(stage.settings)
        assert all(monitor.lives for monitor in stage.monitors if monitor._process is not None)
        return stage


async def _no_holds(stage: Stage) -> bool:
    """Whether neither hold nor guard is in force; not where a connection of before the fault is found dead."""
    with contextlib.suppress(Unavailable):
        _, stage.holds = await stage.store.surveillance()
    return stage.holds == {}


async def events_of(settings: Settings) -> list[Event]:
    """The whole log."""
    async with contextlib.aclosing(ChangeLog(settings)) as log:
        events: list[Event] = []
        while more := await log.between(len(events) + 1, len(events) + 500):
            events += more
        return events
