"""HTTP/1.1 on a connection of hypercorn's: llhttp reads it, and each request is one task of the app's.

Hypercorn reads with h11, which is written in Python, and passes each message through events, a queue and two tasks:
half a millisecond for a request. What h11 refuses is refused here too (tests/proxy/test_http1_reader.py compares them).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
from loguru import logger

from trimtab.blame import where
from trimtab.http1_reader import Asked, Reader
from trimtab.http1_refusals import CUT_SHORT, Refused, refusal
from trimtab.http1_turn import TURN, Turn

LINGER = 2.0
"""Seconds for which what still comes is read and let go: a connection that is reset may lose its answer."""
QUEUE = 64
"""Requests that may wait on one connection for the answers before them."""

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Keeper(Protocol):
    """What a connection tells its server, and asks it."""

    @property
    def stopping(self) -> bool:
        """Whether the server stops."""

    def rests(self) -> None:
        """The connection waits for its next request from now on."""

    def works(self) -> None:
        """It has one."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all requests of a connection."""

    client: tuple[str, int] | None = None
    server: tuple[str, int] | None = None
    scheme: str = "http"
    root: str = ""
    state: dict[str, Any] = {}
    head_limit: int = 64 * 1024
    """Bytes of a head that has not come to its end, and of what stands between the pieces of a chunked body."""
    head_seconds: float = 0.0
    """Seconds in which a head must come; 0 is no limit."""
    most_requests: int = 10**9


