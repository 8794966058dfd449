"""Errors as RFC 9457 problem documents."""

from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hopper.errors import HopperError, Unavailable

__all__ = ["EXCEPTION_HANDLERS", "problem", "problem_document"]

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
MAX_DETAIL_LENGTH = 2000

_TITLES = {
    400: "The request cannot be read",
    404: "Not found",
    405: "Method not allowed",
    409: "The rules of the tree forbid this",
    410: "The log no longer holds this",
    412: "A precondition does not hold",
    413: "Too large",
    422: "A value cannot be used",
    500: "A fault of the registry",
    503: "Redis is not available",
}


def problem_document(error: HopperError) -> dict[str, Any]:
    """The problem document of an error, as one result among many; a value that cannot be written back is shortened."""
    document = _document(error.status, error.code, str(error), error.members)
    readable: dict[str, Any] = orjson.loads(_encoded(document, error.members))
    return readable


def _encoded(document: dict[str, Any], members: dict[str, Any]) -> bytes:
    try:
        # Two levels deeper than it will be: an answer of many results has it further down.
        orjson.dumps([[document]], default=str)
        return orjson.dumps(document, default=str)
    except orjson.JSONEncodeError:  # a value that cannot be written back, as one nested too deep
        return orjson.dumps(document | {name: _short(repr(value)) for name, value in members.items()})


def _document(status: int, code: str, detail: str, members: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": f"urn:hopper:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": _short(detail),
        **members,
    }


def problem(status: int, code: str, detail: str, **members: Any) -> Response:
    """One problem document as an answer; `members` are added to it."""
    document = _document(status, code, detail, members)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == Unavailable.status else None
    content = _encoded(document, members)
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _short(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_LENGTH else f"{text[:MAX_DETAIL_LENGTH]}… ({len(text)} characters)"


async def _hopper_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HopperError):
        raise error
    if error.status >= 500 and not isinstance(error, Unavailable):
        structlog.get_logger().error("api.fault", path=request.url.path, code=error.code, detail=str(error))
    return problem(error.status, error.code, str(error), **error.members)


async def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "error")
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.url.path} has no method {request.method}",
    }.get(error.status_code, error.detail)
    answer = problem(error.status_code, code, detail)
    answer.headers.update(error.headers or {})
    return answer


async def _fault(request: Request, error: Exception) -> Response:
    structlog.get_logger().error("api.failed", path=request.url.path, error=repr(error))
    return problem(500, "internal", f"{request.method} {request.url.path} failed; the log says why")


EXCEPTION_HANDLERS: dict[Any, Any] = {
    HopperError: _hopper_error,
    HTTPException: _http_exception,
    Exception: _fault,
}
