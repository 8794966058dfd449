"""The checkup of a server: whether a Redis is one that a registry can rely on, whatever is in it."""

from collections.abc import Awaitable, Callable
from typing import Any

from hopper.config import Settings
from hopper.errors import StoreFault
from hopper.model.finding import Finding, Level
from hopper.store.diagnosis import Diagnosis

__all__ = ["ServerCheckup"]

OLDEST = (7, 0)
NEEDED_FLAGS = "Kxe"
PINGS = 10
CLOCK_MS = 1_000
"""Milliseconds between the two clocks from which they tell different stories."""

_FULL = 0.9


class ServerCheckup:
    """Asks a server about itself. Each check answers findings, and raises `StoreFault` where it is refused."""

    def __init__(self, settings: Settings, diagnosis: Diagnosis) -> None:
        self._settings = settings
        self._diagnosis = diagnosis

    @property
    def checks(self) -> tuple[tuple[str, Callable[[], Awaitable[list[Finding]]]], ...]:
        """The checks by their names, in the order in which they are told."""
        return (
            ("redis", self._redis),
            ("persistence", self._persistence),
            ("eviction", self._eviction),
            ("notifications", self._notifications),
            ("latency", self._latency),
            ("clock", self._clock),
        )

    async def _redis(self) -> list[Finding]:
        info = await self._diagnosis.info("server")
        name, version = _product(info)
        found = [Finding("redis", Level.OK, f"{name} {version} answers")]
        spoken = str(info.get("redis_version", ""))
        if _numbers(spoken) < OLDEST:
            text = f"{name} {version} is too old: scripts and heartbeats need 7.0 or later"
            found = [Finding("redis", Level.PROBLEM, text, "upgrade it, or use Valkey")]
        replication = await self._diagnosis.info("replication")
        if replication.get("role") == "slave":
            text = f"this server is a replica of {replication.get('master_host')}: it refuses every write"
            found.append(Finding("redis", Level.PROBLEM, text, "name the primary in HOPPER_REDIS_URL"))
        return found

    async def _option(self, name: str) -> str | None:
        """A setting of the server, None where it is not told."""
        try:
            return await self._diagnosis.option(name)
        except StoreFault:
            return None

    async def _persistence(self) -> list[Finding]:
        info = await self._diagnosis.info("persistence")
        appends = str(info.get("aof_enabled", 0)) == "1"
        failed = [
            what
            for name, what in (
                ("aof_last_write_status", "the append-only file"),
                ("rdb_last_bgsave_status", "a snapshot"),
            )
            if info.get(name, "ok") != "ok"
        ]
        if failed:
            text = f"the last write of {' and of '.join(failed)} failed: Redis will refuse writes, and may lose some"
            return [Finding("persistence", Level.PROBLEM, text, "look for a full disk and into the server's log")]
        if appends:
            sync = await self._option("appendfsync")
            if sync == "no":
                text = "the append-only file is flushed when the system likes to: a power cut loses about 30 s"
                return [Finding("persistence", Level.WARNING, text, "CONFIG SET appendfsync everysec")]
            lost = {"always": "nothing", "everysec": "about a second"}.get(sync or "", "what appendfsync allows")
            return [Finding("persistence", Level.OK, f"the append-only file is on; a power cut loses {lost}")]
        save = await self._option("save")
        advice = "CONFIG SET appendonly yes, and the same in its configuration file"
        if save is None:
            text = "the append-only file is off, and whether snapshots are taken is not told: writes may be lost"
        elif save:
            text = f"the append-only file is off: a crash loses what was written since the last snapshot (save {save})"
        else:
            text = (
                "nothing is written to disk: a restart of Redis loses every record, and only sessions register "
                "again by themselves"
            )
        return [Finding("persistence", Level.WARNING, text, advice)]

    async def _eviction(self) -> list[Finding]:
        memory = await self._diagnosis.info("memory")
        policy, limit = str(memory.get("maxmemory_policy", "noeviction")), int(memory.get("maxmemory", 0))
        evicted = int((await self._diagnosis.info("stats")).get("evicted_keys", 0))
        advice = "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
        found: list[Finding] = []
        if policy == "noeviction":
            used = int(memory.get("used_memory", 0))
            if limit and used > _FULL * limit:
                text = (
                    f"{used / limit:.0%} of maxmemory is used: once it is full every write is refused, heartbeats too"
                )
                found.append(Finding("eviction", Level.WARNING, text, "raise maxmemory"))
            else:
                found.append(Finding("eviction", Level.OK, "maxmemory-policy is noeviction: nothing is thrown away"))
        else:
            what = (
                "heartbeats are thrown away first, since they expire, and whoever loses his looks dead"
                if policy.startswith("volatile-")
                else "records, indexes and the log may be thrown away like anything else"
            )
            when = f"at maxmemory ({limit} bytes)" if limit else "as soon as somebody sets maxmemory"
            level = Level.PROBLEM if limit else Level.WARNING
            found.append(Finding("eviction", level, f"maxmemory-policy is {policy}: {when} {what}", advice))
        if evicted:
            text = f"{evicted} keys have been thrown away for lack of memory since the server was started"
            found.append(Finding("eviction", Level.WARNING, text, advice))
        return found

    async def _notifications(self) -> list[Finding]:
        flags = await self._diagnosis.option("notify-keyspace-events")
        have = set(flags or "") | (set("g$lshzxetd") if "A" in (flags or "") else set())
        missing = "".join(flag for flag in NEEDED_FLAGS if flag not in have)
        if not missing:
            return [Finding("notifications", Level.OK, f"expired and evicted keys are told of (flags {flags})")]
        text = (
            f"notify-keyspace-events lacks {missing}: detection is as prompt without, but a heartbeat that is evicted "
            "looks like one that lapsed"
        )
        advice = f"the leading monitor adds them; or CONFIG SET notify-keyspace-events {flags or ''}{missing}"
        return [Finding("notifications", Level.WARNING, text, advice)]

    async def _latency(self) -> list[Finding]:
        taken = sorted([await self._diagnosis.ping_ms() for _ in range(PINGS)])
        median, worst, slow = taken[PINGS // 2], taken[-1], self._settings.pulse_slow_ms
        text = f"PING takes {median:.2f} ms, at worst {worst:.2f} ms of {PINGS}"
        if median >= slow:
            advice = "bring the monitor nearer to Redis, or find what keeps it busy (SLOWLOG, INFO commandstats)"
            return [Finding("latency", Level.PROBLEM, f"{text}: a pulse over {slow} ms starts a hold", advice)]
        if worst >= slow / 5:
            text += f": each lapse is noticed so much later, and over {slow} ms nobody is judged"
            return [Finding("latency", Level.WARNING, text, "look again; if it stays so, see what keeps Redis busy")]
        return [Finding("latency", Level.OK, text)]

    async def _clock(self) -> list[Finding]:
        offset = await self._diagnosis.clock_offset_ms()
        if abs(offset) < CLOCK_MS:
            return [Finding("clock", Level.OK, f"Redis' clock is {round(offset):+d} ms from this host's")]
        text = (
            f"Redis' clock is {round(offset):+d} ms from this host's: verdicts go by Redis' alone, but its times do "
            "not fit those of this host's logs"
        )
        return [Finding("clock", Level.WARNING, text, "let both hosts follow NTP")]


def _product(info: dict[str, Any]) -> tuple[str, str]:
    if str(info.get("server_name", "")).lower() == "valkey":
        return "Valkey", str(info.get("valkey_version", info.get("redis_version", "?")))
    return "Redis", str(info.get("redis_version", "?"))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in version.split(".")[:2] if word.isdecimal())
