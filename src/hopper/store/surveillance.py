"""What the monitor asks of Redis: probes, pulses, verdicts, holds and notifications."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis.asyncio
import redis.exceptions

from hopper.config import Settings
from hopper.errors import HopperError, Unavailable
from hopper.store.client import ConnectCount, command_client, database_of, subscriber_client
from hopper.store.faults import border, convert
from hopper.store.keys import Keys
from hopper.store.reading import decode_facts
from hopper.store.scripts import script

__all__ = ["Lapse", "PulseAnswer", "SurveillanceStore"]

_NEEDED_FLAGS = "Kxe"
_POOL = 8
_Call = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PulseAnswer:
    """What a pulse answered: Redis' time, who leads, and whether this call has taken a free lease."""

    now_ms: int
    leader: str
    taken: bool


@dataclass(frozen=True, slots=True)
class Lapse:
    """What `expire` needs to know of one lapsed heartbeat. Times are milliseconds of Redis' clock.

    `details` are further members of the evidence, as JSON and each after a comma. `timed`: the heartbeat was written
    one TTL before the deadline, as far as the monitor can know.
    """

    id: str
    incarnation: int
    verdict: str
    reason: str
    deadline_ms: int
    lapsed: int
    group_size: int
    tolerance_ms: int
    details: str = ""
    timed: bool = True


