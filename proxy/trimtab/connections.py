"""Hypercorn's connections: HTTP/2 by `http2`, HTTP/1.1 by `http1`, and ends of our own.

Hypercorn 0.18 keeps the socket of a client that closed an idle connection until the keep-alive time is over.
"""

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

from hypercorn import protocol
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.utils import parse_socket_addr

from trimtab.http1 import Http1, Terms
from trimtab.http2 import Http2


class Settings(Config):
    """Hypercorn's settings, and ours."""

    head_timeout: float = 0.0
    """Seconds in which a request's head must come; 0 is no limit."""


LINGER = 0.5
"""Seconds for which a connection without a request stays open when the server stops."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first that knows HTTP/2 to be spoken here (RFC 9113 3.4)."""
FIRST = 16 * 1024 * 1024
"""Bytes that the first read takes: more than asyncio's reader holds, so that nothing is left in it."""


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
        self.begin()

    async def stop(self) -> None:
        """It waits no longer."""
        self.pause()

    def begin(self) -> None:
        """The same without an await."""
        self._since = self._loop.time()
        # Where the server began to stop during a request, the first one is over.
        if self._stopping is None or self._stopping.done():
            self._stopping = self._loop.create_task(self._wait())
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._server.config.keep_alive_timeout, self._look)

    def pause(self) -> None:
        """The same without an await."""
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
    config: Settings
    _http1: Http1 | None = None
    _idle: Idle | None = None

    async def run(self) -> None:
        """Serve until the connection ends."""
        self.live.add(self)
        self._idle = idle = Idle(self)
        self.idle_task = idle  # type: ignore[assignment]  # it has the two methods that hypercorn calls
        try:
            idle.begin()
            if await self._speaks_http2():
                await super().run()
        finally:
            idle.end()
            self.live.discard(self)
            # These refer to the connection: of many short ones the collector's rounds took 100 ms.
            self.idle_task = self.protocol = OVER  # type: ignore[assignment]  # it has what is still called
            self._http1 = self._idle = None

    async def _speaks_http2(self) -> bool:
        """Serve HTTP/1.1; whether the rest is HTTP/2, for hypercorn."""
        ssl = self.writer.get_extra_info("ssl_object")
        if ssl is not None and ssl.selected_alpn_protocol() == "h2":
            return True
        first = await self._first()
        if first.startswith(PREFACE[:16]):
            self.reader.feed_data(first)
            return True
        rest = await self._speak_http1(first) if first else b""
        if rest:
            self.reader.feed_data(rest)
        else:
            self.writer.close()
        return bool(rest)

    async def _first(self) -> bytes:
        """The first bytes, enough to tell the protocol by them; none where they do not come in time."""
        data = b""
        try:
            async with asyncio.timeout(self.config.head_timeout or None):
                while PREFACE.startswith(data) and not self.reader.at_eof():
                    data += await self.reader.read(FIRST)
        except (OSError, TimeoutError):
            return b""
        return data

    async def _speak_http1(self, first: bytes) -> bytes:
        transport: Any = self.writer.transport
        former = transport.get_protocol()
        http = self._http1 = Http1(self._ask, transport, self, self._terms())
        transport.set_protocol(http)
        http.data_received(first)
        if self.reader.at_eof():
            http.eof_received()
        try:
            rest = await http.over
            await http.finished()
        except asyncio.CancelledError:
            transport.abort()
            await http.finished(cancel=True)
            raise
        self._http1 = None
        if rest:
            transport.set_protocol(former)
        else:
            # What asyncio keeps for the connection goes now, not by a round of the garbage collector.
            former.connection_lost(None)
        return rest

    def _terms(self) -> Terms:
        socket, config = self.writer.get_extra_info("socket"), self.config
        return Terms(
            client=parse_socket_addr(socket.family, socket.getpeername()),
            server=parse_socket_addr(socket.family, socket.getsockname()),
            scheme="http" if self.writer.get_extra_info("ssl_object") is None else "https",
            root=config.root_path,
            state=self.state,
            head_limit=config.h11_max_incomplete_size,
            head_seconds=config.head_timeout,
            most_requests=config.keep_alive_max_requests,
        )

    async def _ask(self, scope: Any, receive: Any, send: Any) -> None:
        # The last two are for apps of WSGI.
        await self.app(scope, receive, send, _none, _none)

    @property
    def stopping(self) -> bool:
        """Whether the server stops."""
        return self.context.terminated.is_set()

    def rests(self) -> None:
        """The connection waits for its next request."""
        if self._idle is not None:
            self._idle.begin()

    def works(self) -> None:
        """It has one."""
        if self._idle is not None:
            self._idle.pause()

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
        if self._http1 is not None:
            self._http1.close()
        elif hasattr(self, "protocol"):
            await self._initiate_server_close()
        else:
            self.writer.close()

    async def _read_data(self) -> None:
        try:
            while not self.reader.at_eof():
                try:
                    data = await self.reader.read(MAX_RECV)
                except OSError:
                    break
                await self.protocol.handle(RawData(data))
            await self.protocol.handle(Closed())
        finally:
            await self.idle_task.stop()


def _none(*arguments: Any) -> Any:
    raise NotImplementedError


def abort(config: Config) -> int:
    """Break off what is left of a server's connections; returns how many there were."""
    left = [server for server in EndingServer.live if server.config is config]
    for server in left:
        server.writer.transport.abort()
    return len(left)


# Names of modules, replaced on purpose: hypercorn offers no other way.
run.TCPServer = EndingServer  # type: ignore[attr-defined]  # hypercorn does not export it
protocol.H2Protocol = Http2  # type: ignore[attr-defined]  # nor this one
