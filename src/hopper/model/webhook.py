"""Webhooks: which addresses may be called, and how a delivery is named and signed."""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["RULE", "Target", "allowed", "delivery_of", "is_pattern", "signature", "target_of"]

RULE = "an http:// or https:// URL with a host, in plain characters, without user and password"
"""What a URL must be to be called, as errors say it."""

_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9._-]+")
_NUMBER = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65_535


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


def is_pattern(pattern: str) -> bool:
    """Whether a pattern can allow any host: `HOST`, `*.DOMAIN`, or either with `:PORT`."""
    return _parsed(pattern) is not None


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A host, or with `below` a domain and only what is below it; `port` None for every one."""

    host: str
    below: bool
    port: int | None


def _parsed(pattern: str) -> _Pattern | None:
    """A pattern that was read, None for what is none."""
    text = pattern.strip().lower()
    host, number = text, None
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return None
        number = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    if number is not None and not (_NUMBER.fullmatch(number) and 0 < int(number) <= _LAST_PORT):
        return None
    below = host.startswith("*.")
    known = _host_of(host[2:] if below else host)
    return None if known is None else _Pattern(known, below, None if number is None else int(number))


def _fits(target: Target, pattern: str) -> bool:
    known = _parsed(pattern)
    if known is None or known.port not in (None, target.port):
        return False
    if known.below:
        return (
            not _is_address(target.host) and target.host.endswith(f".{known.host}") and target.host != f".{known.host}"
        )
    return known.host == target.host


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


def delivery_of(epoch: str, revision: int | str, purpose: str) -> str:
    """What `Hopper-Delivery` says: the same for every repeat of a delivery, and for no other."""
    return f"{epoch}-{revision}-{purpose}"
