"""Active checks: their short forms, the place they go to, and how they fit into a TTL.

A check goes to an address of the instance's own record and nowhere else: the registry is nobody's port scanner.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from hopper.errors import Invalid
from hopper.model.policy import Check

__all__ = ["Target", "expand_check", "normalised_check", "require_room", "target_of"]

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH: Final = re.compile(r"/[!-~]*")
_SHORT: Final = ("http", "tcp")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a check goes: a host and a port, and for HTTP the URL."""

    host: str
    port: int
    url: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """One address, read: what is no URL with a port, nor a host and a port, is no place."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _place(text: Any) -> _Place | None:
    if not isinstance(text, str):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return _Place(parts.scheme or "http", host, port) if port and _HOST.fullmatch(host) else None


def _named(address: Any) -> dict[str | None, Any]:
    return dict(address) if isinstance(address, Mapping) else {None: address}


def expand_check(document: Any, address: Any) -> Any:
    """The full form of a check that may be in a short one; `address` is the instance's. A full one stays as it is.

    Raises `Invalid` where a URL or `host:port` is not one of the instance's own addresses.
    """
    if not isinstance(document, Mapping) or not any(name in document for name in _SHORT):
        return document
    rest = {name: value for name, value in document.items() if name not in _SHORT}
    kind = "http" if "http" in document else "tcp"
    for name in ("http" if kind == "tcp" else "tcp", "kind", "path"):
        if name in document:
            raise Invalid(
                f"check.{name} is {document[name]!r} beside check.{kind}, which says it already",
                field=f"check.{name}",
                value=document[name],
            )
    value = document[kind]
    if kind == "http" and isinstance(value, str) and value.startswith("/"):
        return {**rest, "kind": kind, "path": value}
    if kind == "tcp" and value is True:
        return {**rest, "kind": kind, "path": None}
    named = _name_of(kind, value, address)
    path = None
    if kind == "http":
        parts = urlsplit(value)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return {**rest, "kind": kind, "path": path, "address": named}


def _name_of(kind: str, value: Any, address: Any) -> str | None:
    """The name of the address that a short form repeats, None for the only one without a name."""
    wanted = _place(value)
    if wanted is not None and ("://" in str(value)) is (kind == "http"):
        for name, text in _named(address).items():
            place = _place(text)
            same = place is not None and (place.host, place.port) == (wanted.host, wanted.port)
            if place is not None and same and (kind == "tcp" or place.scheme == wanted.scheme):
                return name
    what = "a path or the URL" if kind == "http" else "true or the host:port"
    raise Invalid(
        f"check.{kind} is {value!r}, not {what} of an address of the instance's own", field=f"check.{kind}", value=value
    )


def normalised_check(check: Check, address: Any) -> Check:
    """The one form in which a check is stored: with its path, and the name of its address where that has one.

    Raises `Invalid` where it has no address to go to.
    """
    names = _named(address)
    name = check.address
    if name is None and len(names) == 1:
        name = next(iter(names))
    path = (check.path or "/") if check.kind == "http" else check.path
    full = replace(check, address=name, path=path)
    target_of(full, address)
    return full


def target_of(check: Check, address: Any) -> Target:
    """Where a check goes. Raises `Invalid`, which names the field, where there is no such place."""
    if address is None:
        raise Invalid(f"check is of kind {check.kind!r}, and there is no address to check", field="check", value=None)
    names = _named(address)
    if check.address not in names:
        known = ", ".join(repr(name) for name in names if name is not None) or "one without a name"
        message = f"check.address is {check.address!r}, and the addresses are {known}"
        raise Invalid(message, field="check.address", value=check.address)
    text = names[check.address]
    place = _place(text)
    if place is None or (check.kind == "http" and place.scheme not in _PORTS):
        message = f"check is of kind {check.kind!r}, and the address {text!r} cannot be checked so"
        raise Invalid(message, field="check", value=text)
    if check.kind == "tcp":
        if check.path is not None:
            message = f"check.path is {check.path!r}, and a check of kind 'tcp' has none"
            raise Invalid(message, field="check.path", value=check.path)
        return Target(place.host, place.port)
    path = check.path or "/"
    if not _PATH.fullmatch(path) or "#" in path:
        message = f"check.path is {path!r}, not a path that begins with / and has no spaces"
        raise Invalid(message, field="check.path", value=path)
    return Target(place.host, place.port, place.origin + path)


def require_room(check: Check, ttl_ms: int) -> None:
    """Raise `Invalid` where a check could come too late for the TTL: interval and timeout must be under it."""
    if (check.interval_s + check.timeout_s) * 1000 >= ttl_ms:
        message = (
            f"check has interval_s {check.interval_s:g} and timeout_s {check.timeout_s:g}, together not under the"
            f" TTL of {ttl_ms} ms"
        )
        raise Invalid(message, field="check", value={"interval_s": check.interval_s, "timeout_s": check.timeout_s})
