"""Every connection to Redis: the only place that builds clients, and that states each timeout and retry."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.retry import Retry as SyncRetry

from hopper.config import Settings
from hopper.errors import Invalid
from hopper.store.embedded import none_runs, running_url
from hopper.store.sending import cancellable

__all__ = [
    "ConnectCount",
    "blocking_client",
    "command_client",
    "database_of",
    "heartbeat_client",
    "subscriber_client",
    "without_password",
]

_SCHEMES = ("redis", "rediss", "unix")
POOL_SIZE = 32


class ConnectCount:
    """Counts how often a client has connected: redis-py replaces a connection that broke without a word.

    What was read on one connection may not continue what was read on another, since the server may be another too.
    """

    def __init__(self) -> None:
        self.count = 0

    async def connected(self, connection: Any) -> None:
        """The connection's own greeting, counted; passed as `redis_connect_func`."""
        await connection.on_connect()
        self.count += 1


def _url(settings: Settings) -> str:
    """The URL that is set, else that of the embedded Valkey that runs; raises `Unavailable` where none does."""
    url = settings.redis_url or running_url(settings.data_dir)
    if url is None:
        raise none_runs(settings.data_dir)
    return url


def without_password(url: str) -> str:
    """A URL as it may be shown: `***` stands for the password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{place}"))


def _options(settings: Settings, url: str, *, read_timeout_s: float | None) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        shown = without_password(url)
        schemes = ", ".join(_SCHEMES)
        raise Invalid(f"redis_url is {shown!r}: its scheme is not one of {schemes}", field="redis_url", value=shown)
    options: dict[str, Any] = {
        "socket_timeout": read_timeout_s,
        "health_check_interval": 0,
        "decode_responses": False,
        "client_name": "hopper",
    }
    if scheme != "unix":
        options |= {"socket_connect_timeout": settings.connect_timeout_s, "socket_keepalive": True}
    return options


def _asyncio_client(
    settings: Settings, *, read_timeout_s: float | None, connections: int, connects: ConnectCount | None = None
) -> redis.asyncio.Redis:
    url = _url(settings)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        **_options(settings, url, read_timeout_s=read_timeout_s),
        retry=Retry(NoBackoff(), 0),
        max_connections=connections,
        timeout=settings.command_timeout_s,
        redis_connect_func=connects.connected if connects else None,
    )
    pool.connection_class = cancellable(pool.connection_class)
    return redis.asyncio.Redis.from_pool(pool)


def command_client(
    settings: Settings, *, connections: int = POOL_SIZE, connects: ConnectCount | None = None
) -> redis.asyncio.Redis:
    """For ordinary commands: a pool of connections, no retries of its own (the store repeats with a token).

    Without a URL it is for the embedded Valkey that runs, and `Unavailable` where none does. Raises `Invalid` for a URL
    of another kind than `redis://`, `rediss://` and `unix://`.
    """
    return _asyncio_client(
        settings, read_timeout_s=settings.command_timeout_s, connections=connections, connects=connects
    )


def blocking_client(settings: Settings, *, connects: ConnectCount | None = None) -> redis.asyncio.Redis:
    """For XREAD BLOCK: one connection, which may stay silent for the block and `log_silence_s` on top."""
    silence_s = settings.log_block_ms / 1000 + settings.log_silence_s
    return _asyncio_client(settings, read_timeout_s=silence_s, connections=1, connects=connects)


def subscriber_client(settings: Settings) -> redis.asyncio.Redis:
    """For notifications: a subscription may be silent for ever, so its reads have no timeout; it is pinged instead."""
    return _asyncio_client(settings, read_timeout_s=None, connections=1)


def heartbeat_client(settings: Settings) -> redis.Redis:
    """For the heartbeat thread of a session: synchronous, one connection, no retries (the next beat is the retry)."""
    url = _url(settings)
    pool = redis.ConnectionPool.from_url(
        url,
        **_options(settings, url, read_timeout_s=settings.command_timeout_s),
        retry=SyncRetry(NoBackoff(), 0),
        max_connections=1,
    )
    return redis.Redis.from_pool(pool)


def database_of(client: redis.asyncio.Redis) -> int:
    """The number of the database a client works on; notifications carry it in their channel."""
    return int(client.connection_pool.connection_kwargs.get("db") or 0)
