"""A transport without a socket, and apps for connections of HTTP/1.1."""

import asyncio
import re
from typing import Any

from trimtab.http1 import Http1, Terms
from trimtab.http1_turn import Turn


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.heard: list[str] = []

    @property
    def out(self) -> bytes:
        """All that was written."""
        return b"".join(self.written)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return "close" in self.heard

    @property
    def ended(self) -> bool:
        """Whether it was told that nothing more is written."""
        return "eof" in self.heard

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.heard.append("eof")

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.heard.append("close")

    def pause_reading(self) -> None:
        self.heard.append("pause")

    def resume_reading(self) -> None:
        self.heard.append("resume")


class Line:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.closing = self.stopping = False
        self.full: asyncio.Future[None] | None = None
        self.written: list[bytes] = []
        self.heard: list[Any] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def hold(self) -> None:
        self.heard.append("hold")

    def go_on(self) -> None:
        self.heard.append("go on")

    def done(self, turn: Turn, *, keep: bool) -> None:
        self.heard.append(keep)


class Server:
    """What a connection is told by its server."""

    def __init__(self) -> None:
        self.stopping = False
        self.heard: list[str] = []

    def rests(self) -> None:
        self.heard.append("rests")

    def works(self) -> None:
        self.heard.append("works")


class Talk:
    """A connection on such a transport, and what its app was asked: it reads each body and answers "ok"."""

    def __init__(self, **terms: Any) -> None:
        self.wire, self.server = Wire(), Server()
        self.scopes: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, bytes]] = []
        """Method, path and body of each request that came whole."""
        self.go = asyncio.Event()
        """Nothing is answered before it is set."""
        self.go.set()
        self.http = Http1(self._app, self.wire, self.server, Terms(**terms))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        self.asked.append((scope["method"], scope["path"], body))
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def say(self, *pieces: bytes) -> "Talk":
        """Have pieces come, each with time to work it off."""
        for piece in pieces:
            self.http.data_received(piece)
            await settled()
        return self

    @property
    def answers(self) -> list[int]:
        """The statuses that were written."""
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", self.wire.out)]


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(200):
        await asyncio.sleep(0)
