"""Routes of many instances at once: each entry has a result of its own."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hopper.api.answers import bulk_answer, read_entries, request_token
from hopper.api.problems import problem_document
from hopper.api.queries import Query
from hopper.api.routes.instances import ACTOR
from hopper.errors import HopperError, Invalid
from hopper.instance.registry import InstanceRegistry
from hopper.model.spec import InstanceSpec, parse_spec
from hopper.model.takeover import Takeover
from hopper.store.instances import Registration

__all__ = ["BulkRoutes"]


class BulkRoutes:
    """The endpoints under `/instances/bulk`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry
        self._view = registry.view

    def routes(self) -> list[Route]:
        """The routes; they come before those of one instance."""
        return [
            Route("/instances/bulk", self.register, methods=["POST"]),
            Route("/instances/bulk/parent", self.link, methods=["POST"]),
        ]

    async def register(self, request: Request) -> Response:
        """Register up to 1,000 instances in their order, each with a result of its own."""
        query = Query(request.query_params, {"takeover", "require_live_parent"})
        takeover = query.choice("takeover", Takeover) or Takeover.ALWAYS
        live = query.flag("require_live_parent")
        entries = await read_entries(request)
        parsed = [_parsed(entry) for entry in entries]
        specs = [spec for spec in parsed if not isinstance(spec, Invalid)]
        answers = iter(
            await self._registry.register_many(
                specs, takeover=takeover, require_live_parent=live, token=request_token(request), actor=ACTOR
            )
        )
        results = [spec if isinstance(spec, Invalid) else next(answers) for spec in parsed]
        return bulk_answer(self._view, [_registered(self._registry, result) for result in results])

    async def link(self, request: Request) -> Response:
        """Put up to 1,000 instances, each under a parent, with a result of its own for each."""
        query = Query(request.query_params, {"require_live_parent"})
        live = query.flag("require_live_parent")
        pairs = [_pair(entry) for entry in await read_entries(request)]
        fit = [pair for pair in pairs if not isinstance(pair, Invalid)]
        answers = iter(await self._registry.link_many(fit, require_live_parent=live, actor=ACTOR))
        results = [
            problem_document(pair) if isinstance(pair, Invalid) else _linked(pair[0], next(answers)) for pair in pairs
        ]
        return bulk_answer(self._view, results)


def _parsed(entry: Any) -> InstanceSpec | Invalid:
    try:
        return parse_spec(entry)
    except Invalid as error:
        return error


def _pair(entry: Any) -> tuple[str, str] | Invalid:
    """A child and its parent, of one entry of a bulk link."""
    if not isinstance(entry, dict):
        return Invalid(f"the entry is {entry!r}, not an object of id and parent_id", field="items", value=entry)
    for name in (name for name in ("id", "parent_id") if name not in entry):
        return Invalid(f"field {name!r} is missing", field=name, value=None)
    for name, value in entry.items():
        if name not in {"id", "parent_id"}:
            return Invalid(f"unknown field {name!r}", field=name, value=value)
        if not isinstance(value, str) or not value:
            return Invalid(f"{name} is {value!r}, not an id", field=name, value=value)
    return entry["id"], entry["parent_id"]


def _registered(registry: InstanceRegistry, result: Registration | HopperError) -> dict[str, Any]:
    """One result of a bulk registration."""
    if isinstance(result, HopperError):
        return problem_document(result)
    return {
        "status": 200 if result.superseded else 201,
        "id": result.id,
        "revision": result.revision,
        "incarnation": result.incarnation,
        "heartbeat_key": registry.store.keys.heartbeat(result.id),
    }


def _linked(id: str, result: int | HopperError) -> dict[str, Any]:
    """One result of a bulk link."""
    return (
        problem_document(result) if isinstance(result, HopperError) else {"status": 200, "id": id, "revision": result}
    )
