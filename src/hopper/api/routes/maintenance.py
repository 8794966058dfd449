"""Routes by which an operator takes an instance out of service and puts it back."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hopper.api.answers import answer, etag, no_revision, read_json, request_token
from hopper.api.queries import Query
from hopper.api.routes.instances import ACTOR, route
from hopper.instance.registry import InstanceRegistry
from hopper.model.maintenance import maintenance_request
from hopper.model.record import Record

__all__ = ["MaintenanceRoutes"]


class MaintenanceRoutes:
    """The endpoints of `/instances/{id}/maintenance`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        """The one route."""
        return [route("/instances/{id}/maintenance", POST=self.begin, DELETE=self.end)]

    async def begin(self, request: Request) -> Response:
        """Take an instance out of service."""
        no_revision(request)
        Query(request.query_params)
        asked = maintenance_request(await read_json(request, optional=True))
        id = request.path_params["id"]
        revision = await self._registry.store.maintain(id, asked, token=request_token(request), actor=ACTOR)
        return self._answer(await self._registry.at(id, revision))

    async def end(self, request: Request) -> Response:
        """Put an instance back into service."""
        no_revision(request)
        Query(request.query_params)
        return self._answer(await self._registry.end_maintenance(request.path_params["id"], actor=ACTOR))

    def _answer(self, record: Record) -> Response:
        view = self._registry.view
        return answer(view, record.to_json(), headers={"ETag": etag(view, record)})
