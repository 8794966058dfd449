"""One active check, against real servers."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from hopper.instance.duties.checker import Checker
from hopper.model.check import Target
from responder import responding
from servers import free_port

LIMIT_S = 5.0


def http(port: int, path: str = "/healthz") -> Target:
    return Target("127.0.0.1", port, f"http://127.0.0.1:{port}{path}")


@pytest.mark.parametrize(("status", "passed"), [(200, True), (204, True), (304, True), (404, False), (503, False)])
async def test_a_status_of_200_to_399_passes_and_any_other_is_an_answer(status, passed):
    async with responding(status=status) as server, Checker() as checker:
        finding = await checker.check(http(server.port, "/h?a=1"), timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (passed, True)
        assert finding.detail == ("" if passed else f"status {status}")
        assert 0 < finding.elapsed_ms < LIMIT_S * 1000
        assert server.paths == ["/h?a=1"]


async def test_a_redirect_passes_and_is_not_followed():
    async with responding() as elsewhere, Checker() as checker:
        async with responding(status=302, headers=f"Location: {elsewhere.url}/\r\n") as server:
            assert (await checker.check(http(server.port), timeout_s=LIMIT_S)).passed
        assert elsewhere.paths == []


async def test_a_body_without_an_end_is_not_read():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    async with responding(raw=head + b"x" * 1000) as server, Checker() as checker:
        assert (await checker.check(http(server.port), timeout_s=LIMIT_S)).passed


@pytest.mark.parametrize(
    ("how", "answered", "says"),
    [
        ({"raw": b"SSH-2.0-x\r\n\r\n"}, True, "illegal"),
        ({"raw": b""}, False, "Server disconnected"),
    ],
    ids=["not HTTP", "hangs up"],
)
async def test_who_speaks_no_http_answers_badly_and_who_hangs_up_not_at_all(how, answered, says):
    async with responding(**how) as server, Checker() as checker:
        finding = await checker.check(http(server.port), timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, answered)
        assert says in finding.detail


async def test_who_never_answers_is_given_up_in_time():
    async with responding(status=None) as server, Checker() as checker:
        finding = await checker.check(http(server.port), timeout_s=0.1)
        assert (finding.passed, finding.answered) == (False, False)
        assert finding.detail == "no answer within 0.1 s"


async def test_https_of_somebody_who_speaks_plain_http_is_a_bad_answer():
    async with responding(raw=b"HTTP/1.1 400 Bad\r\n\r\n") as server, Checker() as checker:
        target = Target("127.0.0.1", server.port, f"https://127.0.0.1:{server.port}/")
        finding = await checker.check(target, timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, True)


@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_a_refused_connection_is_no_answer(kind):
    port = free_port()
    target = http(port) if kind == "http" else Target("127.0.0.1", port)
    async with Checker() as checker:
        finding = await checker.check(target, timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, False)
        assert finding.detail


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, "a..b"])
@pytest.mark.parametrize("kind", ["http", "tcp"])
async def test_a_host_that_cannot_be_found_is_no_answer_whatever_its_name(kind, host):
    target = Target(host, 80, f"http://{host}:80/" if kind == "http" else None)
    async with Checker() as checker:
        finding = await checker.check(target, timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, False)


async def test_a_connection_is_enough_for_tcp():
    async with responding(status=None) as server, Checker() as checker:
        assert (await checker.check(Target("127.0.0.1", server.port), timeout_s=LIMIT_S)).passed


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["no file", "rubbish"])
async def test_without_authorities_https_fails_with_a_sentence_and_is_no_silence_and_the_rest_works(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "authorities.pem"
    if text is not None:
        file.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with responding() as server, Checker() as checker:
        assert (await checker.check(http(server.port), timeout_s=LIMIT_S)).passed
        port = free_port()
        target = Target("127.0.0.1", port, f"https://127.0.0.1:{port}/")
        finding = await checker.check(target, timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, True)
        assert finding.detail.startswith("the monitor cannot read its TLS authorities (SSL_CERT_FILE")
        monkeypatch.delenv("SSL_CERT_FILE")
        finding = await checker.check(target, timeout_s=LIMIT_S)
        assert (finding.passed, finding.answered) == (False, False)


async def test_authorities_are_read_once_beside_the_loop_and_only_for_https(monkeypatch):
    threads: list[threading.Thread] = []
    original = httpx.create_ssl_context

    def read(*args: Any, **values: Any) -> Any:
        if not args and "verify" not in values:
            threads.append(threading.current_thread())
        return original(*args, **values)

    monkeypatch.setattr(httpx, "create_ssl_context", read)
    async with responding() as server, Checker() as checker:
        await checker.check(http(server.port), timeout_s=LIMIT_S)
        assert threads == []
        port = free_port()
        target = Target("127.0.0.1", port, f"https://127.0.0.1:{port}/")
        await asyncio.gather(*(checker.check(target, timeout_s=LIMIT_S) for _ in range(3)))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
