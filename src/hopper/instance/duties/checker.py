"""One active check: a request, or a connection, and whether anything answered."""

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from hopper.instance.outgoing import NoAuthorities, OutgoingClients
from hopper.model.check import Target

__all__ = ["CheckResult", "Checker"]

_GOOD = range(200, 400)
_LONGEST_S = 60.0
"""What no check takes: each has a timeout of its own, which covers all of it."""

_HEADERS = {"User-Agent": "hopper", "Accept": "*/*", "Connection": "close"}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found. `answered` tells that something is there, if only to say that it is not well."""

    passed: bool
    answered: bool
    elapsed_ms: float
    detail: str = ""
    """Why it has not passed, in a few words."""


class Checker:
    """Checks targets, each with a connection of its own. An async context manager.

    TLS authorities are read at the first https check. Where they cannot be, https checks fail as if they were answered:
    it is the monitor that lacks something, and nobody may be judged down for that.

    HTTP passes with a status of 200 to 399; redirects are not followed, no proxy is asked, and no body is read.
    """

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._clients = OutgoingClients(timeout=_LONGEST_S, headers=_HEADERS, limits=limits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    async def check(self, target: Target, *, timeout_s: float) -> CheckResult:
        """One check; never raises for what the other side does, and takes no longer than `timeout_s`."""
        began = time.monotonic()
        passed = answered = False
        detail = ""
        try:
            async with asyncio.timeout(timeout_s):
                if target.url is None:
                    await _connect(target)
                    passed = answered = True
                else:
                    client = await self._clients.of(target.url)
                    began = time.monotonic()
                    async with client.stream("GET", target.url) as response:
                        answered, passed = True, response.status_code in _GOOD
                        detail = "" if passed else f"status {response.status_code}"
        except NoAuthorities as error:
            answered, detail = True, str(error)
        except TimeoutError:
            if not answered:
                detail = f"no answer within {timeout_s:g} s"
        except httpx.RemoteProtocolError as error:
            answered = not str(error).startswith("Server disconnected")
            detail = str(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answered = _is_tls(error)
            detail = str(error) or type(error).__name__
        return CheckResult(passed, answered, round((time.monotonic() - began) * 1000, 3), detail[:200])


async def _connect(target: Target) -> None:
    _, writer = await asyncio.open_connection(target.host, target.port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _is_tls(error: BaseException | None) -> bool:
    """Whether a TLS handshake failed, so that somebody is there."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
