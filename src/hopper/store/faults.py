"""Where redis-py's exceptions become Hopper's: none of them leaves the store."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis.exceptions

from hopper.errors import BY_LUA_CODE, HopperError, StoreFault, Unavailable

__all__ = ["border", "convert", "reading"]

_NOT_NOW = ("OOM", "READONLY", "LOADING", "MISCONF", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS")
"""Replies by which Redis refuses a write for now; the scripts write their event first, so nothing was applied."""

_REFUSED = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
"""The same where redis-py has taken the first word away."""

_DENIED = (
    redis.exceptions.AuthenticationError,
    redis.exceptions.AuthorizationError,
    redis.exceptions.AuthenticationWrongNumberOfArgsError,
    redis.exceptions.ExternalAuthProviderError,
)
"""Replies by which Redis refuses this user: nothing was applied, and a repeat would not be either."""

_NEVER_SENT = ("Error connecting", "Timeout connecting", "No connection available")


def convert(error: redis.exceptions.RedisError | OSError) -> HopperError:
    """The error of Hopper that says what `error` means for the caller."""
    text = str(error)
    if isinstance(error, redis.exceptions.ResponseError) and text.startswith("HOPPER_"):
        code, _, detail = text.removeprefix("HOPPER_").partition(" ")
        kind = BY_LUA_CODE.get(code)
        return StoreFault(f"a script answered the unknown code {code}: {detail}") if kind is None else kind(detail)
    if isinstance(error, _DENIED):
        return Unavailable(f"Redis refuses us: {text}")
    if isinstance(error, _REFUSED) or text.startswith(_NOT_NOW):
        return Unavailable(f"Redis refuses writes: {text}")
    if isinstance(error, (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)):
        never_sent = text.startswith(_NEVER_SENT) or " connecting to " in text
        return Unavailable(f"Redis is away: {text}", outcome="not-applied" if never_sent else "unknown")
    return StoreFault(f"Redis answered: {text}")


@contextmanager
def border() -> Iterator[None]:
    """Run a block whose redis-py errors leave as Hopper's."""
    try:
        yield
    except (redis.exceptions.RedisError, OSError) as error:
        raise convert(error) from error


@contextmanager
def reading() -> Iterator[None]:
    """The same for a block that changes nothing, so that no outcome is unknown."""
    try:
        with border():
            yield
    except Unavailable as error:
        error.outcome = "not-applied"
        raise
