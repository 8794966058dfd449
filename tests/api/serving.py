"""How the tests of the API speak to it."""

from typing import Any

import httpx
from starlette.applications import Starlette

__all__ = ["ONE", "PREFIX", "client_of", "ids", "problem_of"]

PREFIX = "/api/v1/registry"
ONE = f"{PREFIX}/instances"

_TITLES = {
    400: "The request cannot be read",
    404: "Not found",
    405: "Method not allowed",
    409: "The rules of the tree forbid this",
    412: "A precondition does not hold",
    413: "Too large",
    422: "A value cannot be used",
    503: "Redis is not available",
}


def client_of(app: Starlette) -> httpx.AsyncClient:
    """A client of an application in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hopper.test")


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, checked for what every one of them must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:hopper:problem:{code}"
    assert (document["status"], document["code"], document["title"]) == (status, code, _TITLES[status])
    assert document["detail"]
    assert ("Retry-After" in answer.headers) == (status == 503)
    return document


def ids(answer: httpx.Response) -> list[str]:
    """The ids of a list that was answered."""
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]
