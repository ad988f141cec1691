"""Hypercorn's connections, with ends of our own: slow and large heads get an answer, clients that left leave nothing.

Hypercorn 0.18 keeps the socket of a client that closed an idle connection until the keep-alive time is over, waits as
long for a head that comes byte by byte, and answers bad heads with an empty body.
"""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any, ClassVar

import h11
from hypercorn import protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.h11 import H11Protocol


class Settings(Config):
    """Hypercorn's settings, and ours."""

    head_timeout: float = 0.0
    """Seconds in which a request's head must come; 0 is no limit."""


LINGER = 0.5
"""Seconds for which a connection without a request stays open when the server stops."""

WORDS = {
    400: "this is no HTTP/1.1 request",
    408: "the head of the request did not come in time: send it at once, or raise serve.head-timeout",
    431: "the headers are larger than serve.max-header-kb allows: send less, or raise it",
}


TWO_LENGTHS = "the head gives both content-length and transfer-encoding: send one of them"


def told(status: int, words: str | None = None) -> bytes:
    """The body of an error that comes before a path is known: one that clients of every dialect can read."""
    error = {
        "type": "invalid_request_error",
        "message": words or WORDS.get(status, WORDS[400]),
        "param": None,
        "code": None,
    }
    return json.dumps({"type": "error", "error": error}).encode()


_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
MOST_NAMES = 1_000


class Http(H11Protocol):
    """Hypercorn's HTTP/1.1, with errors that say something."""

    asked: bytes = b""
    """The method of the latest request."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.asked = request.method
        fields = dict(request.headers)
        if b"content-length" in fields and b"transfer-encoding" in fields:
            # Who stands before us may have read the other one (RFC 9112 6.3): nothing more is read from here.
            await self._send_error_response(400, TWO_LENGTHS)
            await self.send(Closed())
            return
        if fields.get(b"upgrade", b"").strip().lower() == b"websocket":
            # There are none here, and an upgrade may be ignored (RFC 9110 7.8): it is a request like others.
            kept = [(name, value) for name, value in request.headers if name != b"upgrade"]
            request = h11.Request(
                method=request.method, target=request.target, headers=kept, http_version=request.http_version
            )
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int, words: str | None = None) -> None:
        body = told(status_code, words)
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=fields))
        if self.asked != b"HEAD" or self.waits_for_head:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    _head = b""
    _chunked = False
    _names: ClassVar[set[bytes]] = set()
    """Names of headers that h11 has found good."""

    async def stream_send(self, event: Any) -> None:
        """Pass what a stream says to the client; a head goes out with what stands behind it, in one write.

        ASGI lets a server wait so: a response begins with its first body message.
        """
        if isinstance(event, Body):
            # h11 keeps no state over chunks, so that they need not pass it (22 calls for each).
            data = b"%x\r\n%b\r\n" % (len(event.data), event.data) if self._chunked else self._body(event.data)
            if data is not None:
                await self._write(data)
        elif isinstance(event, Response) and event.status_code >= 200:
            self._head = self._bytes(self._response(event)) or b""
            self._chunked = b"\r\ntransfer-encoding: chunked\r\n" in self._head.lower()
        elif isinstance(event, EndBody):
            data = self._bytes(h11.EndOfMessage())
            if data or self._head:
                await self._write(data or b"")
        else:
            await super().stream_send(event)

    def _response(self, event: Response) -> h11.Response:
        fields = [*event.headers, *self.config.response_headers("h11")]
        if self.keep_alive_requests >= self.config.keep_alive_max_requests:
            fields.append((b"connection", b"close"))
        names = {name for name, _ in fields}
        # One look at all values takes the place of two expressions for each header.
        known = names <= self._names and not _CONTROL.search(b"".join([value for _, value in fields]))
        response = h11.Response(headers=fields, status_code=event.status_code, _parsed=known)
        if len(self._names) < MOST_NAMES:
            self._names.update(names)
        return response

    def _body(self, data: bytes) -> bytes | None:
        return self._bytes(h11.Data(data=data))

    def _bytes(self, event: Any) -> bytes | None:
        """An event as bytes; None where the client has already broken the connection's rules."""
        try:
            return self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return None

    async def _write(self, data: bytes) -> None:
        head, self._head = self._head, b""
        await self.send(RawData(data=head + data))

    @property
    def waits_for_head(self) -> bool:
        """Whether the next request has not told its whole head yet."""
        return self.connection.our_state is h11.IDLE

    @property
    def begun(self) -> bool:
        """Whether a part of it has come."""
        return bool(self.connection.trailing_data[0])

    async def too_slow(self) -> None:
        """Say so to a client that began a head, and close."""
        if self.begun:
            await self._send_error_response(408)
        await self.send(Closed())


