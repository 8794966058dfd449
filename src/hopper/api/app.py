"""The API application: one registry, its routes, and problems for errors."""

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hopper.api.problems import EXCEPTION_HANDLERS
from hopper.api.routes.registry import PREFIX, Readiness, RegistryRoutes, livez
from hopper.config import Settings
from hopper.instance.registry import InstanceRegistry

__all__ = ["create_app"]


def create_app(settings: Settings | None = None, *, registry: InstanceRegistry | None = None) -> Starlette:
    """The application that serves one namespace. Its lifespan starts the view and does not wait for Redis.

    `registry` replaces the one that would be made from the settings, as a test does with a fake server's.
    """
    served = registry or InstanceRegistry(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await served.start(wait=False)
        try:
            yield
        finally:
            await served.aclose()

    return Starlette(
        routes=[
            Route(PREFIX, _index, methods=["GET"]),
            *RegistryRoutes(served).routes(),
            Route("/livez", livez, methods=["GET"]),
            Route("/readyz", Readiness(served).readyz, methods=["GET"]),
            Route("/", _index, methods=["GET"]),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )


async def _index(_: Request) -> Response:
    """Where to look: the first address that anyone opens."""
    places = ("instances", "discover", "health", "topology")
    return JSONResponse({"service": "hopper", **{name: f"{PREFIX}/{name}" for name in places}, "ready": "/readyz"})
