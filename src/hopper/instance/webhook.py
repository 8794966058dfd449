"""Webhooks: JSON documents sent to other programs by POST, signed, repeated, and only where they may go."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import structlog
import tenacity

from hopper.config import Settings
from hopper.errors import WebhookFailed, WebhookRefused
from hopper.instance.outgoing import NoAuthorities, OutgoingClients
from hopper.model.webhook import RULE, Target, allowed, signature, target_of

__all__ = ["Webhook"]

_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=15)
_READ_BYTES = 4096
_SHOWN = 200
_AGAIN = frozenset({408, 429})
"""Answers below 500 after which the same request may succeed."""


class Webhook:
    """Sends webhooks. Any number may be on their way; close it with `aclose`, after which it may be used again.

    Redirects are not followed, and proxies of the environment are not used: only the host that was allowed is called.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients = OutgoingClients(timeout=settings.webhook_timeout_s)
        self._logger = structlog.get_logger().bind(namespace=settings.namespace)

    async def aclose(self) -> None:
        """Close every connection. May be called twice."""
        await self._clients.aclose()

    async def send(self, url: str, document: Mapping[str, Any], delivery: str, allow_listed: bool = True) -> None:
        """POST a document; returns once it was answered by 2xx.

        `delivery` names it for its receiver, who may get it several times: it is sent again up to `webhook_retries`
        times, with growing pauses, after a broken connection, a timeout (`webhook_timeout_s` for each attempt), 408,
        429 and 5xx. With `allow_listed` the URL must lead to a host of `webhook_allow`. Raises `WebhookRefused` where
        it may not be called, and `WebhookFailed` where it could not be told.
        """
        target = self._target(url, allow_listed=allow_listed)
        body = orjson.dumps(document)
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._settings.webhook_retries + 1),
            wait=_WAIT,
            retry=tenacity.retry_if_exception(_is_passing),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                number = attempt.retry_state.attempt_number
                if number > 1:
                    self._logger.info("webhook.again", place=str(target), delivery=delivery, attempt=number)
                await self._attempt(url, target, body, delivery)

    def _target(self, url: str, *, allow_listed: bool) -> Target:
        target = target_of(url)
        if target is None:
            raise WebhookRefused(f"a webhook cannot be called: it is not {RULE}")
        patterns = self._settings.webhook_allow
        if allow_listed and not allowed(url, patterns):
            names = ", ".join(patterns) or "nobody"
            raise WebhookRefused(f"the webhook {target} is not called: webhook_allow names {names}")
        return target

    async def _attempt(self, url: str, target: Target, body: bytes, delivery: str) -> None:
        """Send it once. Raises `WebhookFailed`, which says whether it may succeed later."""
        limit_s = self._settings.webhook_timeout_s
        try:
            client = await self._clients.of(url)
        except NoAuthorities as error:
            raise WebhookFailed(f"the webhook {target} cannot be called: {error}", passing=True) from None
        try:
            async with asyncio.timeout(limit_s):
                status, said = await self._post(client, url, body, delivery)
        except TimeoutError:
            raise WebhookFailed(f"the webhook {target} did not answer within {limit_s:g} s", passing=True) from None
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise WebhookFailed(f"the webhook {target} cannot be called: {error}") from None
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise WebhookFailed(f"the webhook {target} could not be reached: {why}", passing=True) from None
        if not 200 <= status < 300:
            words = f": {said}" if said else ""
            passing = status >= 500 or status in _AGAIN
            raise WebhookFailed(f"the webhook {target} answered {status}{words}", passing=passing)

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes, delivery: str) -> tuple[int, str]:
        """The status of the answer, and where it is none of success how its body begins. Reads no more than 4 KiB."""
        async with client.stream("POST", url, content=body, headers=self._headers(body, delivery)) as answer:
            begun = bytearray()
            async for part in answer.aiter_raw():
                begun += part
                if len(begun) >= _READ_BYTES:
                    break
        return answer.status_code, " ".join(begun.decode(errors="replace").split())[:_SHOWN]

    def _headers(self, body: bytes, delivery: str) -> dict[str, str]:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "hopper",
            "Hopper-Delivery": delivery,
            "Hopper-Timestamp": timestamp,
        }
        if self._settings.webhook_secret is not None:
            headers["Hopper-Signature"] = signature(self._settings.webhook_secret, timestamp, body)
        return headers


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, WebhookFailed) and error.passing
