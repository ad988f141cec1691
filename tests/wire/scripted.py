"""An upstream that plays a script over a real socket and keeps what it was sent, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

REPLIES = {
    "/messages": (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"ok"}],'
        b'"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":1}}'
    ),
    "/completions": (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,'
        b'"completion_tokens":1,"total_tokens":4}}'
    ),
}

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Sent(NamedTuple):
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.line.split(" ")[1].partition("?")[0]


class Link:
    """One connection as the script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def read(self) -> Sent | None:
        """The next request, None when the connection is closed."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Sent(line, headers, body)

    async def json(self, body: bytes, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> None:
        """Answer in one piece."""
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n"
        await self.raw(head.encode() + body)

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked answer; an empty one ends it."""
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def abort(self) -> None:
        """Break the connection off."""
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the other side has closed the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            return


Script = Callable[[Sent, Link], Awaitable[None]]


async def plain(sent: Sent, link: Link) -> None:
    """Answer each request with a short reply of its dialect."""
    await link.json(next((body for end, body in REPLIES.items() if sent.path.endswith(end)), b"{}"))


class Upstream:
    """The running upstream."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[Sent] = []
        self.links: list[Link] = []
        """The link of each request, in the order of `sent`."""
        self.url = ""
        self._changed = asyncio.Condition()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play the script for each request of a connection."""
        link = Link(reader, writer)
        try:
            while (sent := await link.read()) is not None:
                self.sent.append(sent)
                self.links.append(link)
                async with self._changed:
                    self._changed.notify_all()
                await self.script(sent, link)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def received(self, count: int) -> Sent:
        """Wait for the request number `count` (from 1)."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.sent) >= count)
        return self.sent[count - 1]


@asynccontextmanager
async def playing(script: Script = plain) -> AsyncIterator[Upstream]:
    """The upstream on a free port."""
    upstream = Upstream(script)
    server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
