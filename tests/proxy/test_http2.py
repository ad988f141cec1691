"""HTTP/2: what one stream does is no end of the others, nor of its connection."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from hypercorn import protocol

from trimtab.http2 import Http2
from trimtab.server import listen, run
from wire.harness import PATIENCE, connect

pytestmark = pytest.mark.anyio


class App:
    """Answers at once, whatever body comes; `/held` when it is let, and `/long` with more than a window at once."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        if scope["path"] == "/held":
            await self.free.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/long":
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
            self.left += 1
        await send({"type": "http.response.body", "body": b"ok"})


class Peer:
    """A client on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection()
        self.h2.initiate_connection()
        self.events: list[Event] = []

    def ask(self, path: str | bytes = "/", *, method: str = "GET", ends: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
        self.h2.send_headers(stream, head, end_stream=ends)
        return stream

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def until(self, kind: type[Event], stream: int) -> Any:
        """Read up to an event of a stream."""
        await self.flush()
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and getattr(event, "stream_id", None) == stream:
                        return event
                data = await self.reader.read(65536)
                assert data, "the connection ended"
                self.take(data)
                await self.flush()

    def take(self, data: bytes) -> None:
        """Read what came; the window of the connection stays open, those of the streams do not."""
        for event in self.h2.receive_data(data):
            self.events.append(event)
            if isinstance(event, DataReceived) and event.flow_controlled_length:
                self.h2.increment_flow_control_window(event.flow_controlled_length)

    async def status(self) -> bytes | None:
        """That of a request which is answered whole."""
        stream = self.ask()
        told = await self.until(ResponseReceived, stream)
        await self.until(StreamEnded, stream)
        found: bytes | None = dict(told.headers).get(b":status")
        return found


@asynccontextmanager
async def speaking(app: App) -> AsyncIterator[Peer]:
    listener, stop = listen("127.0.0.1", 0), asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    task = asyncio.create_task(run(app, listener, 1.0, stop))
    reader, writer = await connect(url)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        stop.set()
        await task


def test_hypercorn_uses_ours() -> None:
    assert protocol.H2Protocol is Http2  # type: ignore[attr-defined]  # hypercorn does not export it


async def test_streams_that_are_reset_are_gone_at_once() -> None:
    """Hypercorn's tree of streams holds 1,000; the resets come in one piece, before it has time for any of them."""
    async with speaking(App()) as peer:
        assert await peer.status() == b"200"
        for _ in range(1500):
            peer.h2.reset_stream(peer.ask(ends=False), ErrorCodes.CANCEL)
        assert await peer.status() == b"200"


async def test_a_stream_that_is_reset_while_it_is_sent_ends_no_other() -> None:
    app = App()
    async with speaking(app) as peer:
        held = peer.ask("/held")
        for _ in range(3):
            long = peer.ask("/long")
            await peer.until(DataReceived, long)
            peer.h2.reset_stream(long, ErrorCodes.CANCEL)
        assert await peer.status() == b"200"
        app.free.set()
        await peer.until(StreamEnded, held)
        # What waited for the window of a stream that is gone waits no longer.
        assert app.left == 3


async def test_a_body_that_comes_behind_its_answer_ends_no_other() -> None:
    app = App()
    async with speaking(app) as peer:
        held = peer.ask("/held")
        early = peer.ask(method="POST", ends=False)
        await peer.until(StreamEnded, early)
        # Far more than the window of a connection that is never told of what came.
        for _ in range(40):
            while peer.h2.local_flow_control_window(early) < 16_000:
                peer.take(await peer.reader.read(65536))
            peer.h2.send_data(early, b"x" * 16_000)
            await peer.flush()
        peer.h2.end_stream(early)
        app.free.set()
        await peer.until(StreamEnded, held)
        assert await peer.status() == b"200"


async def test_priorities_of_streams_that_are_none_end_nothing() -> None:
    async with speaking(App()) as peer:
        for number in range(1100):
            peer.h2.prioritize(2 * number + 1001, weight=1)
        assert await peer.status() == b"200"


@pytest.mark.parametrize(
    "head",
    [
        [(b":method", b"CONNECT"), (b":authority", b"a:1")],
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/\xff")],
    ],
    ids=["tunnel", "path"],
)
async def test_what_cannot_be_served_is_refused_alone(head: Sequence[tuple[bytes, bytes]]) -> None:
    async with speaking(App()) as peer:
        peer.h2.config.validate_outbound_headers = False
        stream = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(stream, head, end_stream=True)
        assert (await peer.until(StreamReset, stream)).error_code == ErrorCodes.REFUSED_STREAM
        assert await peer.status() == b"200"
