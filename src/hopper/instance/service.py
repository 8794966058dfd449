"""What a registry runs on: its connections, its view and its callbacks, shared by all users in a process."""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, ClassVar, Self

import structlog

from hopper.config import Settings
from hopper.errors import PreconditionFailed, Unavailable
from hopper.instance.callbacks import Callbacks
from hopper.instance.restart.restart_callbacks import RestartCallback, RestartCallbacks
from hopper.instance.restart.restarts import Restarts
from hopper.instance.view import RegistryView
from hopper.model.selector import Selector
from hopper.store.instances import InstanceStore
from hopper.store.log import ChangeLog

__all__ = ["RegistryService"]

_Key = tuple[asyncio.AbstractEventLoop, str | None, str]


class RegistryService:
    """Comes and goes, one for each process, event loop, Redis and namespace; entering twice is counted."""

    _shared: ClassVar[dict[_Key, Any]] = {}

    def __init__(self, settings: Settings | None = None, *, client: Any = None) -> None:
        self.settings = settings or Settings()
        self.store = InstanceStore(self.settings, client=client)
        self.log = ChangeLog(self.settings, client=client)
        self.view = RegistryView(self.settings, self.store, self.log)
        self.past = ChangeLog(self.settings, client=self.store.client)
        """The log read by the connections of the store: the one of the view waits in its own."""
        self.callbacks = Callbacks(self.view, self.past, namespace=self.settings.namespace)
        self.view.listen(self.callbacks.take)
        self.restart_callbacks = RestartCallbacks(self.view, Restarts(self.store))
        self._client = client
        self._users = 0
        self._turn = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._key: _Key | None = None

    @classmethod
    def shared(cls, settings: Settings | None = None) -> Self:
        """The one registry of this process, event loop, Redis and namespace; `InstanceRegistry.get(settings)`."""
        settings = settings or Settings()
        for abandoned in [key for key in cls._shared if key[0].is_closed()]:
            del cls._shared[abandoned]
        key = (asyncio.get_running_loop(), settings.redis_url, settings.namespace)
        registry = cls._shared.get(key)
        if registry is None:
            registry = cls._shared[key] = cls(settings)
            registry._key = key
        return registry

    async def start(self, *, wait: bool = True) -> Self:
        """Connect and load the view; with `wait=False` return at once and load meanwhile. Counted.

        Raises `Unavailable` where Redis does not let itself be read within `read_wait_s`, and `NewerSchema` where a
        newer version wrote the keys.
        """
        async with self._turn:
            self._users += 1
            if self._key is not None:
                self._shared.setdefault(self._key, self)
            if self._running is None:
                self._running = asyncio.create_task(self._run(), name=f"registry {self.settings.namespace}")
        if wait:
            try:
                await self.view.reach(0)
            except BaseException:
                await self.aclose()
                raise
        return self

    async def aclose(self) -> None:
        """Leave; the last user closes the connections. A call too many does nothing."""
        async with self._turn:
            self._users = max(0, self._users - 1)
            if self._users or self._running is None:
                return
            running, self._running = self._running, None
            if self._key is not None and self._shared.get(self._key) is self:
                del self._shared[self._key]
            running.cancel()
            try:
                await asyncio.gather(running, return_exceptions=True)
            finally:
                await self.log.aclose()
                await self.store.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.view.run(), name="view")
                tasks.create_task(self.callbacks.run(), name="callbacks")
                tasks.create_task(self.restart_callbacks.run(), name="restart callbacks")
        except Exception:
            structlog.get_logger().exception("registry.failed", namespace=self.settings.namespace)
            raise

    def on_restart(self, callback: RestartCallback, *, selector: Selector | None = None) -> None:
        """Call `callback(record, claim)` for each claimed restart, at its time, in one of the processes that ask.

        Of the instances that a selector matches, else of all. It is to start the instance: a new registration ends the
        claim. One that raises is reported and called again, here or elsewhere, once its lease has ended.
        """
        self.restart_callbacks.on_restart(callback, selector=selector)

    async def ready(self, *, min_revision: int | None = None, consistent: bool = False) -> None:
        """Wait until reads may go on as asked. `PreconditionFailed` for a revision that Redis has not reached."""
        if not self.view.loaded.is_set():
            if self._running is None:
                raise Unavailable("the registry is not started: use it with `async with`")
            await self.view.reach(0)
        if consistent:
            await self.view.catch_up()
        if min_revision is not None and self.view.revision < min_revision:
            reached = (await self.store.position()).revision
            if reached < min_revision:
                raise PreconditionFailed(f"revision {min_revision} is asked for, and the registry is at {reached}")
            await self.view.reach(min_revision)
