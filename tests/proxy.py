"""A TCP proxy before Redis that loses what a test wants lost: a reply after the write, or the request itself."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

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
