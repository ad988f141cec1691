"""The pool of connections, as far as it needs no socket; tests/wire/test_upstream.py does the rest."""

import socket
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses
from yarl import URL

from aioresponses_314 import Response314
from trimtab import trust
from trimtab.errors import Cause, UpstreamError, UpstreamTimeout
from trimtab.upstream import Call, Forwarder, Response, State

pytestmark = pytest.mark.anyio

ADDRESS = "http://name:word@up.test/v1/messages"
"""One that aiohttp's session is asked for, which aioresponses mocks; test_straight.py has the others."""
KEY = ConnectionKey("up.test", 80, False, True, None, None, None)


def call(url: str = ADDRESS, **members: Any) -> Call:
    return Call(**{"url": url, "headers": {"x-api-key": "k"}, "body": b"{ }", "name": "up", **members})


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def forwarder() -> AsyncIterator[Forwarder]:
    made = Forwarder()
    await made.open()
    yield made
    await made.close()


async def test_the_helper_for_aioresponses_is_still_needed() -> None:
    """When this fails, aioresponses has learnt aiohttp 3.14: remove tests/aioresponses_314.py."""
    with aioresponses() as mocked:
        mocked.post(ADDRESS, body=b"ok")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.post(ADDRESS)


async def test_an_answer_has_its_status_headers_and_body(forwarder: Forwarder) -> None:
    with aioresponses() as mocked:
        headers = {"X-Up": "1", "Content-Type": "Text/Event-Stream; charset=utf-8"}
        mocked.post(ADDRESS, status=429, body=b"slow", headers=headers, response_class=Response314)
        async with await forwarder.send(call()) as response:
            assert (response.status, response.headers["x-up"]) == (429, "1")
            assert response.content_type == "text/event-stream"
            assert await response.read() == b"slow"
            assert await response.chunk() == b""


async def test_what_is_sent(forwarder: Forwarder) -> None:
    with aioresponses() as mocked:
        mocked.post(ADDRESS, response_class=Response314)
        (await forwarder.send(call(connect_timeout=3.0))).close()
        [[sent]] = mocked.requests.values()
    assert sent.kwargs["headers"] == {"x-api-key": "k"}
    assert sent.kwargs["data"].decode() == "{ }"
    assert sent.kwargs["timeout"] == aiohttp.ClientTimeout(total=None, sock_connect=3.0)
    assert (sent.kwargs["allow_redirects"], sent.kwargs["proxy"]) == (False, None)


async def test_a_call_without_a_body_sends_none(forwarder: Forwarder) -> None:
    with aioresponses() as mocked:
        mocked.get(ADDRESS, response_class=Response314)
        (await forwarder.send(call(method="GET", body=b""))).close()
        [[sent]] = mocked.requests.values()
    assert sent.kwargs["data"] is None


