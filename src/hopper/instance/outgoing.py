"""The HTTP clients of checks and webhooks: no redirects, no proxies, TLS by the authorities of the environment."""

import asyncio
import ssl
from typing import Any

import httpx

__all__ = ["NoAuthorities", "OutgoingClients"]


class NoAuthorities(Exception):
    """The TLS authorities of this monitor cannot be read, which says nothing of the other side."""


class OutgoingClients:
    """A client for each scheme, made when it is first asked for. `options` are those of `httpx.AsyncClient`.

    Redirects are not followed, and proxies of the environment are not used. Close them with `aclose`, after which they
    may be used again.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def of(self, url: str) -> httpx.AsyncClient:
        """The client for a URL. Raises `NoAuthorities` where https cannot be verified."""
        scheme = url.partition(":")[0].lower()
        async with self._opening:
            if scheme not in self._clients:
                self._clients[scheme] = httpx.AsyncClient(
                    verify=await _authorities(scheme), trust_env=False, follow_redirects=False, **self._options
                )
            return self._clients[scheme]


async def _authorities(scheme: str) -> ssl.SSLContext:
    """What a client verifies by, read in a thread: meanwhile the pulses go on. Plain http needs none."""
    if scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return await asyncio.to_thread(httpx.create_ssl_context)
    except OSError as error:  # ssl.SSLError too
        raise NoAuthorities(
            f"the monitor cannot read its TLS authorities (SSL_CERT_FILE, SSL_CERT_DIR): {error}"
        ) from None
