"""Routes of instances: read, registered, changed, moved, removed."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hopper.api.answers import (
    answer,
    etag,
    freshness,
    if_revision,
    is_known,
    list_answer,
    no_revision,
    read_body,
    read_json,
    request_token,
)
from hopper.api.queries import FILTERS, PAGING, Query
from hopper.errors import Invalid, NotFound
from hopper.instance.departures import departure_of, moved_set
from hopper.instance.discovery import DEFAULT_SORT, page_of
from hopper.instance.registry import InstanceRegistry
from hopper.model.children import ChildrenMode
from hopper.model.heartbeat import MAX_HEARTBEAT_BYTES, parse_heartbeat, seconds_of
from hopper.model.record import Record
from hopper.model.spec import parse_spec
from hopper.model.state import State, Verb
from hopper.model.takeover import Takeover

__all__ = ["ACTOR", "InstanceRoutes", "route"]

ACTOR = "api"
_CONDITIONS = frozenset({b"hopper-min-revision", b"if-none-match"})


class InstanceRoutes:
    """The endpoints under `/instances`."""

    def __init__(self, registry: InstanceRegistry) -> None:
        self._registry = registry
        self.view = registry.view

    def routes(self) -> list[Route]:
        """The routes, the busiest first."""
        one = "/instances/{id}"
        return [
            Route(one, _OneInstance(self), methods=["GET", "HEAD", "PUT", "PATCH", "DELETE"]),
            route("/instances", GET=self.all, POST=self.register),
            Route(f"{one}/heartbeat", self.heartbeat, methods=["PUT"]),
            Route(f"{one}/health", self.health, methods=["GET"]),
            route(f"{one}/parent", PUT=self.link, DELETE=self.unlink),
            Route(f"{one}/children", self.children, methods=["GET"]),
            Route(f"{one}/ancestors", self.ancestors, methods=["GET"]),
            Route(f"{one}/descendants", self.descendants, methods=["GET"]),
            *(Route(f"{one}/{verb.value}", self.transition, methods=["POST"], name=verb.value) for verb in Verb),
            Route(f"{one}/restart", self.restart, methods=["POST"]),
        ]

    # -- reads -----------------------------------------------------------------------------------------------------

    async def all(self, request: Request) -> Response:
        """All instances, filtered, sorted and paged."""
        query = Query(request.query_params, FILTERS, PAGING, {"consistent"})
        selector, limit, fields = query.selector(), query.limit(), query.fields()
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        found = self.view.replica.select(selector)
        page = page_of(found, sort=query.one("sort") or DEFAULT_SORT, limit=limit, cursor=query.one("cursor"))
        return list_answer(self.view, page.records, next_cursor=page.next_cursor, fields=fields)

    async def one(self, request: Request) -> Response:
        """One instance, with conditions, fields or freshness asked for."""
        query = Query(request.query_params, {"consistent", "fields"})
        fields = query.fields()
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        record = self._require(request.path_params["id"])
        tag = etag(self.view, record)
        if is_known(self.view, record, request):
            return answer(self.view, b"", status=304, headers={"ETag": tag})
        if fields is not None:
            return answer(self.view, {name: getattr(record, name) for name in fields}, headers={"ETag": tag})
        return self._answer(record)

    async def health(self, request: Request) -> Response:
        """One instance's health with its heartbeat as it is now."""
        query = Query(request.query_params, {"consistent"})
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        return answer(self.view, await self._registry.reports.instance(request.path_params["id"]))

    async def children(self, request: Request) -> Response:
        """The children of an instance."""
        return await self._around(request, self._registry.children)

    async def ancestors(self, request: Request) -> Response:
        """The parent, then the grandparent."""
        return await self._around(request, self._registry.ancestors)

    async def descendants(self, request: Request) -> Response:
        """All below an instance."""
        return await self._around(request, self._registry.descendants)

    async def _around(self, request: Request, read: Any) -> Response:
        query = Query(request.query_params, PAGING, {"consistent"})
        limit, fields = query.limit(), query.fields()
        await freshness(self._registry, request, consistent=query.flag("consistent"))
        records = await read(request.path_params["id"])
        page = page_of(records, sort=query.one("sort") or DEFAULT_SORT, limit=limit, cursor=query.one("cursor"))
        return list_answer(self.view, page.records, next_cursor=page.next_cursor, fields=fields)

    # -- changes ---------------------------------------------------------------------------------------------------

    async def register(self, request: Request) -> Response:
        """Register an instance, or supersede the one that has its id."""
        query = Query(request.query_params, {"takeover", "require_live_parent"})
        takeover = query.choice("takeover", Takeover) or Takeover.ALWAYS
        live = query.flag("require_live_parent")
        spec = parse_spec(await read_json(request))
        done = await self._registry.lifecycle.register(
            spec, takeover=takeover, require_live_parent=live, token=request_token(request), actor=ACTOR
        )
        record = await self._registry.at(done.id, done.revision)
        key = self._registry.store.keys.heartbeat(done.id)
        extra = {"heartbeat_key": key, "setex": f"SETEX {key} {seconds_of(record.ttl_ms)} {{}}"}
        body = record.to_json()[:-1] + b"," + orjson.dumps(extra)[1:]
        headers = {"Location": f"{request.url.path}/{done.id}", "ETag": etag(self.view, record)}
        return answer(self.view, body, status=200 if done.superseded else 201, headers=headers)

    async def replace(self, request: Request) -> Response:
        """Replace the mutable fields of an instance that exists."""
        return await self._change(request, self._registry.lifecycle.replace)

    async def patch(self, request: Request) -> Response:
        """Change some fields of an instance by a JSON merge patch."""
        return await self._change(request, self._registry.lifecycle.update)

    async def _change(self, request: Request, change: Any) -> Response:
        Query(request.query_params)
        id = request.path_params["id"]
        revision = await change(
            id,
            await read_json(request),
            if_revision=if_revision(self.view, request),
            token=request_token(request),
            actor=ACTOR,
        )
        return self._answer(await self._registry.at(id, revision))

    async def remove(self, request: Request) -> Response:
        """Remove an instance, and see to its children; or, in a dry run, tell whom that would remove."""
        query = Query(request.query_params, {"children", "reparent_to", "dry_run"})
        mode = query.choice("children", ChildrenMode) or ChildrenMode.RESTRICT
        conditions: dict[str, Any] = {
            "children": mode,
            "reparent_to": query.one("reparent_to"),
            "if_revision": if_revision(self.view, request),
        }
        id = request.path_params["id"]
        if query.flag("dry_run"):
            items = await self._registry.would_deregister(id, **conditions)
            moved = moved_set(self.view.replica, id, departure_of(mode, query.one("reparent_to")))
            return answer(self.view, {"items": items, "moved": moved, "revision": self.view.revision})
        below: list[str] = []
        revision = await self._registry.deregister(
            id, **conditions, token=request_token(request), removed=below, reason="operator", actor=ACTOR
        )
        return answer(self.view, {"items": [*below, id], "revision": revision})

    async def link(self, request: Request) -> Response:
        """Put an instance under a parent, or move it there."""
        no_revision(request)
        query = Query(request.query_params, {"require_live_parent"})
        live = query.flag("require_live_parent")
        body = await _object(request, {"parent_id"})
        if "parent_id" not in body:
            raise Invalid("field 'parent_id' is missing", field="parent_id", value=None)
        parent_id = body["parent_id"]
        if not isinstance(parent_id, str) or not parent_id:
            raise Invalid(f"parent_id is {parent_id!r}, not an id", field="parent_id", value=parent_id)
        record = await self._registry.link(request.path_params["id"], parent_id, require_live_parent=live, actor=ACTOR)
        return self._answer(record)

    async def unlink(self, request: Request) -> Response:
        """Take an instance from its parent."""
        no_revision(request)
        Query(request.query_params)
        return self._answer(await self._registry.unlink(request.path_params["id"], actor=ACTOR))

    async def transition(self, request: Request) -> Response:
        """Carry an instance from one state to another."""
        no_revision(request)
        Query(request.query_params)
        body = await _object(request, {"reason", "incarnation", "expected_state"}, optional=True)
        reason, incarnation = body.get("reason", ""), body.get("incarnation")
        expected = _state(body.get("expected_state"))
        if not isinstance(reason, str):
            raise Invalid(f"reason is {reason!r}, not a string", field="reason", value=reason)
        if incarnation is not None and (not isinstance(incarnation, int) or isinstance(incarnation, bool)):
            raise Invalid(f"incarnation is {incarnation!r}, not an integer", field="incarnation", value=incarnation)
        verb = Verb(request.url.path.rpartition("/")[2])
        record = await self._registry.transition(
            request.path_params["id"],
            verb,
            incarnation=incarnation,
            expected_state=expected,
            reason=reason,
            actor=ACTOR,
        )
        return self._answer(record)

    async def restart(self, request: Request) -> Response:
        """Ask whoever can restart an instance to do so now."""
        no_revision(request)
        Query(request.query_params)
        await _object(request, set(), optional=True)
        id = request.path_params["id"]
        return self._answer(await self._registry.restart(id, token=request_token(request), actor=ACTOR))

    async def heartbeat(self, request: Request) -> Response:
        """One heartbeat. What its value has wrong is told, and it counts all the same; one over 4 KiB is not kept."""
        Query(request.query_params)
        value = await read_body(request)
        id = request.path_params["id"]
        problems = parse_heartbeat(value).problems
        if len(value) > MAX_HEARTBEAT_BYTES:
            value = orjson.dumps({"problem": problems[0]})
        expires_at_ms = await self._registry.heartbeat(id, value)
        return answer(self.view, {"id": id, "expires_at_ms": expires_at_ms, "problems": problems})

    def _answer(self, record: Record) -> Response:
        body = self.view.replica.json(record.id) if self.view.replica.records.get(record.id) is record else None
        return answer(self.view, body or record.to_json(), headers={"ETag": etag(self.view, record)})

    def _require(self, id: str) -> Record:
        record = self.view.replica.records.get(id)
        if record is None:
            raise NotFound(f"there is no instance '{id}'")
        return record


