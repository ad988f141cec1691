"""Hypercorn's connections, with ends of our own: slow and large heads get an answer, clients that left leave nothing.

Hypercorn 0.18 keeps the socket of a client that closed an idle connection until the keep-alive time is over, waits as
long for a head that comes byte by byte, and answers bad heads with an empty body.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any, ClassVar

import h11
from hypercorn import protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
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
        try:
            await super().run()
        finally:
            self.live.discard(self)

    async def _idle_timeout(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.context.terminated.wait(), self.config.keep_alive_timeout)
        if self.context.terminated.is_set():
            # A request that is on its way now is told to go elsewhere; a closed connection would tell it nothing.
            await asyncio.sleep(LINGER)
        await asyncio.shield(self._initiate_server_close())

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
run.TCPServer = EndingServer  # type: ignore[attr-defined]
protocol.H11Protocol = Http  # type: ignore[attr-defined]
