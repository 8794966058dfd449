"""Entry: a session's request to be registered, whose answer is heard though whoever asked is cancelled meanwhile."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import anyio

from hopper.errors import HopperError, Unavailable
from hopper.instance.lifecycle import Lifecycle
from hopper.model.record import Record
from hopper.model.spec import InstanceSpec
from hopper.model.takeover import Takeover
from hopper.store.instances import InstanceStore, Registration

__all__ = ["Entry"]

_END_S = 0.1
"""Seconds between two looks whether a request that was given up has ended."""


class Entry:
    """Registers the id of one session, and knows whether a registration of it may stand that nobody has told it of."""

    def __init__(self, store: InstanceStore) -> None:
        self._store = store
        self._token = ""

    @property
    def open(self) -> bool:
        """Whether there was a request whose answer is not known."""
        return bool(self._token)

    async def register(
        self,
        spec: InstanceSpec,
        *,
        takeover: Takeover,
        known: Record | None,
        carries: int | None,
        actor: str,
        heard: Callable[[Registration], None],
    ) -> None:
        """Register, and call `heard` with the answer. Raises what `Lifecycle.register` raises.

        A cancellation waits for the answer first, for as long as one connection and one command may take. What was
        asked for and not answered is asked for again by the next call, as the same request.
        """
        self._token = self._token or secrets.token_hex(12)
        registering = Lifecycle(self._store).register(
            spec, takeover=takeover, known=known, carries=carries, token=self._token, actor=actor
        )
        asking = asyncio.ensure_future(registering)
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            await self._ended(asking)
            raise
        finally:
            self._hear(asking, heard)

    def _hear(self, asking: "asyncio.Future[Registration]", heard: Callable[[Registration], None]) -> None:
        error = asyncio.CancelledError() if asking.cancelled() else asking.exception()
        if error is None:
            heard(asking.result())
        if error is None or (isinstance(error, HopperError) and not _is_unknown(error)):
            self._token = ""

    async def _ended(self, asking: "asyncio.Future[Registration]") -> None:
        """Wait until a request has ended, however often this is cancelled; after its time it is given up."""
        settings, loop = self._store.settings, asyncio.get_running_loop()
        until = loop.time() + settings.connect_timeout_s + settings.command_timeout_s
        with anyio.CancelScope(shield=True):  # else a cancelled scope would cancel this over and over
            while not asking.done():
                if loop.time() >= until:
                    asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):  # the first one is raised again in the end
                    await asyncio.wait({asking}, timeout=max(_END_S, until - loop.time()))

    async def answered(self) -> int | None:
        """The incarnation that a request got whose answer was lost, None where nobody knows. Raises `Unavailable`."""
        return await self._store.answered(self._token) if self._token else None


def _is_unknown(error: HopperError) -> bool:
    return isinstance(error, Unavailable) and error.outcome == "unknown"
