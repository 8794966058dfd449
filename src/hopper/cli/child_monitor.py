"""The monitor that `hopper serve` runs: a process of its own, so that no query delays it, and never an orphan."""

import asyncio
import contextlib
import os
import sys

import structlog

from hopper.config import Settings
from hopper.errors import HopperError
from hopper.store.instances import InstanceStore

__all__ = ["ChildMonitor", "led"]

_PAUSE_S = 1.0
"""Seconds between the death of a monitor and the start of the next."""
_LOOK_S = 0.05
_END_S = 2.5
"""Seconds a monitor has to give its leadership back before it is killed."""


class ChildMonitor:
    """Runs `hopper monitor` as a child, again whenever it has died. `run` ends by cancellation, and the child with it.

    The child reads a pipe that only this process can write to: when this process ends in any way, the child sees the
    end of the pipe and ends too.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    async def run(self) -> None:
        """Keep a monitor running; for ever."""
        while True:
            code = await self._run_once()
            self._logger.warning("serve.monitor_died", code=code, restart_in_s=_PAUSE_S)
            await asyncio.sleep(_PAUSE_S)

    async def _run_once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hopper", "monitor", "--end-with-stdin"),
            stdin=asyncio.subprocess.PIPE,
            env=os.environ | self._environment(),
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        self._logger.info("serve.monitor_started", pid=process.pid)
        try:
            return await process.wait()
        finally:
            await _end(process)

    def _environment(self) -> dict[str, str]:
        """The settings that may come from the command line; a URL is not for everyone to read among the arguments."""
        return {
            "HOPPER_REDIS_URL": self._settings.redis_url or "",
            "HOPPER_NAMESPACE": self._settings.namespace,
            "HOPPER_DATA_DIR": str(self._settings.data_dir),
        }


async def led(settings: Settings) -> None:
    """Wait until a living monitor leads: its lease is taken or renewed before our eyes.

    Who registers from then on is watched from the beginning. Waits for the lease of a dead monitor and a second more at
    the most, and not at all where Redis is away.
    """
    store = InstanceStore(settings)
    seen: tuple[str | None, int] | None = None
    try:
        async with asyncio.timeout(settings.lease_ms / 1000 + 1):
            while True:
                leader, left_ms = await store.lease()
                if leader is not None and seen is not None and (leader != seen[0] or left_ms > seen[1]):
                    return
                seen = leader, left_ms
                await asyncio.sleep(_LOOK_S)
    except (HopperError, TimeoutError) as error:
        structlog.get_logger().warning("serve.not_led", namespace=settings.namespace, detail=str(error))
    finally:
        await store.aclose()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