def certificate() -> aiohttp.ClientConnectorCertificateError:
    return aiohttp.ClientConnectorCertificateError(KEY, ValueError("self-signed"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (aiohttp.ClientConnectorError(KEY, OSError()), "no connection: OSError"),
        (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown")), "its name cannot be resolved"),
        (certificate(), "its TLS certificate or handshake was refused"),
        (aiohttp.ServerDisconnectedError(), "closed the connection without an answer"),
        (ConnectionResetError("reset"), "closed the connection without an answer"),
        (aiohttp.ClientPayloadError("key sk-1"), "did not answer: ClientPayloadError"),
        (aiohttp.InvalidURL("sk-1"), "did not answer: InvalidURL"),
    ],
)
async def test_why_nobody_answered(forwarder: Forwarder, error: Exception, reason: str) -> None:
    with aioresponses() as mocked:
        mocked.post(ADDRESS, exception=error)
        with pytest.raises(UpstreamError) as raised:
            await forwarder.send(call())
    assert reason in raised.value.message
    assert raised.value.message.startswith("upstream 'up' did not answer: ")
    assert (raised.value.cause, raised.value.status) == (Cause.UPSTREAM, None)
    assert "sk-1" not in raised.value.message


async def test_a_connection_that_does_not_open_in_time(forwarder: Forwarder) -> None:
    with aioresponses() as mocked:
        mocked.post(ADDRESS, exception=aiohttp.ConnectionTimeoutError())
        with pytest.raises(UpstreamTimeout, match=r"did not accept a connection within 2\.5 s") as raised:
            await forwarder.send(call(connect_timeout=2.5))
    assert raised.value.cause == Cause.TIMEOUT


async def test_what_health_is_told(forwarder: Forwarder) -> None:
    assert forwarder.state("up") == {
        "requests": 0,
        "open": 0,
        "last_status": None,
    }
    with aioresponses() as mocked:
        mocked.post(ADDRESS, status=503, response_class=Response314)
        mocked.post(ADDRESS, exception=aiohttp.ServerDisconnectedError())
        response = await forwarder.send(call())
        assert (forwarder.state("up")["open"], forwarder.state("up")["last_status"]) == (1, 503)
        response.close()
        response.close()
        with pytest.raises(UpstreamError):
            await forwarder.send(call())
    state = forwarder.state("up")
    assert (state["requests"], state["open"], state["last_status"]) == (2, 0, 503)
    assert forwarder.state("other")["requests"] == 0


async def test_a_reply_over_the_limit_is_refused(forwarder: Forwarder) -> None:
    with aioresponses() as mocked:
        mocked.post(ADDRESS, body=b"x" * 11, repeat=True, response_class=Response314)
        async with await forwarder.send(call()) as response:
            heard: list[None] = []
            assert len(await response.read(11, lambda: heard.append(None))) == 11
            assert heard
        async with await forwarder.send(call()) as response:
            with pytest.raises(UpstreamError, match="upstream 'up' sent more than 10 bytes"):
                await response.read(10)


@pytest.mark.parametrize("error", [aiohttp.ClientPayloadError("sk-1"), ConnectionResetError("sk-1")])
async def test_a_payload_that_is_cut(error: Exception) -> None:
    async def cut() -> bytes:
        raise error

    broken: Any = SimpleNamespace(status=200, headers={}, content=SimpleNamespace(readany=cut))
    response = Response(call(), broken, State())
    with pytest.raises(UpstreamError, match=rf"upstream 'up' broke off its answer \({type(error).__name__}\)"):
        await response.read()
    await response.drain()


async def test_a_pool_that_is_not_open_says_so() -> None:
    forwarder = Forwarder()
    await forwarder.close()
    with pytest.raises(UpstreamError, match="not started"):
        await forwarder.send(call())


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        (ADDRESS, {"HTTP_PROXY": "http://gate.test:3128"}, "http://gate.test:3128"),
        (ADDRESS, {"HTTPS_PROXY": "http://gate.test:3128"}, None),
        ("https://name:word@up.test/v1", {"HTTPS_PROXY": "http://gate.test:1"}, "http://gate.test:1"),
        (ADDRESS, {"HTTP_PROXY": "http://gate.test:3128", "NO_PROXY": "up.test"}, None),
        (ADDRESS, {"HTTP_PROXY": "http://gate.test:3128", "NO_PROXY": "*"}, None),
        ("http://name:word@up.test:8080/v1", {"HTTP_PROXY": "http://gate.test:1", "NO_PROXY": "test"}, None),
        (
            "http://name:word@up.test/v1",
            {"HTTP_PROXY": "http://gate.test:1", "NO_PROXY": "down.test"},
            "http://gate.test:1",
        ),
    ],
)
async def test_the_environment_names_a_proxy(
    forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with aioresponses() as mocked:
        mocked.post(url, response_class=Response314)
        (await forwarder.send(call(url))).close()
        [sent] = mocked.requests["POST", URL(url)]
    assert sent.kwargs["proxy"] == proxy


@pytest.mark.parametrize(("url", "read"), [("https://name:word@up.test/v1", [True]), (ADDRESS, [])])
async def test_certificates_are_read_before_the_first_call_that_needs_them(
    forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch, url: str, read: list[bool]
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(trust, "ready", lambda: False)
    monkeypatch.setattr(trust, "read", lambda: seen.append(threading.current_thread() is not threading.main_thread()))
    with aioresponses() as mocked:
        mocked.post(url, response_class=Response314)
        (await forwarder.send(call(url))).close()
    assert seen == read


def test_a_call_shows_no_key() -> None:
    assert repr(call()) == "Call(POST up)"
