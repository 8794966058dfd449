"""Servers on loopback that answer as a test says: what active checks meet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from servers import free_port

__all__ = ["Responder", "responding"]


@dataclass
class Responder:
    """One HTTP server. `status` None: it accepts and never answers."""

    port: int
    status: int | None = 200
    headers: str = ""
    body: bytes = b"ok"
    raw: bytes | None = None
    """What is sent instead of an answer, and before anything is read unless it is empty."""
    paths: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port as before."""
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        while self._open:
            await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if self.raw:
                    writer.write(self.raw)
                head = await reader.readuntil(b"\r\n\r\n")
                self.paths.append(head.split()[1].decode())
                if self.raw is not None:
                    return
                if self.status is None:
                    await reader.read()
                else:
                    length = f"Content-Length: {len(self.body)}\r\n{self.headers}"
                    writer.write(f"HTTP/1.1 {self.status} X\r\n{length}\r\n".encode() + self.body)
                await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()


@contextlib.asynccontextmanager
async def responding(**how: object) -> AsyncIterator[Responder]:
    """A server that listens while the block runs."""
    responder = Responder(free_port(), **how)  # type: ignore[arg-type]
    await responder.start()
    try:
        yield responder
    finally:
        await responder.stop()
