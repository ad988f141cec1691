"""Hypercorn's connections with ends of our own; what needs a whole proxy is in wire/test_limits.py."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.connection
import h2.events
import pytest
from hypercorn.asyncio import run as hypercorn_run

from trimtab.config import ServeOptions
from trimtab.connections import EndingServer
from trimtab.http1 import Http1
from trimtab.server import listen, run
from wire.harness import PATIENCE, connect

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nhost: a\r\n"


async def fine(scope: Any, receive: Any, send: Any) -> None:
    """Answers everything with 204."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[str]:
    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(run(fine, listener, 1.0, stop, ServeOptions(**options)))
    try:
        yield url
    finally:
        stop.set()
        await task


async def answer(url: str, *pieces: bytes) -> bytes:
    """What comes until the server closes."""
    reader, writer = await connect(url)
    async with asyncio.timeout(PATIENCE):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        found = await reader.read()
    writer.close()
    return found


def test_hypercorn_uses_ours() -> None:
    assert hypercorn_run.TCPServer is EndingServer  # type: ignore[attr-defined]  # not exported


async def test_a_head_that_does_not_end_is_told_so() -> None:
    async with served(head_timeout=0.05) as url:
        raw = await answer(url, GET)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert "serve.head-timeout" in json.loads(body)["error"]["message"]


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with served(head_timeout=0.05) as url:
        assert await answer(url) == b""


async def test_a_connection_whose_answer_began_before_the_stop_is_closed_behind_it() -> None:
    stop, go = asyncio.Event(), asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await fine(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"b"})

    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(run(waits, listener, 10 * PATIENCE, stop))
    reader, writer = await connect(url)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"1\r\na\r\n")
            stop.set()
            (server,) = EndingServer.live
            assert server._idle is not None
            assert server._idle._stopping is not None
            await asyncio.wait({server._idle._stopping})
            go.set()
            assert await reader.read() == b"1\r\nb\r\n0\r\n\r\n"
            await task
    finally:
        writer.close()
        stop.set()
        await task


async def test_between_requests_a_client_may_think() -> None:
    async with served(head_timeout=0.3) as url:
        reader, writer = await connect(url)
        for _ in range(3):
            writer.write(GET + b"\r\n")
            async with asyncio.timeout(PATIENCE):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        # The time of the next head begins with its first byte.
        writer.write(GET)
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_client_that_says_its_last_before_the_answer_leaves_nothing() -> None:
    async with served() as url:
        reader, writer = await connect(url)
        writer.write(GET + b"\r\n")
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 204")
        writer.close()
        assert EndingServer.live == set()


async def test_a_connection_that_ended_is_no_work_for_the_garbage_collector() -> None:
    async with served() as url:
        for _ in range(3):
            await answer(url, GET + b"connection: close\r\n\r\n")
        while EndingServer.live:  # noqa: ASYNC110  # hypercorn tells nobody
            await asyncio.sleep(0)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await answer(url, GET + b"connection: close\r\n\r\n")
            while EndingServer.live:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
            left = [one for one in gc.get_objects() if isinstance(one, EndingServer | Http1)]
        finally:
            gc.enable()
    # The last one's task may still be on its way out.
    assert len(left) <= 2


async def test_no_limit_is_no_limit() -> None:
    async with served(head_timeout=0) as url:
        raw = await answer(url, GET[:5], GET[5:], b"connection: close\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 204")


async def test_a_head_far_too_large_and_no_head_at_all() -> None:
    async with served(max_header_kb=1) as url:
        raw = await answer(url, GET + b"x: " + b"y" * 200_000)
        assert raw.startswith(b"HTTP/1.1 431")
        assert b"serve.max-header-kb" in raw
        raw = await answer(url, b"\x16\x03\x01 no http\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 400")
        assert b"this is no HTTP/1.1 request" in raw


async def test_a_head_with_two_lengths_is_refused_and_nothing_after_it_is_read() -> None:
    head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    async with served() as url:
        found = await answer(url, head + GET + b"\r\n")
    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"content-length and transfer-encoding" in found
    assert found.count(b"HTTP/1.1 ") == 1


