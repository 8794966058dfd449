"""Routes of the past: what the log tells of one instance."""

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hopper.api.answers import answer, freshness
from hopper.api.queries import Query
from hopper.errors import Invalid
from hopper.instance.registry import InstanceRegistry

__all__ = ["HistoryRoutes"]

_SORTS = ("revision", "-revision")


class HistoryRoutes:
    """`/instances/{id}/events` and `/instances/{id}/explain`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry
        self._view = registry.view

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/instances/{id}/events", self.events, methods=["GET"]),
            Route("/instances/{id}/explain", self.explain, methods=["GET"]),
        ]

    async def events(self, request: Request) -> Response:
        """The events of an instance, also of one that is gone; the oldest first, or the newest by `sort=-revision`."""
        query = Query(request.query_params, {"consistent", "since", "limit", "cursor", "sort"})
        sort = query.one("sort") or _SORTS[0]
        if sort not in _SORTS:
            raise Invalid(f"sort is {sort!r}, not one of {', '.join(_SORTS)}", field="sort", value=sort)
        since, cursor = query.integer("since", minimum=0), query.integer("cursor", minimum=0)
        if since is not None and sort != _SORTS[0]:
            raise Invalid("since goes with the oldest first only", field="since", value=since)
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        story = await self._registry.events(
            request.path_params["id"],
            since=since if cursor is None else cursor,
            limit=query.limit(),
            newest_first=sort != _SORTS[0],
        )
        document = {
            "items": [orjson.Fragment(event.to_json()) for event in story.events],
            "next_cursor": None if story.next_revision is None else str(story.next_revision),
            "oldest_revision": story.oldest_revision,
            "revision": self._view.revision,
            "complete": self._view.complete,
        }
        return answer(self._view, document)

    async def explain(self, request: Request) -> Response:
        """One instance's story in sentences: its last events, the oldest first."""
        query = Query(request.query_params, {"consistent", "limit"})
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        told = await self._registry.explain(request.path_params["id"], limit=query.limit())
        return answer(self._view, told | {"revision": self._view.revision, "complete": self._view.complete})
