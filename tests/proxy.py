"""A TCP proxy before Redis that loses what a test wants lost: a reply after the write, or the request itself.

Run as a program this file is a proxy for many clients, in a process of its own, so that no test starves it;
`ProxyProcess` starts it.
"""

import asyncio
import contextlib
import subprocess
import sys
from types import TracebackType
from typing import Self

__all__ = ["Proxy", "ProxyProcess"]

_COMMAND = (b"EVALSHA", b"EVAL\r\n")
_CHUNK = 65536


class Proxy:
    """Forwards a loopback port to a server; an async context manager. `url` is what a client uses.

    `lose_replies(n)`: the next n script calls reach Redis and are carried out; their reply is swallowed and the
    connection cut. `lose_requests(n)`: the next n script calls are swallowed and the connection cut. `lost` counts
    both.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._replies = 0
        self._requests = 0
        self.lost = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_replies(self, count: int) -> None:
        self._replies = count

    def lose_requests(self, count: int) -> None:
        self._requests = count

    def cut(self) -> None:
        """Close every connection there is; new ones are accepted."""
        for writer in self._open:
            writer.close()

    def retarget(self, port: int) -> None:
        """Forward to another server from now on; connections to the old one are cut."""
        self._target = port
        self.cut()

    async def refuse(self) -> None:
        """Accept no connection any more, and close those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        ends = [writer]
        try:
            with contextlib.suppress(OSError):
                back, forth = await asyncio.open_connection("127.0.0.1", self._target)
                ends.append(forth)
                self._open.add(forth)
                await self._forward(reader, writer, back, forth)
        finally:
            self._open.difference_update(ends)
            for end in ends:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        forth: asyncio.StreamWriter,
    ) -> None:
        pending = False

        async def requests() -> None:
            nonlocal pending
            while data := await reader.read(_CHUNK):
                if any(command in data for command in _COMMAND):
                    if self._requests:
                        self._requests -= 1
                        self.lost += 1
                        return
                    pending = True
                forth.write(data)

        async def replies() -> None:
            nonlocal pending
            while data := await back.read(_CHUNK):
                if pending and self._replies and not data.startswith(b"-NOSCRIPT"):
                    self._replies -= 1
                    self.lost += 1
                    return
                pending = False
                writer.write(data)

        both = {asyncio.create_task(requests()), asyncio.create_task(replies())}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)


class ProxyProcess:
    """A proxy in a process of its own; a context manager. `url` is what a client uses."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def retarget(self, port: int) -> None:
        """Forward to another server from now on; connections to the old one have been cut when this returns."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{port}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"to {port}\n"

    def __enter__(self) -> Self:
        process = self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            pass
        process.wait(10)


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(port: int) -> None:
    """Forward until the standard input ends; each line of it is the port of another server."""
    async with Proxy(port) as proxy:
        _answer(proxy.url)
        while line := await asyncio.to_thread(sys.stdin.readline):
            proxy.retarget(int(line))
            _answer(f"to {int(line)}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