class _OneInstance:
    """`/instances/{id}`: an ASGI application, so that the plain read costs little more than the server itself."""

    def __init__(self, routes: InstanceRoutes) -> None:
        self._view = routes.view
        self.endpoints = {
            "GET": routes.one,
            "HEAD": routes.one,
            "PUT": routes.replace,
            "PATCH": routes.patch,
            "DELETE": routes.remove,
        }
        self._stamp: tuple[int, str] = (-1, "")
        self._stamped: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        view = self._view
        if scope["method"] == "GET" and not scope["query_string"] and view.complete and _plain(scope["headers"]):
            replica = view.replica
            id = scope["path_params"]["id"]
            record = replica.records.get(id)
            if record is not None:
                body = replica.json(id) or b""
                await send({"type": "http.response.start", "status": 200, "headers": self._headers(record, body)})
                await send({"type": "http.response.body", "body": body})
                return
        request = Request(scope, receive, send)
        response = await self.endpoints[scope["method"]](request)
        await response(scope, receive, send)

    def _headers(self, record: Record, body: bytes) -> list[tuple[bytes, bytes]]:
        view = self._view
        if self._stamp != (view.revision, view.epoch):
            self._stamp = (view.revision, view.epoch)
            self._stamped = [
                (b"content-type", b"application/json"),
                (b"hopper-revision", b"%d" % view.revision),
                (b"hopper-epoch", view.epoch.encode()),
            ]
        return [
            *self._stamped,
            (b"etag", etag(view, record).encode()),
            (b"content-length", b"%d" % len(body)),
        ]


def route(path: str, **endpoints: Callable[[Request], Awaitable[Response]]) -> Route:
    """One route for all methods of a path, so that a refusal of another method names them all."""

    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    endpoint.endpoints = endpoints  # type: ignore[attr-defined] # for whoever lists the routes
    return Route(path, endpoint, methods=list(endpoints))


def _plain(headers: list[tuple[bytes, bytes]]) -> bool:
    return all(name not in _CONDITIONS for name, _ in headers)


def _state(value: Any) -> State | None:
    """The state that a transition expects, None for any."""
    try:
        return None if value is None else State(value)
    except ValueError:
        allowed = ", ".join(State)
        raise Invalid(
            f"expected_state is {value!r}, not one of {allowed}", field="expected_state", value=value
        ) from None


async def _object(request: Request, known: set[str], *, optional: bool = False) -> dict[str, Any]:
    """The body as an object with known members only."""
    body = await read_json(request, optional=optional)
    if not isinstance(body, dict):
        raise Invalid(f"the body is {body!r}, not an object", field="", value=body)
    for name, value in body.items():
        if name not in known:
            raise Invalid(f"unknown field {name!r}", field=name, value=value)
    return body
