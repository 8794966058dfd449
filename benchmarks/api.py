"""GET of one instance over HTTP, against a bare Starlette endpoint with a constant body of the same size.

Both are routes of one application in one server process; the load comes from another process, in turn.
"""

import asyncio
import multiprocessing
import socket
import statistics
import time
from multiprocessing.connection import Connection

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.population import populate, server
from benchmarks.table import print_table, ratio_of
from hopper.api.app import create_app
from hopper.api.routes.registry import PREFIX
from hopper.config import Settings

__all__ = ["main"]

CONNECTIONS = 32


def main(*, short: bool) -> None:
    """Print requests per second of both, and their ratio, round by round in turn."""
    asyncio.run(_main(rounds=2 if short else 9, seconds=0.5 if short else 3.0))


async def _main(*, rounds: int, seconds: float) -> None:
    spawn = multiprocessing.get_context("spawn")
    async with server("api") as settings:
        ids = await populate(settings, 100, ttl_ms=600_000)
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(settings, theirs), daemon=True)
        process.start()
        port = await asyncio.to_thread(ours.recv)
        path = f"{PREFIX}/instances/{ids[-1]}"
        size = len((await _get(port, path)).partition(b"\r\n\r\n")[2])
        paths = {"GET one instance": path, "bare endpoint": f"/bare/{size}"}
        rates: dict[str, list[float]] = {name: [] for name in paths}
        for number in range(rounds):
            order = list(paths) if number % 2 else list(paths)[::-1]
            for name in order:
                rates[name].append(await _load(port, paths[name], seconds))
        process.terminate()
        await asyncio.to_thread(process.join)
    print_table(
        ["endpoint", "requests/s, median"],
        [[name, f"{statistics.median(values):,.0f}"] for name, values in rates.items()],
    )
    print(f"ratio instance / bare, body of {size} bytes, {CONNECTIONS} connections: {ratio_of(*rates.values())}")


def _serve(settings: Settings, ready: Connection) -> None:
    bodies: dict[int, bytes] = {}

    async def bare(request: Request) -> Response:
        size = request.path_params["size"]
        body = bodies.setdefault(size, b"x" * size)
        return Response(body, media_type="application/json")

    app = create_app(settings)
    app.router.routes.insert(0, Route("/bare/{size:int}", bare))
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # without it asyncio leaves Nagle's delay on
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", access_log=False, log_level="warning")
    ready.send(listener.getsockname()[1])
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


async def _get(port: int, path: str) -> bytes:
    """One response as it comes, once the server answers with 200."""
    deadline = time.monotonic() + 20
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            if answer.startswith(b"HTTP/1.1 200"):
                return answer
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer from {path}")
        await asyncio.sleep(0.05)


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered; answers to one path have one size."""

    def __init__(self, request: bytes, size: int, done: list[int]) -> None:
        self._request, self._size, self._done = request, size, done
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received >= self._size:
            self._received -= self._size
            self._done[0] += 1
            self._transport.write(self._request)


async def _load(port: int, path: str, seconds: float) -> float:
    """Requests per second that one path answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    size = len(await _get(port, path)) - len(b"connection: close\r\n")
    done = [0]
    loop = asyncio.get_running_loop()
    transports = [
        (await loop.create_connection(lambda: _Client(request, size, done), "127.0.0.1", port))[0]
        for _ in range(CONNECTIONS)
    ]
    started, before = time.perf_counter(), done[0]
    await asyncio.sleep(seconds)
    rate = (done[0] - before) / (time.perf_counter() - started)
    for transport in transports:
        transport.close()
    return rate