class Http1(asyncio.Protocol):
    """Serves the requests of one connection in turn. `over` ends with it, with the bytes that are HTTP/2's if any."""

    def __init__(self, app: App, transport: asyncio.Transport, keeper: Keeper, terms: Terms) -> None:
        self._app, self._transport, self._keeper, self._terms = app, transport, keeper, terms
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[bytes] = self._loop.create_future()
        self._reader = Reader(self)
        self._turn: Turn | None = None
        self._past: Turn | None = None
        """The latest whose answer is complete: its app may still be at work."""
        self._queue: deque[tuple[Turn, dict[str, Any]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._ended = False
        self._words: tuple[Refused, str] | None = None
        self._held = False
        self._requests = 0
        self._timer: asyncio.TimerHandle | None = None
        self._full: asyncio.Future[None] | None = None

    # From the socket.

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        reader = self._reader
        if reader.ended:
            return
        try:
            others = reader.feed(data)
        except Refused as refused:
            self._refuse(refused)
            return
        if others is not None:
            self._ended = True
            self._stop_timer()
            self.over.set_result(others)
        elif reader.odd > self._terms.head_limit:
            self._refuse(Refused(431))
        elif self._timer is not None or reader.in_head:
            self._time_head()

    def eof_received(self) -> bool:
        """The client says nothing more: for agents that means that it has left. What runs may still be written."""
        self._reader.ended = self._reader.last = True
        self._forget()
        if self._turn is None:
            return False
        for turn, _ in self._queue:
            turn.leave()
        self._turn.leave()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody is left to answer."""
        self._ended = True
        self._reader.close()
        self._stop_timer()
        turn, self._turn = self._turn, None
        self._queue.clear()
        self._forget()
        if turn is not None:
            turn.drop()
        self.resume_writing()
        if not self.over.done():
            self.over.set_result(b"")

    def pause_writing(self) -> None:
        """The client does not read as fast as is written."""
        self._full = self._full or self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up: the request waits no longer that came meanwhile."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)
        if self._turn is None and self._queue and not self.closing:
            self._begin(*self._queue.popleft())
        self.go_on()

    # From the reader.

    @property
    def idle(self) -> bool:
        """Whether no request is under way or waits."""
        return self._turn is None and not self._queue

    def ask(self, asked: Asked) -> Turn:
        """Serve a request at once, or in turn. Raises Refused where too many wait."""
        if len(self._queue) >= QUEUE:
            raise Refused(503)
        self._requests += 1
        keep = asked.keep and self._requests < self._terms.most_requests
        turn = Turn(self, asked.method, modern=asked.version == "1.1", keep=keep, wants_word=asked.waits)
        scope = self._scope(asked, turn)
        if self.idle:
            self._keeper.works()
        if self.idle and self._full is None:
            self._begin(turn, scope)
        else:
            # Also while its client does not read: what it asks and does not fetch would fill the memory.
            self._queue.append((turn, scope))
            self.hold()
        return turn

    # To the turns.

    @property
    def closing(self) -> bool:
        """Whether nothing can be written any more."""
        return self._ended or self._transport.is_closing()

    @property
    def stopping(self) -> bool:
        """Whether the connection ends with the answer under way."""
        return self._keeper.stopping

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._transport.write(data)

    @property
    def full(self) -> asyncio.Future[None] | None:
        """What to wait for before more is written."""
        return self._full

    def hold(self) -> None:
        """Read nothing more from the socket for now."""
        if not self._held and not self.closing:
            self._held = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on, unless requests wait for their turn or their client."""
        if self._held and not self._queue and not self.closing:
            self._held = False
            self._transport.resume_reading()

    def done(self, turn: Turn, *, keep: bool) -> None:
        """An answer is complete; `keep` tells whether another request may follow."""
        if turn is not self._turn:
            return
        self._turn, self._past = None, turn
        if not keep or (self._reader.last and not self._queue):
            self._end()
        elif self._queue:
            if self._full is None:
                self._begin(*self._queue.popleft())
        elif self._words is not None:
            self._say(*self._words)
        else:
            self._keeper.rests()
            self._time_head()
        self.go_on()

    # From the server.

    def close(self) -> None:
        """End the connection once what is written has left."""
        self._reader.ended = True
        self._transport.close()

    async def finished(self, *, cancel: bool = False) -> None:
        """Wait for what is under way: the app may do more behind the end of its answer."""
        if cancel:
            for task in self._running:
                task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    # Inside.

    def _time_head(self) -> None:
        """Start the time of a head that has begun and is not whole, or end it."""
        if not self._reader.in_head or not self.idle or self._reader.ended:
            self._stop_timer()
        elif self._timer is None and self._terms.head_seconds:
            self._timer = self._loop.call_later(self._terms.head_seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        self._refuse(Refused(408))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _scope(self, asked: Asked, turn: Turn) -> dict[str, Any]:
        terms = self._terms
        path, _, query = asked.target.partition(b"?")
        plain = path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": asked.version,
            "method": asked.method,
            "scheme": terms.scheme,
            "path": unquote(plain) if "%" in plain else plain,
            "raw_path": path,
            "query_string": query,
            "root_path": terms.root,
            "headers": asked.fields,
            "client": terms.client,
            "server": terms.server,
            "state": terms.state.copy(),
            "extensions": {TURN: turn},
        }

    def _begin(self, turn: Turn, scope: dict[str, Any]) -> None:
        self._turn = turn
        task = self._loop.create_task(self._serve(turn, scope))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, turn: Turn, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, turn.receive, turn.send)
        except Exception as error:
            # Whatever the app did, the connection must end its turn; the app has told the client what it could.
            logger.error("a request failed: {}", where(error))
            logger.opt(exception=error).debug("a request failed")
        finally:
            if not turn.ended:
                self._fail(turn)

    def _fail(self, turn: Turn) -> None:
        """The app has left its answer undone."""
        gone = turn.left
        turn.drop()
        if turn is self._turn:
            self._turn = None
            if turn.began or (gone and turn.whole):
                self._end()
            else:
                self._say(Refused(400, CUT_SHORT) if gone else Refused(500), turn.method)

    def _refuse(self, refused: Refused) -> None:
        """Nothing more can be read; what was asked before is answered first."""
        self._reader.ended = True
        self._stop_timer()
        broken, self._reader.coming = self._reader.coming, None
        # What it was raised from leads to this connection, which would then wait for the garbage collector.
        refused.__traceback__ = refused.__context__ = None
        self._words = refused, self._reader.method
        if broken is not None and broken is self._turn:
            self._turn = None
            broken.drop()
            if broken.began:
                self._end()
                return
        elif broken is not None:
            self._queue = deque(waiting for waiting in self._queue if waiting[0] is not broken)
        if self.idle:
            self._say(*self._words)

    def _forget(self) -> None:
        """Tell the app of the latest answer that its client is gone: what it does behind the answer is for nobody."""
        past, self._past = self._past, None
        if past is not None:
            past.leave()

    def _say(self, refused: Refused, method: str) -> None:
        if not self.closing:
            self._transport.write(refusal(refused, bodiless=method == "HEAD"))
        self._end(read=False)

    def _end(self, *, read: bool = True) -> None:
        """End the connection behind what was written."""
        unread = not read or self._reader.coming is not None or self._reader.in_head
        self._ended = self._reader.ended = True
        self._queue.clear()
        if self._transport.is_closing():
            return
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:
            # Its client was faster.
            self._transport.close()
            return
        if self._held:
            self._held = False
            self._transport.resume_reading()
        self._stop_timer()
        self._timer = self._loop.call_later(LINGER, self._transport.close)
