"""Webhooks: which addresses may be called, and how a delivery is named and signed."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Target", "allowed", "delivery_of", "signature", "target_of"]

_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: its host in lower case, an IPv6 address without brackets, and its port, also where implied."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """The URL as far as its port: what comes after it may be secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def target_of(url: str) -> Target | None:
    """Where a webhook's URL leads, None where it may not be called at all.

    It must be `http` or `https` with a host, without user and password, and in visible ASCII without a backslash: on
    anything else two readers may disagree about where it leads.
    """
    if not _PLAIN.fullmatch(url) or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = _host_of((parts.hostname or "").lower())
    if parts.scheme not in _PORTS or "@" in parts.netloc or host is None or port == 0:
        return None
    return Target(parts.scheme, host, port or _PORTS[parts.scheme])


def allowed(url: str, patterns: Iterable[str]) -> bool:
    """Whether a URL leads to one of the hosts that are allowed.

    `HOST` allows every port of that host, `HOST:PORT` that one only, `*.DOMAIN` every host below the domain and not the
    domain itself; both of the latter go together. Names are compared without their case and are not looked up, so that
    what they resolve to is the decision of who allowed them. An IPv6 address may be written in any form.
    """
    target = target_of(url)
    return target is not None and any(_fits(target, pattern) for pattern in patterns)


def _fits(target: Target, pattern: str) -> bool:
    pattern = pattern.strip().lower()
    host, port = pattern, ""
    if pattern.startswith("["):
        host, closed, rest = pattern[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return False
        port = rest
    elif pattern.count(":") == 1:
        host, colon, number = pattern.partition(":")
        port = colon + number
    if port and port != f":{target.port}":
        return False
    if host.startswith("*."):
        return not _is_address(target.host) and target.host.endswith(host[1:]) and target.host != host[1:]
    return _host_of(host) == target.host


def _host_of(host: str) -> str | None:
    """A host in its one form, None for what is none."""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            return None
    return host if _HOST.fullmatch(host) else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `Hopper-Signature` says: HMAC-SHA256 of the timestamp, a dot and the body, by the shared secret."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def delivery_of(epoch: str, revision: int, purpose: str) -> str:
    """What `Hopper-Delivery` says: the same for every repeat of a delivery, and for no other."""
    return f"{epoch}-{revision}-{purpose}"