class Idle:
    """The time that a connection may wait for its next request: one timer and one task for all of its requests.

    Hypercorn makes a task for each pause and takes it back at the next request.
    """

    def __init__(self, server: "EndingServer") -> None:
        self._server = server
        self._loop = server.loop
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def restart(self, group: Any, action: Any) -> None:
        """The connection waits from now on."""
        self._since = self._loop.time()
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._wait())
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._server.config.keep_alive_timeout, self._look)

    async def stop(self) -> None:
        """It waits no longer."""
        self._since = None

    def end(self) -> None:
        """The connection is over; what it leaves goes at once, not by a round of the garbage collector."""
        self._since = None
        for each in (self._timer, self._stopping):
            if each is not None:
                each.cancel()
        self._timer = self._stopping = None

    def _look(self) -> None:
        # One that comes too early costs less than one that is moved with every request.
        self._timer = None
        if self._since is None:
            return
        due = self._since + self._server.config.keep_alive_timeout
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        else:
            self._ending = self._loop.create_task(self._close())

    async def _wait(self) -> None:
        await self._server.context.terminated.wait()
        # A request that is on its way now is told to go elsewhere; a closed connection would tell it nothing.
        await asyncio.sleep(LINGER)
        if self._since is not None:
            await self._close()

    async def _close(self) -> None:
        with suppress(OSError):
            await self._server.close_idle()


class _Over:
    """What stands in the place of a connection's parts behind its end."""

    protocol = None

    async def handle(self, event: Any) -> None:
        """Nothing is left that would hear it."""

    async def restart(self, group: Any, action: Any) -> None:
        """Nothing is waited for."""

    async def stop(self) -> None:
        """Nothing was."""


OVER = _Over()


class EndingServer(TCPServer):
    """Hypercorn's connection, gone when its client is, or when a head takes too long.

    The time of a head runs from the connection's start for its first request, from the first bytes for later ones:
    between requests an agent may think for as long as the keep-alive time.
    """

    live: ClassVar[set["EndingServer"]] = set()
    _due: asyncio.TimerHandle | None = None
    _ending: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until the connection ends."""
        self.live.add(self)
        idle = Idle(self)
        self.idle_task = idle  # type: ignore[assignment]  # it has the two methods that hypercorn calls
        try:
            await super().run()
        finally:
            idle.end()
            self.live.discard(self)
            # These refer to the connection: of many short ones the collector's rounds took 100 ms.
            self.idle_task = self.protocol = OVER  # type: ignore[assignment]  # it has what is still called

    async def protocol_send(self, event: Any) -> None:
        """Write at once where nobody else is writing and the socket takes it; else wait in line, as hypercorn does."""
        writer = self.writer
        if not isinstance(event, RawData) or self.send_lock.locked() or writer.transport.is_closing():
            await super().protocol_send(event)
            return
        try:
            writer.write(event.data)
        except (ConnectionError, RuntimeError):
            await self.protocol.handle(Closed())
            return
        if writer.transport.get_write_buffer_size():
            await super().protocol_send(RawData(data=b""))

    async def close_idle(self) -> None:
        """Close a connection on which no request is under way."""
        await self._initiate_server_close()

    async def _read_data(self) -> None:
        self._watch(fresh=True)
        try:
            while not self.reader.at_eof():
                try:
                    data = await self.reader.read(MAX_RECV)
                except OSError:
                    break
                await self.protocol.handle(RawData(data))
                self._watch()
            await self.protocol.handle(Closed())
        finally:
            self._rest()
            await self.idle_task.stop()

    def _watch(self, *, fresh: bool = False) -> None:
        """Start, keep or end the time that a head has."""
        http: Any = self.protocol.protocol
        seconds = getattr(self.config, "head_timeout", 0.0)
        if not seconds or not isinstance(http, Http):
            return
        if http.waits_for_head and (fresh or http.begun):
            self._due = self._due or self.loop.call_later(seconds, self._late)
        else:
            self._rest()

    def _rest(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        http: Any = self.protocol.protocol
        if isinstance(http, Http) and http.waits_for_head:
            self._ending = self.loop.create_task(self._end(http))

    async def _end(self, http: Http) -> None:
        with suppress(OSError):
            await http.too_slow()


def abort(config: Config) -> int:
    """Break off what is left of a server's connections; returns how many there were."""
    left = [server for server in EndingServer.live if server.config is config]
    for server in left:
        server.writer.transport.abort()
    return len(left)


# Names of modules, replaced on purpose: hypercorn offers no other way.
run.TCPServer = EndingServer  # type: ignore[attr-defined]  # hypercorn exports neither
protocol.H11Protocol = Http  # type: ignore[attr-defined]  # hypercorn exports neither
