"""The pool of connections over real sockets: coding, TLS, reuse, and connections that end when they must."""

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import UpstreamError, UpstreamTimeout
from trimtab.server import listen
from trimtab.upstream import Call, Forwarder
from wire.harness import PATIENCE
from wire.scripted import SSE, Link, Sent, Upstream, playing

pytestmark = pytest.mark.anyio

TEXT = b'{"text":"' + b"ab" * 5000 + b'"}'


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def forwarder() -> AsyncIterator[Forwarder]:
    made = Forwarder()
    await made.open()
    yield made
    await made.close()


def call(upstream: Upstream | str, **members: Any) -> Call:
    url = upstream if isinstance(upstream, str) else upstream.url
    return Call(**{"url": f"{url}/v1/x", "headers": {}, "body": b"{}", "name": "up", **members})


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT)), ("deflate", zlib.compress(TEXT, wbits=-15))],
    ids=["gzip", "deflate", "raw deflate"],
)
async def test_packed_answers_are_unpacked(forwarder: Forwarder, coding: str, body: bytes) -> None:
    async def packs(sent: Sent, link: Link) -> None:
        await link.json(body, extra=f"content-encoding: {coding}\r\n")

    async with playing(packs) as upstream, await forwarder.send(call(upstream)) as response:
        assert await response.read() == TEXT