class SurveillanceStore:
    """The monitor's door to Redis. Pulses have a connection of their own, whose reconnects are counted.

    It waits for nothing longer than half the lease: who still tries to connect to a Redis that works again judges late.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.namespace)
        self.connects = ConnectCount()
        limit_s = settings.lease_ms / 2000
        prompt = settings.model_copy(
            update={
                "connect_timeout_s": min(settings.connect_timeout_s, limit_s),
                "command_timeout_s": min(settings.command_timeout_s, limit_s),
            }
        )
        self._pulse_client: Any = command_client(prompt, connections=1, connects=self.connects)
        self._client: Any = command_client(prompt, connections=_POOL)

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self._pulse_client.aclose()
        await self._client.aclose()

    async def pulse(self, monitor_id: str) -> PulseAnswer:
        """Renew or take the leader's lease by a small write. Raises `Unavailable` where Redis is away or refuses."""
        with border():
            now_ms, leader, taken = await script("pulse")(
                self._pulse_client,
                keys={"monitor": self.keys.monitor},
                arguments={"monitor_id": monitor_id, "lease_ms": self.settings.lease_ms},
            )
        return PulseAnswer(now_ms, leader, bool(taken))

    async def drop_pulse_connection(self) -> None:
        """Close the pulses' connection: an answer that came too late must not be taken for the next one."""
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            await self._pulse_client.connection_pool.disconnect()

    async def drop_idle_connections(self) -> None:
        """Close what nobody uses just now: after a restart of the server it is dead, and would fail its next user."""
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            await self._client.connection_pool.disconnect(inuse_connections=False)

    async def resign(self, monitor_id: str) -> None:
        """Give the lease back, if held."""
        with border():
            await script("resign")(
                self._client, keys={"monitor": self.keys.monitor}, arguments={"monitor_id": monitor_id}
            )

    async def probe(self, heartbeat_keys: Sequence[str], runs: Sequence[int]) -> list[int]:
        """Redis' clock, then the remaining milliseconds of each heartbeat; gone ones are negative.

        `runs` is length, ttl_ms, length, ttl_ms: keys come in runs of the same TTL, at most 500 in all.
        """
        with border():
            return await script("probe")(self._client, keys={"heartbeats": heartbeat_keys}, arguments={"runs": runs})

    async def expire(
        self, lapses: Sequence[Lapse], *, monitor_id: str, expected_ms: int
    ) -> list[list[Any] | HopperError]:
        """Give verdicts, one call each in one pipeline; answers `[outcome, revision, now_ms]` or the error, in order.

        Raises `Unavailable` where the connection was lost: then nobody knows which were given, and a repeat is safe.
        """
        calls: list[_Call] = []
        for lapse in lapses:
            keys = {
                "record": self.keys.record(lapse.id),
                "heartbeat": self.keys.heartbeat(lapse.id),
                "down": self.keys.down,
                "monitor": self.keys.monitor,
            }
            arguments = {
                "id": lapse.id,
                "incarnation": lapse.incarnation,
                "verdict": lapse.verdict,
                "reason": lapse.reason,
                "deadline_ms": lapse.deadline_ms,
                "timed": int(lapse.timed),
                "lapsed": lapse.lapsed,
                "group_size": lapse.group_size,
                "details": lapse.details,
                "expected_ms": expected_ms,
                "tolerance_ms": lapse.tolerance_ms,
                "monitor_id": monitor_id,
                "log_length": self.settings.log_length,
            }
            calls.append((keys | self.keys.log(), arguments))
        return await self._pipeline("expire", calls)

    async def recover(self, ids: Sequence[str]) -> list[list[Any] | HopperError]:
        """Record who heartbeats again, one call each in one pipeline; answers `[outcome, left_ms, now_ms]` each."""
        calls: list[_Call] = []
        for id in ids:
            keys = {
                "record": self.keys.record(id),
                "heartbeat": self.keys.heartbeat(id),
                "down": self.keys.down,
                "restarts": self.keys.restarts(id),
            }
            arguments = {
                "id": id,
                "flap_count": self.settings.flap_count,
                "flap_window_ms": self._flap_window_ms,
                "actor": "monitor",
                "log_length": self.settings.log_length,
            }
            calls.append((keys | self.keys.log(), arguments))
        return await self._pipeline("recover", calls)

    async def calm(
        self, flapping: Sequence[tuple[str, int]], *, reason: str = "", actor: str = ""
    ) -> list[list[Any] | HopperError]:
        """Take the word back that instances (id and incarnation) are flapping, if they have been quiet for a window.

        One call each in one pipeline; answers `[calm|restless|repeat, left_ms]` or the error of each.
        """
        calls: list[_Call] = []
        for id, incarnation in flapping:
            keys = {"record": self.keys.record(id), "restarts": self.keys.restarts(id)}
            arguments = {
                "id": id,
                "incarnation": incarnation,
                "flap_window_ms": self._flap_window_ms,
                "reason": reason,
                "actor": actor,
                "log_length": self.settings.log_length,
            }
            calls.append((keys | self.keys.log(), arguments))
        return await self._pipeline("calm", calls)

    @property
    def _flap_window_ms(self) -> int:
        return round(self.settings.flap_window_s * 1000)

    async def start_hold(self, *, monitor_id: str, reason: str, since_ms: int) -> None:
        """Log that a hold is in force since a time of Redis' clock. Idempotent while one stands."""
        await self._hold("start_hold", {"monitor_id": monitor_id, "reason": reason, "since_ms": since_ms})

    async def end_hold(self, *, monitor_id: str, reason: str) -> None:
        """Log that the hold has ended. Idempotent."""
        await self._hold("end_hold", {"monitor_id": monitor_id, "reason": reason})

    async def raise_guard(self, group: str, *, monitor_id: str, reason: str, evidence: dict[str, Any]) -> None:
        """Log that a group is guarded. Idempotent while it is."""
        told = {"monitor_id": monitor_id, "group": group, "reason": reason, "evidence": orjson.dumps(evidence)}
        await self._hold("raise_guard", told)

    async def release_guard(self, group: str, *, monitor_id: str, reason: str) -> None:
        """Log that a group is guarded no longer. Idempotent."""
        told = {"monitor_id": monitor_id, "group": group, "reason": reason, "actor": "monitor"}
        await self._hold("release_guard", told)

    async def guards(self) -> dict[str, dict[str, Any]]:
        """The guards in force, by group, each with its evidence."""
        with border():
            holds = await self._client.hgetall(self.keys.holds)
        return {name: evidence for name, evidence in decode_facts(holds).items() if name != "hold"}

    async def _hold(self, name: str, arguments: dict[str, Any]) -> None:
        with border():
            await script(name)(
                self._client,
                keys={"holds": self.keys.holds, "monitor": self.keys.monitor} | self.keys.log(),
                arguments=arguments | {"log_length": self.settings.log_length},
            )

    async def _pipeline(self, name: str, calls: Sequence[_Call]) -> list[list[Any] | HopperError]:
        with border():
            replies = await script(name).many(self._client, calls)
        return [convert(reply) if isinstance(reply, redis.exceptions.RedisError) else reply for reply in replies]

    # -- notifications ---------------------------------------------------------------------------------------------

    async def enable_notifications(self) -> str:
        """Add the flags we need to the server's notifications; answers them, or why they could not be added."""
        try:
            answer = await self._client.config_get("notify-keyspace-events")
            flags = str(answer.get("notify-keyspace-events", ""))
            have = set(flags) | (set("g$lshzxetd") if "A" in flags else set())
            missing = "".join(flag for flag in _NEEDED_FLAGS if flag not in have)
            if missing:
                await self._client.config_set("notify-keyspace-events", flags + missing)
        except redis.exceptions.ResponseError as error:
            return f"refused: {error}"
        except (redis.exceptions.RedisError, OSError) as error:
            raise convert(error) from error
        return flags + missing

    async def notifications(self, *, ping_s: float = 5.0) -> AsyncGenerator[tuple[str, str], None]:
        """Ids of heartbeats with what befell them: `expired` or `evicted`, as Redis tells. A hint, no more.

        Pings the connection after every `ping_s` of silence. Raises `Unavailable` where it broke or hangs.
        """
        client = subscriber_client(self.settings)
        pubsub: Any = client.pubsub(ignore_subscribe_messages=False)
        try:
            with border():
                await pubsub.psubscribe(self.keys.heartbeat_channel(database_of(client)))
            subscribed, pinged = False, False
            while True:
                with border():
                    message = await pubsub.get_message(timeout=ping_s)
                if message is None:
                    if pinged:
                        raise Unavailable(f"the subscription has not answered a ping for {ping_s:g} s")
                    with border():
                        await pubsub.ping()
                    pinged = True
                    continue
                pinged = False
                if message["type"] == "psubscribe":
                    if subscribed:
                        raise Unavailable("the subscription was replaced")
                    subscribed = True
                elif message["type"] == "pmessage" and message["data"] in (b"expired", b"evicted"):
                    id = self.keys.id_of_heartbeat(message["channel"].decode(errors="replace"))
                    if id is not None:
                        yield id, message["data"].decode()
        finally:
            await pubsub.aclose()
            await client.aclose()
