"""Routes of the hold and the guards: why nobody is judged, and the release of a guard."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hopper.api.answers import answer
from hopper.api.queries import Query
from hopper.api.routes.instances import ACTOR
from hopper.instance.registry import InstanceRegistry

__all__ = ["GuardRoutes"]


class GuardRoutes:
    """`/guard`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/guard", self.show, methods=["GET"]),
            Route("/guard", self.release, methods=["DELETE"]),
        ]

    async def show(self, request: Request) -> Response:
        """The hold and the guards in force, and why."""
        Query(request.query_params)
        return await self._answer({})

    async def release(self, request: Request) -> Response:
        """Release the guard of the `group` named, or every guard; a hold ends by itself."""
        group = Query(request.query_params, {"group"}).one("group")
        released = await self._registry.release_guard(group, actor=ACTOR)
        return await self._answer({"released": released})

    async def _answer(self, more: dict[str, list[str]]) -> Response:
        return answer(self._registry.view, asdict(await self._registry.guard()) | more)
