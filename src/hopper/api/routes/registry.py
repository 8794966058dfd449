"""Routes of the registry as a whole: discovery, health and the topology; instances have a room of their own."""

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from hopper.api.answers import answer, freshness, list_answer
from hopper.api.queries import FILTERS, PAGING, Query
from hopper.api.routes.bulk import BulkRoutes
from hopper.api.routes.guard import GuardRoutes
from hopper.api.routes.history import HistoryRoutes
from hopper.api.routes.instances import InstanceRoutes
from hopper.api.routes.maintenance import MaintenanceRoutes
from hopper.errors import Invalid, Unavailable
from hopper.instance.discovery import DEFAULT_SORT, Sample, discover, in_service_unless_told, page_of, sample
from hopper.instance.health import MAX_HEARTBEATS
from hopper.instance.registry import InstanceRegistry
from hopper.instance.topology import Format, draw, topology
from hopper.model.record import Record
from hopper.model.scope import Scope

__all__ = ["PREFIX", "RegistryRoutes"]

PREFIX = "/api/v1/registry"


class RegistryRoutes:
    """The endpoints under `/api/v1/registry`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry
        self._view = registry.view

    def routes(self) -> list[Mount]:
        """Everything under the prefix."""
        return [
            Mount(
                PREFIX,
                routes=[
                    *InstanceRoutes(self._registry).routes(),
                    *BulkRoutes(self._registry).routes(),
                    *HistoryRoutes(self._registry).routes(),
                    *GuardRoutes(self._registry).routes(),
                    *MaintenanceRoutes(self._registry).routes(),
                    Route("/discover", self.discover, methods=["GET"]),
                    Route("/health", self.health, methods=["GET"]),
                    Route("/topology", self.topology, methods=["GET"]),
                ],
            )
        ]

    async def discover(self, request: Request) -> Response:
        """Instances in service, unless `available=false`; those that can take a child; in the order to try them."""
        query = Query(request.query_params, FILTERS, PAGING, {"consistent", "can_parent", "select"})
        selector = in_service_unless_told(query.selector())
        can_parent, how = query.choice("can_parent", Scope), query.choice("select", Sample)
        limit, fields = query.limit(), query.fields()
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        found = discover(self._view.replica, selector, can_parent=can_parent)
        if how is not None:
            for name in ("cursor", "sort"):
                if query.one(name) is not None:
                    raise Invalid(f"{name} does not go with select, which orders by itself", field=name, value=name)
            chosen = await self._sample(found, how, can_parent)
            return list_answer(self._view, chosen[:limit], next_cursor=None, fields=fields)
        page = page_of(found, sort=query.one("sort") or DEFAULT_SORT, limit=limit, cursor=query.one("cursor"))
        return list_answer(self._view, page.records, next_cursor=page.next_cursor, fields=fields)

    async def _sample(self, found: list[Record], how: Sample, can_parent: Scope | None) -> list[Record]:
        """Load is the number of children for a parent, else active tasks and queue depth as just reported.

        Nobody's load is known while Redis is away: the order is then a random one.
        """
        loads: dict[str, float] = {}
        if how is Sample.LEAST_LOADED and can_parent is None:
            found = found[:MAX_HEARTBEATS]
            for report in await self._registry.reports.detail(found):
                loads[report.id] = sum(report.metrics.get(name, 0) for name in ("active_tasks", "queue_depth"))
        count = self._view.replica.count
        return sample(found, how, load=lambda record: loads.get(record.id, count("parent", record.id)))

    async def health(self, request: Request) -> Response:
        """The registry at a glance; with `detail=true` a page of instances with their metrics too."""
        query = Query(request.query_params, FILTERS, {"limit", "cursor", "sort", "detail", "consistent"})
        detail, limit = query.flag("detail"), query.limit()
        selector = query.selector()
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        document: dict[str, Any] = asdict(await self._registry.reports.summary())
        document |= {"revision": self._view.revision, "complete": self._view.complete}
        if detail:
            found = self._view.replica.select(selector)
            page = page_of(found, sort=query.one("sort") or DEFAULT_SORT, limit=limit, cursor=query.one("cursor"))
            document["items"] = await self._registry.reports.detail(page.records)
            document["next_cursor"] = page.next_cursor
        return answer(self._view, document)

    async def topology(self, request: Request) -> Response:
        """The tree with rollups of health, as JSON, text, Mermaid or DOT."""
        query = Query(request.query_params, {"root", "depth", "format", "consistent", "at_revision"})
        at = query.integer("at_revision", minimum=0)
        how, depth = query.choice("format", Format) or Format.JSON, query.integer("depth", minimum=0)
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        replica = await self._registry.replica_at(at)
        tree = topology(replica, root=query.one("root"), depth=depth)
        if how is not Format.JSON:
            return answer(self._view, draw(tree, how), media_type="text/plain; charset=utf-8")
        document = {
            "root": tree.root.as_json() if tree.root else None,
            "orphans": [node.as_json() for node in tree.orphans],
            "revision": replica.revision,
            "complete": self._view.complete,
        }
        return answer(self._view, document)


async def livez(_: Request) -> Response:
    """Whether this process lives; it asks nobody."""
    return Response(b'{"status":"ok"}', media_type="application/json")


class Readiness:
    """`/readyz`: 200 once a view has loaded, and `degraded` in the body while Redis is away."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._view = registry.view

    async def readyz(self, _: Request) -> Response:
        """Whether reads can be answered."""
        if not self._view.loaded.is_set():
            raise Unavailable(f"the view has not loaded yet{f': {self._view.trouble}' if self._view.trouble else ''}")
        status = "ok" if self._view.complete else "degraded"
        document = {"status": status, "revision": self._view.revision, "stale_ms": self._view.stale_ms}
        return answer(self._view, document)