async def test_a_packed_stream_comes_piece_by_piece(forwarder: Forwarder) -> None:
    first_read = asyncio.Event()

    async def streams(sent: Sent, link: Link) -> None:
        packer = zlib.compressobj(wbits=31)
        await link.raw(SSE.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"))
        await link.chunk(packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        await first_read.wait()
        await link.chunk(packer.compress(b"data: 2\n\n") + packer.flush())
        await link.chunk(b"")

    async with playing(streams) as upstream, await forwarder.send(call(upstream)) as response:
        async with asyncio.timeout(PATIENCE):
            assert await response.chunk() == b"data: 1\n\n"
            first_read.set()
            assert await response.read() == b"data: 2\n\n"


async def test_an_answer_with_a_broken_coding_is_told(forwarder: Forwarder) -> None:
    async def lies(sent: Sent, link: Link) -> None:
        await link.json(b"not packed at all", extra="content-encoding: gzip\r\n")

    async with playing(lies) as upstream:
        with pytest.raises(UpstreamError, match="upstream 'up' broke off its answer"):
            async with await forwarder.send(call(upstream)) as response:
                await response.read()


async def test_a_cut_answer_is_told(forwarder: Forwarder) -> None:
    async def cuts(sent: Sent, link: Link) -> None:
        await link.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        link.writer.close()

    async with playing(cuts) as upstream, await forwarder.send(call(upstream)) as response:
        with pytest.raises(UpstreamError, match="broke off its answer"):
            await response.read()
        assert forwarder.state("up")["open"] == 1
    assert forwarder.state("up")["open"] == 0


async def test_a_connection_that_closes_instead_of_answering(forwarder: Forwarder) -> None:
    async def hangs_up(sent: Sent, link: Link) -> None:
        link.writer.close()

    async with playing(hangs_up) as upstream:
        with pytest.raises(UpstreamError, match="did not answer: it closed the connection"):
            await forwarder.send(call(upstream))
        assert len(upstream.sent) == 1  # no retry of a request that may have been served


async def test_nobody_listens(forwarder: Forwarder) -> None:
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with pytest.raises(UpstreamError, match=r"did not answer: no connection: .*(refused|Connect call failed)"):
        await forwarder.send(call(f"http://127.0.0.1:{port}"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full backlog cannot take")
async def test_a_full_backlog_is_a_connection_timeout(forwarder: Forwarder) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(UpstreamTimeout, match=r"within 0\.05 s"):
            await forwarder.send(call(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.05))
        for one in waiting:
            one.close()


async def test_https_to_a_plain_port(forwarder: Forwarder) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        with pytest.raises(UpstreamError, match="its TLS certificate or handshake was refused"):
            await forwarder.send(call(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_certificate_that_nobody_signed(forwarder: Forwarder, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)  # noqa: ASYNC221  # milliseconds
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen = Upstream(_never)
    server = await asyncio.start_server(seen.handle, "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(UpstreamError, match="its TLS certificate or handshake was refused"):
            await forwarder.send(call(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    assert seen.sent == []


async def _never(sent: Sent, link: Link) -> None:
    raise AssertionError("a request went over a connection that is not trusted")


async def test_a_connection_serves_the_next_request(forwarder: Forwarder) -> None:
    async with playing() as upstream:
        for _ in range(3):
            async with await forwarder.send(call(upstream)) as response:
                await response.read()
        assert len(upstream.sent) == 3
        assert len({id(link) for link in upstream.links}) == 1


async def test_a_redirect_is_not_followed_and_a_cookie_not_kept(forwarder: Forwarder) -> None:
    async def moves(sent: Sent, link: Link) -> None:
        await link.json(b"", "302 Found", extra="location: /elsewhere\r\nset-cookie: a=b\r\n")

    async with playing(moves) as upstream:
        named = upstream.url.replace("127.0.0.1", "localhost")  # no jar keeps the cookies of a bare address
        for _ in range(2):
            async with await forwarder.send(call(named)) as response:
                assert response.status == 302
        assert [sent.path for sent in upstream.sent] == ["/v1/x"] * 2
        assert "cookie" not in upstream.sent[1].headers


async def test_the_address_arrives_as_it_was_written(forwarder: Forwarder) -> None:
    async with playing() as upstream:
        url = f"{upstream.url}/v1/a%2Fb?beta=%2F%20+x&k=%C3%A4"
        (await forwarder.send(call(upstream, url=url))).close()
        assert upstream.sent[0].line == "POST /v1/a%2Fb?beta=%2F%20+x&k=%C3%A4 HTTP/1.1"
        assert "user-agent" not in upstream.sent[0].headers


@pytest.mark.parametrize("size", [2, 500_000])
async def test_it_sends_what_the_session_of_aiohttp_sends(forwarder: Forwarder, size: int) -> None:
    headers = {"anthropic-version": "2023-06-01", "x-title": "é", "accept": "*/*", "accept-encoding": "gzip, deflate"}
    headers |= {"content-type": "application/json"}
    async with playing() as upstream:
        # A name in the address is left to the session.
        for url in (upstream.url, upstream.url.replace("//", "//name:word@")):
            asked = call(upstream, url=f"{url}/v1/x?a=%20", headers=headers, body=b"x" * size)
            async with await forwarder.send(asked) as response:
                assert response.status == 200
        straight, session = upstream.sent
    assert session.headers.pop("authorization").startswith("Basic ")
    assert straight == session


async def test_what_is_said_before_the_answer_is_passed_over(forwarder: Forwarder) -> None:
    async def hints(sent: Sent, link: Link) -> None:
        await link.raw(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await link.json(b"{}", "201 Created")

    async with playing(hints) as upstream, await forwarder.send(call(upstream)) as response:
        assert (response.status, await response.read()) == (201, b"{}")


async def test_what_is_no_http_is_no_answer(forwarder: Forwarder) -> None:
    async def babbles(sent: Sent, link: Link) -> None:
        await link.raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with playing(babbles) as upstream:
        with pytest.raises(UpstreamError, match="upstream 'up' did not answer: HttpProcessingError") as raised:
            await forwarder.send(call(upstream))
    assert "SSH" not in raised.value.message


async def test_an_answer_before_the_body_was_read_costs_the_connection(forwarder: Forwarder) -> None:
    """What is still to be sent would stand before the next request."""
    refused = asyncio.Event()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await refused.wait()
        writer.close()

    async with await asyncio.start_server(refuses, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            async with await forwarder.send(call(url, body=b"x" * 50_000_000)) as response:
                assert (response.status, await response.read()) == (413, b"")
        refused.set()


async def test_drain_waits_for_the_end_behind_the_last_word(forwarder: Forwarder) -> None:
    drains = asyncio.Event()

    async def ends_late(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(b"data: [DONE]\n\n")
        await drains.wait()
        await link.chunk(b"")

    async with playing(ends_late) as upstream:
        for _ in range(2):
            async with await forwarder.send(call(upstream)) as response:
                assert await response.chunk() == b"data: [DONE]\n\n"
                asyncio.get_running_loop().call_soon(drains.set)
                await response.drain(PATIENCE)
        assert len({id(link) for link in upstream.links}) == 1


@pytest.mark.parametrize("drained", [False, True])
async def test_closing_in_the_middle_ends_the_upstreams_connection(forwarder: Forwarder, *, drained: bool) -> None:
    ended = asyncio.Event()

    async def goes_on(sent: Sent, link: Link) -> None:
        await link.raw(SSE)
        await link.chunk(b"data: 1\n\n")
        await link.gone()
        ended.set()

    async with playing(goes_on) as upstream:
        async with await forwarder.send(call(upstream)) as response:
            await response.chunk()
            if drained:
                await response.drain(0.01)
        await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_cancelling_before_the_answer_ends_the_upstreams_connection(forwarder: Forwarder) -> None:
    ended = asyncio.Event()

    async def silent(sent: Sent, link: Link) -> None:
        await link.gone()
        ended.set()

    async with playing(silent) as upstream:
        sending = asyncio.create_task(forwarder.send(call(upstream)))
        await upstream.received(1)
        sending.cancel()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert forwarder.state("up")["open"] == 0
