"""Webhooks: what a receiver gets, what is repeated, and what is never sent."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import tenacity

import hopper.instance.webhook
from hopper import Settings
from hopper.errors import HopperError, WebhookFailed, WebhookRefused
from hopper.instance.webhook import Webhook
from hopper.model.webhook import signature
from receiver import Receiver
from servers import free_port


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as opened:
        yield opened


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would wait after each attempt that may pass; it does not wait."""
    waited: list[float] = []
    original = hopper.instance.webhook._WAIT

    def none(state: tenacity.RetryCallState) -> float:
        waited.append(original(state))
        return 0

    monkeypatch.setattr("hopper.instance.webhook._WAIT", none)
    return waited


@contextlib.asynccontextmanager
async def posting(fake: Settings, **values: Any) -> AsyncIterator[Webhook]:
    async with contextlib.aclosing(Webhook(fake.model_copy(update=values))) as webhook:
        yield webhook


async def test_a_document_is_posted_with_headers_that_name_date_and_sign_it(fake_settings, receiver):
    began = int(time.time())
    async with posting(fake_settings, webhook_secret="the key") as webhook:
        await webhook.send(receiver.url, {"id": "web", "more": [1, None]}, "e-17-restart", allow_listed=False)
    (got,) = receiver.deliveries
    assert got.line == "POST /hook?key=secret HTTP/1.1"
    assert got.document == {"id": "web", "more": [1, None]}
    assert got.headers["content-type"] == "application/json"
    assert got.delivery == "e-17-restart"
    assert began <= int(got.headers["hopper-timestamp"]) <= time.time()
    assert got.headers["hopper-signature"] == signature("the key", got.headers["hopper-timestamp"], got.body)


async def test_without_a_secret_nothing_is_signed(fake_settings, receiver):
    async with posting(fake_settings) as webhook:
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
    assert "hopper-signature" not in receiver.deliveries[0].headers


PASSING: dict[str, int | bytes | None] = {
    "a server's error": 500,
    "it is away": 503,
    "too many requests": 429,
    "it waited too long for us": 408,
    "what is no answer": b"hello\r\n\r\n",
    "no answer": None,
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())
async def test_what_may_pass_is_sent_again_under_the_same_name(answer, fake_settings, receiver, pauses):
    receiver.answers.extend([answer, answer])
    async with posting(fake_settings, webhook_timeout_s=0.3, webhook_retries=2) as webhook:
        await webhook.send(receiver.url, {"n": 1}, "d", allow_listed=False)
    assert [got.delivery for got in receiver.deliveries] == ["d", "d", "d"]
    assert [got.document for got in receiver.deliveries] == [{"n": 1}] * 3
    assert len(pauses) == 2
    assert all(0 <= pause <= 15 for pause in pauses)


async def test_each_attempt_is_signed_with_its_own_time(fake_settings, receiver, monkeypatch):
    receiver.answers.extend([500])
    clock = iter([1_700_000_000.9, 1_700_000_060.0])
    monkeypatch.setattr("hopper.instance.webhook.time", SimpleNamespace(time=lambda: next(clock)))
    async with posting(fake_settings, webhook_secret="k") as webhook:
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
    stamps = [got.headers["hopper-timestamp"] for got in receiver.deliveries]
    assert stamps == ["1700000000", "1700000060"]
    assert [got.headers["hopper-signature"] for got in receiver.deliveries] == [
        signature("k", stamp, b"{}") for stamp in stamps
    ]


async def test_it_gives_up_after_the_retries_and_says_what_was_answered_last(fake_settings, receiver):
    receiver.always = b"HTTP/1.1 503 No\r\nContent-Length: 19\r\n\r\nout of\n  \r  order!!"
    async with posting(fake_settings, webhook_retries=3) as webhook:
        with pytest.raises(WebhookFailed, match="answered 503: out of order!!") as failed:
            await webhook.send(receiver.url, {}, "d", allow_listed=False)
    assert failed.value.passing
    assert len(receiver.deliveries) == 4


async def test_a_receiver_that_is_not_there_is_tried_again(fake_settings, receiver, pauses):
    await receiver.close()
    async with posting(fake_settings, webhook_retries=2) as webhook:
        with pytest.raises(WebhookFailed, match="could not be reached") as failed:
            await webhook.send(receiver.url, {}, "d", allow_listed=False)
    assert failed.value.passing
    assert len(pauses) == 3


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 422])
async def test_another_refusal_ends_it_at_once(status, fake_settings, receiver):
    async with Receiver() as elsewhere:
        receiver.always = (
            b"HTTP/1.1 %d No\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere.url.encode())
        )  # fmt: skip
        async with posting(fake_settings) as webhook:
            with pytest.raises(WebhookFailed, match=f"answered {status}") as failed:
                await webhook.send(receiver.url, {}, "d", allow_listed=False)
    assert not failed.value.passing
    assert len(receiver.deliveries) == 1
    assert elsewhere.deliveries == []


