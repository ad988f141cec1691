"""A request over aiohttp's connections without its session around it.

For each request the session looks for cookies, redirects, traces and middlewares, makes objects of the request and its
body, and starts a task that writes it: 0.29 ms, where this takes 0.13. The pool, TLS and the parser are aiohttp's, and
what goes through a proxy is left to the session.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from yarl import URL

from trimtab import trust

with trust.later():
    import aiohttp
    from aiohttp.http import RawResponseMessage

BUFFER = 64 * 1024
"""Bytes read ahead of a slow client: the one buffer that a stream may fill."""
JOINED = 64 * 1024
"""Bytes of a body that leaves in one piece with its head; a larger one is not copied for that."""


class Way(NamedTuple):
    """How an address is reached."""

    request: aiohttp.ClientRequest
    """What names the connections that lead there."""
    first: str
    """The first lines of a request."""


def way(method: str, url: URL) -> Way | None:
    """How `url` is reached; None where that is no plain address, or holds a name and a password."""
    if url.scheme not in ("http", "https") or not url.raw_host or url.raw_user or url.raw_password:
        return None
    request = aiohttp.ClientRequest(method, url, loop=asyncio.get_running_loop())
    return Way(request, f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {request.headers['Host']}\r\n")


class Straight:
    """An answer. Its connection goes back to the pool at the end of the body."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, connection: aiohttp.connector.Connection, head: RawResponseMessage, body: aiohttp.StreamReader
    ) -> None:
        self._connection = connection
        self.status: int = head.code
        self.headers: Mapping[str, str] = head.headers
        self.content = body
        # Of the connection alone, so that a body that is left in the middle is no work for the garbage collector.
        body.on_eof(partial(_give_back, connection))

    def release(self) -> None:
        """It has gone back."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _give_back(connection: aiohttp.connector.Connection) -> None:
    """Let another request have a connection, unless its upstream answered before it had read all that was sent."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        connection.close()
    else:
        connection.release()


async def ask(
    connector: aiohttp.BaseConnector, way: Way, headers: Mapping[str, str], body: bytes, limits: aiohttp.ClientTimeout
) -> Straight:
    """Send a request and wait for the head of its answer. Cancelling it closes the connection.

    Raises aiohttp.ClientError, its HttpProcessingError, and OSError (TimeoutError where the connection did not open in
    time), and ValueError for a header that would be two.
    """
    head = _head(way.first, headers, len(body))
    connection = await connector.connect(way.request, traces=[], timeout=limits)
    try:
        return Straight(connection, *await _answer(connection, head, body))
    except BaseException:
        # Cancelled too: a request that was begun leaves a connection that nobody can use.
        connection.close()
        raise


async def _answer(
    connection: aiohttp.connector.Connection, head: bytes, body: bytes
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None:
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=True, read_bufsize=BUFFER)
    if len(body) <= JOINED:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)
    while True:
        message, content = await protocol.read()
        # What is said before the answer itself is of no use here.
        if not 100 <= message.code < 200 or message.code == 101:
            return message, content


def _head(first: str, headers: Mapping[str, str], size: int) -> bytes:
    """The lines of a head. Raises ValueError where one would end early: what stands behind would be a header too."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not (lines.count("\n") == lines.count("\r") == len(headers)) or "\0" in lines:
        raise ValueError("a header for an upstream holds a line break or NUL")
    return f"{first}{lines}content-length: {size}\r\n\r\n".encode()
