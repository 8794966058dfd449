"""A receiver of webhooks on loopback: it keeps what it is sent and answers as it is told."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson

__all__ = ["Delivered", "Receiver"]


@dataclass(frozen=True)
class Delivered:
    """One request as it came; the names of its headers in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return orjson.loads(self.body)

    @property
    def delivery(self) -> str:
        return self.headers["hopper-delivery"]


class Receiver:
    """An async context manager. Answers 204 unless `answers` has something else to say next.

    An answer is a status, the bytes of a whole answer, or None for no answer at all until `silent` is ended.
    """

    def __init__(self, host: str = "127.0.0.1", answers: Iterable[int | bytes | None] = ()) -> None:
        self.deliveries: list[Delivered] = []
        self.answers: deque[int | bytes | None] = deque(answers)
        self.always: int | bytes | None = 204
        """What is answered when `answers` is empty."""
        self._host = host
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, on the same port as before where it has listened before."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse and break every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://{self.place}/hook?key=secret"

    @property
    def place(self) -> str:
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    @property
    def documents(self) -> list[Any]:
        return [delivered.document for delivered in self.deliveries]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._answer(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.deliveries.append(Delivered(head[0], headers, body))
        answer = self.answers.popleft() if self.answers else self.always
        if answer is None:
            await reader.read(1)  # until the sender gives up
            raise ConnectionResetError
        if isinstance(answer, int):
            answer = b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n" % (answer, 0)
        writer.write(answer)
        await writer.drain()
