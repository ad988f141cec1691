"""One request over HTTP/1.1 and its answer: what an ASGI app receives and sends, without tasks or queues between."""

import asyncio
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Protocol

Message = MutableMapping[str, Any]

TURN = "trimtab.turn"
"""The extension of an ASGI scope that is the request's turn: what is there already need not be waited for."""
WAKE = 256 * 1024
"""Bytes of a body that are gathered before the app hears of them, unless the body ends before: each time costs a turn
of the loop."""
MOST = 1024 * 1024
"""Bytes of a body that wait for the app at most; then nothing more is read from the socket."""
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
OURS = frozenset({b"connection", b"transfer-encoding"})
"""Headers that a connection writes itself; ASGI has their names in lower case."""
BODILESS = frozenset({204, 304})
"""Statuses whose answers have no body (RFC 9110 6.4.1)."""


class Line(Protocol):
    """What a turn needs of its connection."""

    @property
    def closing(self) -> bool:
        """Whether nothing can be written any more."""

    @property
    def stopping(self) -> bool:
        """Whether the server stops, so that the connection ends with this answer."""

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""

    @property
    def full(self) -> asyncio.Future[None] | None:
        """What to wait for before more is written: the client takes its time."""

    def hold(self) -> None:
        """Read nothing more from the socket for now."""

    def go_on(self) -> None:
        """Read on."""

    def done(self, turn: "Turn", *, keep: bool) -> None:
        """The answer is complete; `keep` tells whether another request may follow."""


class Turn:
    """One request and its answer."""

    __slots__ = (
        "_answer",
        "_chunked",
        "_gone",
        "_head",
        "_keep",
        "_left",
        "_line",
        "_modern",
        "_pieces",
        "_size",
        "_taken",
        "_told",
        "_waiter",
        "_wants_word",
        "began",
        "ended",
        "left",
        "method",
        "task",
        "whole",
    )

    def __init__(self, line: Line, method: str, *, modern: bool, keep: bool, wants_word: bool) -> None:
        """`modern` is HTTP/1.1, `keep` whether the client lets the connection live on, `wants_word` whether it waits
        for a 100 before it sends its body."""
        self._line = line
        self.method = method
        self._modern = modern
        self._keep = keep
        self._wants_word = wants_word
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._gone: Callable[[], None] | None = None
        self._head = b""
        self._answer = 0
        self._chunked = False
        self._left: int | None = None
        self._taken = False
        self._told = False
        self.task: asyncio.Task[None] | None = None
        self.whole = False
        """Whether the request has come to its end."""
        self.left = False
        """Whether its client has left."""
        self.began = False
        """Whether a byte of the answer has been written."""
        self.ended = False
        """Whether the answer is complete, or can never be."""

    # The client's side.

    def add(self, data: bytes) -> None:
        """A piece of the body has come."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= WAKE:
            self._wake()
            if self._size >= MOST:
                self._line.hold()

    def complete(self) -> None:
        """The body has come whole."""
        self.whole = True
        self._wants_word = False
        self._wake()

    def leave(self) -> None:
        """The client has left."""
        self.left = True
        self._wake()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def drop(self) -> None:
        """What the app says from here on reaches nobody."""
        self.ended = True
        self.leave()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The app's side.

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call `gone` once when the client leaves: a task that waits for that costs 30 us for each request."""
        self._gone = gone
        if self.left and gone is not None:
            self.leave()

    async def receive(self) -> Message:
        """The ASGI messages of the request: its body, then that its client has left or its answer is complete."""
        if not self._taken:
            if not self.whole and not self._size and not self.left:
                self._say_go_on()
                await self._wait()
            if self.whole or (self._pieces and not self.left):
                return {"type": "http.request", "body": self.take(), "more_body": not self.whole}
        else:
            while not self.left and not self.ended:
                await self._wait()
        return {"type": "http.disconnect"}

    def take(self) -> bytes:
        """What has come of the body since it was last taken."""
        pieces, self._pieces = self._pieces, []
        if self._size >= MOST:
            self._line.go_on()
        self._size, self._taken = 0, self.whole
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _say_go_on(self) -> None:
        if self._wants_word:
            self._wants_word = False
            self._line.write(STATUS_LINES[100] + b"\r\n\r\n")

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, message: Message) -> None:
        """Take an ASGI message of the answer; a head leaves with what stands behind it, in one write.

        ASGI lets a server wait so: a response begins with its first body message. What is sent behind the end of the
        connection is let go. Raises ValueError for an answer that would not be HTTP.
        """
        if self.ended or self._line.closing:
            return
        kind = message["type"]
        if kind == "http.response.body" and self._answer:
            self._body(message.get("body", b""), more=message.get("more_body", False))
            if (full := self._line.full) is not None:
                # Several may wait for it, and one of them may be cancelled.
                await asyncio.shield(full)
        elif kind == "http.response.start" and not self._answer:
            self._start(int(message["status"]), message.get("headers", ()))
        else:
            raise ValueError(f"{kind} has no place here")

    def _start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        kept = [*fields]
        told = dict(kept)
        if not told.keys().isdisjoint(OURS):
            self._keep &= told.get(b"connection", b"").strip().lower() != b"close"
            kept = [field for field in kept if field[0] not in OURS]
        head = _head(STATUS_LINES.get(status) or b"HTTP/1.1 %d " % status, kept)
        # Behind a final status a 100 would be read as the beginning of its body, or of the next answer.
        self._wants_word = False
        own = told.get(b"content-length")
        self._left = 0 if self.method == "HEAD" or status in BODILESS else None if own is None else int(own)
        if self._left is None:
            self._chunked = self._modern
            self._keep &= self._modern
            if self._modern:
                head += b"transfer-encoding: chunked\r\n"
        self._keep &= not self._line.stopping
        if not self._keep:
            head += b"connection: close\r\n"
        elif not self._modern:
            head += b"connection: keep-alive\r\n"
        self._head, self._answer = head + b"\r\n", status

    def _body(self, data: bytes, *, more: bool) -> None:
        if self._left is not None:
            data = self._counted(data, more=more)
        out = data
        if self._chunked:
            out = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not more:
                out += b"0\r\n\r\n"
        if out or not more:
            head, self._head = self._head, b""
            self.began = True
            if head or out:
                self._line.write(head + out)
        if not more:
            self.ended = True
            self._wake()
            self._line.done(self, keep=self._keep and self.whole)

    def _counted(self, data: bytes, *, more: bool) -> bytes:
        """A piece within the length that the head told; an answer that has no body sends none."""
        if self.method == "HEAD" or self._answer in BODILESS:
            return b""
        self._left = (self._left or 0) - len(data)
        if self._left < 0 or (self._left and not more):
            raise ValueError("the body is not as long as its content-length says")
        return data


def _head(first: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    """The lines of a head. Raises ValueError where one would end early: what stands behind would be a header too."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    if not (lines.count(b"\n") == lines.count(b"\r") == len(fields)) or b"\0" in lines:
        raise ValueError("a header of the answer holds a line break or NUL")
    return b"%b\r\n%b" % (first, lines)
