"""Answers: JSON of records that are encoded already, with the headers that say how new it is."""

import re
from collections.abc import Iterable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from hopper.errors import Invalid, Malformed, PreconditionFailed, TooLarge
from hopper.instance.registry import MAX_BULK, InstanceRegistry
from hopper.instance.view import RegistryView
from hopper.model.record import Record

__all__ = [
    "MAX_BODY_BYTES",
    "answer",
    "bulk_answer",
    "etag",
    "freshness",
    "if_revision",
    "is_known",
    "list_answer",
    "no_revision",
    "read_body",
    "read_entries",
    "read_json",
    "request_token",
    "stamp",
]

MAX_BODY_BYTES = 64 * 1024
MAX_BULK_BYTES = 8 * 1024 * 1024
MAX_TOKEN_LENGTH = 200
JSON = "application/json"
_REVISION = re.compile(r"[0-9]{1,18}")
_TOKEN = re.compile(rf"[!-~]{{1,{MAX_TOKEN_LENGTH}}}")


def stamp(view: RegistryView) -> dict[str, str]:
    """The headers that say of which revision and epoch an answer is, and how stale where it is."""
    headers = {"Hopper-Revision": str(view.revision), "Hopper-Epoch": view.epoch}
    if not view.complete:
        headers["Hopper-Stale-Ms"] = str(view.stale_ms)
    return headers


def etag(view: RegistryView, record: Record) -> str:
    """The entity tag of a record: its epoch and revision."""
    return f'"{view.epoch}.{record.revision}"'


def answer(
    view: RegistryView, body: Any, *, status: int = 200, headers: dict[str, str] | None = None, media_type: str = JSON
) -> Response:
    """One answer; `body` is bytes or text that is ready, or a document to encode."""
    content = body if isinstance(body, (bytes, str)) else orjson.dumps(body)
    return Response(content, status_code=status, headers=stamp(view) | (headers or {}), media_type=media_type)


def list_answer(
    view: RegistryView, records: Iterable[Record], *, next_cursor: str | None, fields: tuple[str, ...] | None = None
) -> Response:
    """A list of records, each encoded once per change and not per request, unless only some fields are asked for."""
    replica = view.replica
    if fields is None:
        items = [replica.json(record.id) or record.to_json() for record in records]
    else:
        items = [orjson.dumps({name: getattr(record, name) for name in fields}) for record in records]
    return answer(
        view,
        b'{"items":[%b],"next_cursor":%b,"revision":%d,"complete":%b}'
        % (b",".join(items), orjson.dumps(next_cursor), view.revision, b"true" if view.complete else b"false"),
    )


def bulk_answer(view: RegistryView, results: list[dict[str, Any]]) -> Response:
    """The results of a bulk request, in the order of its entries; each has a `status` of its own."""
    failed = sum(result["status"] >= 400 for result in results)
    return answer(
        view, {"items": results, "succeeded": len(results) - failed, "failed": failed, "revision": view.revision}
    )


async def read_body(request: Request, *, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body, at most 64 KiB unless told otherwise."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body has more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def read_entries(request: Request) -> list[Any]:
    """The entries of a bulk request: a JSON array, or an object whose `items` is one; at most 8 MiB.

    Raises `Invalid` where there are none, or more than 1,000.
    """
    document = await read_json(request, limit=MAX_BULK_BYTES)
    if isinstance(document, dict) and set(document) == {"items"}:
        document = document["items"]
    if not isinstance(document, list):
        raise Invalid("the body is neither an array nor an object with items", field="items", value=None)
    if not 1 <= len(document) <= MAX_BULK:
        raise Invalid(f"items has {len(document)} entries, not 1 to {MAX_BULK}", field="items", value=len(document))
    return document


async def read_json(request: Request, *, optional: bool = False, limit: int = MAX_BODY_BYTES) -> Any:
    """The body as JSON; an empty one is `{}` where it is optional. Raises `Malformed` and `TooLarge`.

    What is nested so deep that it could not be written again counts as not readable.
    """
    body = await read_body(request, limit=limit)
    if not body and optional:
        return {}
    try:
        document = orjson.loads(body)
        orjson.dumps(document)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    except orjson.JSONEncodeError as error:
        raise Malformed(f"the body is nested too deep: {error}") from None
    return document


def request_token(request: Request) -> str | None:
    """The token of a write: the `Idempotency-Key` with the route, so that it never answers for another request.

    None where there is none; raises `Invalid` for one that is not 1 to 200 visible ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _TOKEN.fullmatch(key):
        message = f"Idempotency-Key is {key[:MAX_TOKEN_LENGTH]!r}, not 1 to {MAX_TOKEN_LENGTH} visible ASCII characters"
        raise Invalid(message, field="Idempotency-Key", value=key[:MAX_TOKEN_LENGTH])
    return f"{key}:{request.method}:{request.path_params.get('id', '')}"


async def freshness(registry: InstanceRegistry, request: Request, *, consistent: bool | None) -> None:
    """Wait until the view is as new as the request asks for."""
    asked = request.headers.get("hopper-min-revision")
    if asked is not None and not _REVISION.fullmatch(asked):
        raise Invalid(f"Hopper-Min-Revision is {asked!r}, not a revision", field="Hopper-Min-Revision", value=asked)
    await registry.ready(min_revision=int(asked) if asked else None, consistent=bool(consistent))


def is_known(view: RegistryView, record: Record, request: Request) -> bool:
    """Whether the caller has the record already, by `If-None-Match`; tags are compared weakly."""
    asked = request.headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return "*" in tags or etag(view, record) in tags


def no_revision(request: Request) -> None:
    """Refuse an `If-Match` where it would not be looked at: who sends it relies on it."""
    asked = request.headers.get("if-match")
    if asked is not None:
        message = f"If-Match is {asked!r}, and goes with PUT, PATCH and DELETE of an instance only"
        raise Invalid(message, field="If-Match", value=asked)


def if_revision(view: RegistryView, request: Request) -> int | None:
    """The revision that `If-Match` asks a record to be at, None where it asks for none.

    Raises `PreconditionFailed` for a tag of another epoch, `Invalid` for one that is none of ours.
    """
    asked = request.headers.get("if-match")
    if asked is None or asked.strip() == "*":
        return None
    epoch, _, revision = asked.strip().strip('"').rpartition(".")
    if not _REVISION.fullmatch(revision):
        raise Invalid(f"If-Match is {asked!r}, not an ETag of a record", field="If-Match", value=asked)
    if epoch and epoch != view.epoch:
        raise PreconditionFailed(f"If-Match is of epoch {epoch!r}, and the epoch is {view.epoch!r}")
    return int(revision)
