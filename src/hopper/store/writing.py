"""How a write is carried out: repeated after a lost reply with the same token, and after a conflict with a new read."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import redis.exceptions
import tenacity

from hopper.errors import Conflict, HopperError, Unavailable
from hopper.model.record import Record
from hopper.store.faults import border, convert
from hopper.store.reading import RecordReader, readable
from hopper.store.scripts import script

__all__ = ["Call", "RecordWriter"]

T = TypeVar("T")
Call = tuple[dict[str, str], dict[str, Any]]
"""Keys and arguments of one call of a script, by the names in its header; those of the log are added."""


class RecordWriter(RecordReader):
    """The scripts that change records, called so that each change is made once."""

    def _request(self, token: str | None) -> str:
        return self.keys.request(token or secrets.token_hex(12))

    async def answered(self, token: str) -> int | None:
        """The revision that was answered to a request with this token, None where it is not known."""
        return await self._answered(self._request(token))

    async def _answered(self, request: str) -> int | None:
        """The revision that was answered to an earlier delivery of a request, None for the first."""
        with border():
            kept = await self.client.get(request)
        with readable(request):
            return int(kept.split()[0]) if kept else None

    async def _write(self, name: str, *, keys: dict[str, Any], arguments: dict[str, Any]) -> list[Any]:
        """Run a changing script, again after a lost connection; an outcome that was unknown once stays unknown."""
        keys, arguments = self._logged((keys, arguments))
        outcome = "not-applied"
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.write_retries + 1),
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.2),
            retry=tenacity.retry_if_exception(_connection_lost),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    try:
                        with border():
                            return await script(name)(self.client, keys=keys, arguments=arguments)
                    except Unavailable as error:
                        outcome = "unknown" if error.outcome == "unknown" else outcome
                        raise
        except Unavailable as error:
            error.outcome = outcome
            raise
        raise AssertionError("unreachable: tenacity re-raises")

    async def _settle(self, id: str, attempt: Callable[[Record | None], Awaitable[T]], known: Record | None) -> T:
        """Try with what the caller knows, then with what Redis has, while others change the same record."""
        seen = known
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.conflict_retries),
            wait=tenacity.wait_random_exponential(multiplier=0.002, max=0.1),
            retry=tenacity.retry_if_exception_type(Conflict),
            reraise=True,
        )
        async for trial in retrying:
            with trial:
                if trial.retry_state.attempt_number > 1:
                    seen = await self.read(id)
                return await attempt(seen)
        raise AssertionError("unreachable: tenacity re-raises")

    async def _write_many(self, name: str, calls: Sequence[Call]) -> list[list[Any] | HopperError]:
        """Run a changing script once for each call, in one pipeline and in order; answers each one's array or error.

        Where the connection broke, each is answered by an `Unavailable` whose outcome is unknown.
        """
        try:
            with border():
                replies = await script(name).many(self.client, [self._logged(call) for call in calls])
        except Unavailable as error:
            return [error] * len(calls)
        return [convert(reply) if isinstance(reply, redis.exceptions.RedisError) else reply for reply in replies]

    def _logged(self, call: Call) -> Call:
        keys, arguments = call
        return keys | self.keys.log(), arguments | {"log_length": self.settings.log_length}


def _connection_lost(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and str(error).startswith("Redis is away")