async def test_an_attempt_ends_after_the_timeout_in_total_however_the_answer_trickles(fake_settings):
    ended = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        ended.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        began = time.monotonic()
        async with posting(fake_settings, webhook_timeout_s=0.4, webhook_retries=0) as webhook:
            with pytest.raises(WebhookFailed, match=r"within 0\.4 s"):
                await webhook.send(f"http://127.0.0.1:{port}/", {}, "d", allow_listed=False)
        assert 0.4 <= time.monotonic() - began < 5
        await ended.wait()


async def test_no_more_of_an_answer_is_read_than_a_few_kilobytes(fake_settings):
    sent, ended = 0, asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 1_000_000_000:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent += 65_536
        writer.close()
        ended.set()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with posting(fake_settings) as webhook:
            await webhook.send(f"http://127.0.0.1:{port}/", {}, "d", allow_listed=False)
        await ended.wait()
    assert sent < 50_000_000


async def test_a_proxy_of_the_environment_is_not_used(fake_settings, receiver, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with posting(fake_settings, webhook_retries=0) as webhook:
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
    assert len(receiver.deliveries) == 1


async def test_one_that_must_be_allowed_goes_to_the_hosts_that_are_and_to_no_other(fake_settings, receiver):
    async with posting(fake_settings, webhook_allow=("collector", receiver.place)) as webhook:
        await webhook.send(receiver.url, {}, "d")
        await webhook.send(receiver.url, {}, "d", True)
    assert len(receiver.deliveries) == 2
    async with posting(fake_settings, webhook_allow=("collector", f"127.0.0.1:{free_port()}")) as webhook:
        with pytest.raises(
            WebhookRefused, match=rf"http://{receiver.place} .*webhook_allow names collector, "
        ) as refused:
            await webhook.send(receiver.url, {}, "d")
    assert not refused.value.passing
    async with posting(fake_settings) as webhook:
        with pytest.raises(WebhookRefused, match="webhook_allow names nobody"):
            await webhook.send(receiver.url, {}, "d")
    assert len(receiver.deliveries) == 2


@pytest.mark.parametrize("url", ["ftp://x/", "http://me:pw@x/", "http:///", "x", "http://x\\@y/"])
async def test_what_is_no_place_is_refused_also_where_all_are_allowed(url, fake_settings):
    async with posting(fake_settings) as webhook:
        with pytest.raises(WebhookRefused, match="cannot be called"):
            await webhook.send(url, {}, "d", allow_listed=False)


async def test_what_may_be_secret_in_a_url_is_in_no_error(fake_settings, receiver):
    receiver.always = 500
    async with posting(fake_settings, webhook_retries=0) as webhook:
        for allow_listed in (False, True):
            with pytest.raises(HopperError) as failed:
                await webhook.send(receiver.url, {}, "d", allow_listed=allow_listed)
            assert "secret" not in str(failed.value)


async def test_it_may_be_used_again_after_it_was_closed(fake_settings, receiver):
    webhook = Webhook(fake_settings)
    for _ in range(2):
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
        await webhook.aclose()
        await webhook.aclose()
    assert len(receiver.deliveries) == 2


async def test_a_receiver_may_have_an_ipv6_address(fake_settings):
    async with Receiver("::1") as receiver, posting(fake_settings, webhook_allow=("[::1]",)) as webhook:
        await webhook.send(receiver.url, {}, "d")
    assert len(receiver.deliveries) == 1


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["no file", "rubbish"])
async def test_without_authorities_https_fails_for_now_and_http_works(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_settings, receiver
):
    file = tmp_path / "authorities.pem"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with posting(fake_settings, webhook_retries=0) as webhook:
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
        with pytest.raises(WebhookFailed, match=r"TLS authorities \(SSL_CERT_FILE, SSL_CERT_DIR\)") as failed:
            await webhook.send("https://127.0.0.1/", {}, "e", allow_listed=False)
    assert failed.value.passing
    assert [got.delivery for got in receiver.deliveries] == ["d"]


async def test_authorities_are_read_once_beside_the_loop_and_only_for_https(fake_settings, receiver, monkeypatch):
    threads: list[threading.Thread] = []
    original = httpx.create_ssl_context

    def read(*args: Any, **values: Any) -> Any:
        threads.append(threading.current_thread())
        return original(*args, **values)

    monkeypatch.setattr(hopper.instance.webhook.httpx, "create_ssl_context", read)
    async with posting(fake_settings, webhook_retries=0) as webhook:
        await webhook.send(receiver.url, {}, "d", allow_listed=False)
        assert threads == []
        url = f"https://127.0.0.1:{free_port()}/"
        sent = (webhook.send(url, {}, "e", allow_listed=False) for _ in range(3))
        ends = await asyncio.gather(*sent, return_exceptions=True)
    assert all(isinstance(end, WebhookFailed) and "could not be reached" in str(end) for end in ends)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
