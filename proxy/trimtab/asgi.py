"""The edge of ASGI: reading a body within its limit, and writing an answer that may turn out to be an error."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any

from trimtab import headers
from trimtab.dialects.base import Dialect
from trimtab.errors import BadRequest, Cause, ProxyError
from trimtab.http1_turn import TURN, Turn
from trimtab.watch import ClientGone

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def turn_of(scope: Scope) -> Turn | None:
    """The turn of a request that came over our own HTTP/1.1."""
    turn: Turn | None = (scope.get("extensions") or {}).get(TURN)
    return turn


PER_TIME = 8 * 1024 * 1024
"""Bytes of a body that a time limit is for."""
APART = 4 * 1024 * 1024
"""Bytes from which the pieces of a body are joined in a thread."""


async def read_body(
    receive: Receive,
    limit: int,
    declared: str = "",
    *,
    take: Callable[[int], None] = lambda size: None,
    seconds: float = 0.0,
    turn: Turn | None = None,
) -> bytes:
    """The request's body; `take` is told the size of each piece before the next is read.

    Raises BadRequest (413) as soon as it passes `limit` bytes, BadRequest (408) when it does not come within `seconds`
    (0 is no limit) and as many again for every 8 MB of it, and ClientGone when it breaks off. A body that came with its
    head, as small ones do, is taken from its `turn`: no time is to be measured.
    """
    if _declares_more(declared, limit):
        raise _too_large(limit)
    if turn is not None and turn.whole:
        body = turn.take()
        if len(body) > limit:
            raise _too_large(limit)
        take(len(body))
        return body
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(seconds or None) as guard:
            return await _pieces(receive, limit, take, lambda size: extend(guard, begun, seconds, size))
    except TimeoutError:
        told = f"the body did not come within {seconds:g} s, and as many again for every 8 MB: send it faster"
        fields = {"connection": "close"}
        raise BadRequest(f"{told}, or raise serve.body-timeout", cause=Cause.SLOW, headers=fields) from None


def extend(guard: asyncio.Timeout, begun: float, seconds: float, size: int) -> None:
    """Move the end of a body's time, by its size so far."""
    if seconds and size >= PER_TIME:
        guard.reschedule(begun + seconds * (1 + size // PER_TIME))


async def _pieces(receive: Receive, limit: int, take: Callable[[int], None], extend: Callable[[int], None]) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        take(len(chunk))
        extend(size)
        chunks.append(chunk)
        if not message.get("more_body", False):
            if len(chunks) == 1:
                return bytes(chunks[0])
            # To join does not need the interpreter; to find the memory takes a ms for each MB.
            return b"".join(chunks) if size < APART else await asyncio.to_thread(b"".join, chunks)


def _declares_more(declared: str, limit: int) -> bool:
    """Whether a content-length says more than `limit`; one that is no number says nothing."""
    digits = declared.lstrip("0")
    return digits.isdecimal() and (len(digits) > len(str(limit)) or int(digits) > limit)


def _too_large(limit: int) -> BadRequest:
    return BadRequest(
        f"the body is larger than {limit // (1024 * 1024)} MB: send less, or raise serve.max-request-mb",
        cause=Cause.TOO_LARGE,
    )


class Writer:
    """One answer on its way out; knows whether it has begun and when."""

    def __init__(self, send: Send, request_id: str, *, show_id: bool = True) -> None:
        self._send = send
        self.request_id = request_id
        self.base = {"x-request-id": request_id} if show_id else {}
        self.status: int | None = None
        self.began: float | None = None
        self.ended = False

    async def start(self, status: int, fields: Mapping[str, str]) -> None:
        """Send the head of the answer."""
        encoded = headers.encode({**self.base, **fields})
        self.status, self.began = status, perf_counter()
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body; it comes back when the server has room for more."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last piece of the body."""
        self.ended = True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    def break_off(self) -> None:
        """Leave the body without its end: the server then closes the connection, as ASGI wants it."""
        self.ended = True

    async def whole(self, status: int, fields: Mapping[str, str], body: bytes, *, head: bool = False) -> None:
        """Send an answer in one piece; `head` leaves the body out, for a HEAD request."""
        await self.start(status, {**fields, "content-length": str(len(body))})
        await self.end(b"" if head else body)

    async def fail(self, error: ProxyError, dialect: Dialect, fields: Mapping[str, str] | None = None) -> None:
        """Tell the client of a failure: as an answer, or as the dialect's event where an answer has begun."""
        if self.ended:
            return
        if self.status is not None:
            await self.end(dialect.error_frame(error, self.request_id))
            return
        rendered = dialect.error(error, self.request_id)
        await self.whole(rendered.status, {**(fields or {}), **rendered.headers}, rendered.body)
