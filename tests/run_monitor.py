"""`hopper monitor` as a process of its own, to be killed and stopped at will."""

import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from hopper.config import Settings
from hopper.store.instances import InstanceStore
from waiting import wait_until

__all__ = ["MonitorProcess"]


class MonitorProcess:
    """One monitor process; a context manager. It ends at the latest when the tests do."""

    def __init__(self, settings: Settings, *, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it loads the view before it asks for the lease."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "hopper", "monitor", "--end-with-stdin", "--log-level", "info"]
            command += ["--redis-url", str(self._settings.redis_url), "--namespace", self._settings.namespace]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text()

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    async def leads(self, store: InstanceStore) -> bool:
        """Whether it holds the lease."""
        leader, _ = await store.surveillance()
        return leader is not None and f"-{self.pid}-" in leader

    async def until_settled(self, store: InstanceStore) -> None:
        """Wait until it leads and no hold is in force; a busy machine takes its time to start a process."""

        async def settled() -> bool:
            leader, holds = await store.surveillance()
            return leader is not None and f"-{self.pid}-" in leader and not holds

        await wait_until(settled, 30.0)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(10)
            finally:
                process.kill()
                assert process.stdin is not None
                process.stdin.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