async def test_an_upgrade_to_a_websocket_is_ignored() -> None:
    fields = b"connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    async with served() as url:
        found = await answer(url, GET + fields + b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 204 ")


async def test_a_refused_head_request_gets_no_body() -> None:
    head = b"HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
    async with served() as url:
        found = await answer(url, head)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert found.endswith(b"\r\n\r\n")


async def asked_over_http2(url: str, opening: bytes, peer: h2.connection.H2Connection, stream: int) -> int:
    """The status of the answer on an HTTP/2 stream behind some opening bytes."""
    reader, writer = await connect(url)
    writer.write(opening + peer.data_to_send())
    async with asyncio.timeout(PATIENCE):
        if b"HTTP/1.1" in opening:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        while True:
            for event in peer.receive_data(await reader.read(65536)):
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    writer.close()
                    return int(dict(event.headers or [])[b":status"])


async def test_http2_is_spoken_with_who_knows_of_it() -> None:
    peer = h2.connection.H2Connection()
    peer.initiate_connection()
    fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")]
    peer.send_headers(1, fields, end_stream=True)
    async with served() as url:
        assert await asked_over_http2(url, b"", peer, 1) == 204


async def test_http2_is_spoken_with_who_asks_for_it() -> None:
    peer = h2.connection.H2Connection()
    settings = peer.initiate_upgrade_connection()
    fields = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: %b\r\n\r\n" % (settings or b"")
    async with served() as url:
        assert await asked_over_http2(url, GET + fields, peer, 1) == 204


async def test_a_preface_in_pieces_is_waited_for() -> None:
    async with served() as url:
        reader, writer = await connect(url)
        for piece in (b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"):
            writer.write(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            # A frame of settings: length, type 4.
            assert (await reader.readexactly(9))[3] == 4
        writer.close()


@asynccontextmanager
async def answering(app: Any) -> AsyncIterator[str]:
    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await (fine if scope["type"] == "lifespan" else app)(scope, receive, send)

    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    task = asyncio.create_task(run(whole, listener, 1.0, stop, ServeOptions()))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        await task


def begin(*fields: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain"), *fields]}


def piece(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_stream_is_chunked_where_the_client_can_read_that(version: str) -> None:
    async def streams(scope: Any, receive: Any, send: Any) -> None:
        for message in (begin(), piece(b"one"), piece(b""), piece(b"x" * 300), piece(b"", more=False)):
            await send(message)

    async with answering(streams) as url:
        raw = await answer(url, f"GET / HTTP/{version}\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    chunked = b"3\r\none\r\n12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n"
    assert body == (chunked if version == "1.1" else b"one" + b"x" * 300)


async def test_a_head_leaves_with_what_stands_behind_it() -> None:
    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await send(begin((b"content-length", b"5")))
        await send(piece(b"hello", more=False))

    async with answering(answers) as url:
        reader, writer = await connect(url)
        for _ in range(2):
            writer.write(GET + b"\r\n")
            async with asyncio.timeout(PATIENCE):
                # One read of a socket gives both: they were one write.
                assert (await reader.read(65536)).endswith(b"\r\n\r\nhello")
        writer.close()


async def test_a_header_that_would_begin_another_line_never_leaves() -> None:
    values = [b"fine", b"bad\r\nset-cookie: a=b", b"bad\nx: y", b"a\0b"]

    async def injected(scope: Any, receive: Any, send: Any) -> None:
        await send(begin((b"x-told", values.pop(0))))
        await send(piece(b"end", more=False))

    async with answering(injected) as url:
        # The first teaches the name; the values of the others are looked at all the same.
        assert b"x-told: fine" in await answer(url, GET + b"connection: close\r\n\r\n")
        while values:
            raw = await answer(url, GET + b"connection: close\r\n\r\n")
            assert raw.startswith(b"HTTP/1.1 500")
            assert b"bad" not in raw
            assert b"a=b" not in raw
