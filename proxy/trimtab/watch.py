"""Watches one exchange from beside: ends its work when the client leaves or the upstream stays silent too long."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from trimtab.errors import TIMED_OUT, UpstreamTimeout

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


STALLED = 600.0
"""Seconds that a client may take to read what is written to it; then it is taken for gone."""


class ClientGone(Exception):
    """The client closed its connection; nobody is left to answer."""


class Watch:
    """Interrupts the task that enters it, by cancelling its current await, and raises the reason at the end.

    A timer looks now and then whether the upstream gave a sign of life (`touch`); nothing is done per chunk. While
    it is silent, `ping` is called: first after `first_ping` seconds, then every `interval`. While it watches it
    stands in `among`, so that a proxy that stops can end what is still under way.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        first_ping: float,
        interval: float,
        ping: Callable[[], Awaitable[None]] | None = None,
        among: "set[Watch] | None" = None,
        left: "Callable[[Callable[[], None] | None], None] | None" = None,
    ) -> None:
        """`left` is given what to call when the client leaves, and None at the end; without it a task waits for what
        `receive` says of that."""
        self._among: set[Watch] = set() if among is None else among
        self._receive, self._when_left = receive, left
        self._first_byte = self._silence = math.inf
        # No seconds mean no pings; a timer that is always due would never let go of the loop.
        self._first_ping, self._interval = first_ping or math.inf, interval or math.inf
        self._ping = ping
        self._pinging: asyncio.Task[None] | None = None
        self._reason: Exception | None = None
        self._left = False
        self._alive = False
        self._held = False
        self._quiet = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._entered = self._last = self._asked = self._loop.time()
        self._pinged: float | None = None
        self._wrote: float | None = None
        self._listener: asyncio.Task[None] | None = None
        if self._when_left is None:
            self._listener = self._loop.create_task(self._listen())
        else:
            self._when_left(self._gone)
        self._timer: asyncio.TimerHandle | None = None
        self._when = math.inf
        if self._ping is not None:
            self._look()
        self._among.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._among.discard(self)
        if self._when_left is not None:
            self._when_left(None)
        for each in (self._timer, self._listener, self._pinging):
            if each is not None:
                each.cancel()
        # These refer to the watch: kept, each exchange would be work for the garbage collector.
        self._timer = self._listener = self._pinging = None
        self._task = None
        await self._take_back(kind)

    async def _take_back(self, kind: type[BaseException] | None) -> None:
        """Turn a cancellation of the task by ourselves, which ended in an exception of `kind`, into its reason."""
        reason, self._reason = self._reason, None
        if reason is None:
            return
        task = asyncio.current_task()
        # Somebody else's cancellation stands beside ours: it outweighs the reason, and goes on.
        others = task is not None and task.uncancel() > self._cancelling
        if kind is not asyncio.CancelledError:
            # The work was over when the interruption came: take it out of the task, or the next await would meet it.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                if others or (task is not None and task.cancelling() > self._cancelling):
                    raise
        elif not others:
            try:
                raise reason from None
            finally:
                # Its traceback leads here: it would be work for the garbage collector, with all the frames behind it.
                del reason

    def patience(self, first_byte: float, silence: float) -> "Patience":
        """One attempt, with the limits of `expect`. Its end raises UpstreamTimeout beyond them; another may follow."""
        return Patience(self, first_byte, silence)

    async def relax(self, kind: type[BaseException] | None) -> None:
        """An attempt that ended in an exception of `kind` is over, and its limits with it. Raises UpstreamTimeout."""
        self.expect(math.inf, math.inf)
        if isinstance(self._reason, UpstreamTimeout):
            try:
                await self._take_back(kind)
            finally:
                if self._left:
                    self._end(ClientGone())

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Nothing is written meanwhile: a request in a queue may still be refused with a status."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False
            self._look()

    def expect(self, first_byte: float, silence: float) -> None:
        """The upstream is asked now: `first_byte` seconds to begin, then `silence` from one piece to the next."""
        self._first_byte, self._silence = first_byte, silence
        self._last = self._asked = self._loop.time()
        self._alive = False
        self._look()

    def _look(self) -> None:
        """Have the timer look when something may be due. One that comes too early costs less than one that is moved."""
        due = self._due()
        if due < self._when:
            if self._timer is not None:
                self._timer.cancel()
            self._when = due
            self._timer = self._loop.call_at(due, self._tick)

    def hold(self) -> None:
        """A sign of life is being written: a client that reads slowly is no silence of the upstream."""
        self._last = self._loop.time()
        self._alive = self._held = True

    def touch(self) -> None:
        """The upstream gave a sign of life, and so does the client's stream."""
        self._last = self._wrote = self._loop.time()
        self._alive = True
        self._held = False

    def heard(self) -> None:
        """The upstream gave a sign of life of which the client sees nothing: pings go on."""
        self._last = self._loop.time()
        self._alive = True

    async def settle(self) -> None:
        """Wait for a ping that is being written, so that frames do not mix."""
        if self._pinging is not None and not self._pinging.done():
            await asyncio.wait((self._pinging,))

    @property
    def pinging(self) -> bool:
        """Whether a ping was written or is being written; then `settle` before the next write."""
        return self._pinging is not None

    async def _listen(self) -> None:
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except OSError:
            pass
        self._gone()

    def _gone(self) -> None:
        self._end(ClientGone())

    def end(self, reason: Exception) -> None:
        """End the exchange for this reason, unless it has ended for another."""
        self._end(reason)

    def _end(self, reason: Exception) -> None:
        self._left |= isinstance(reason, ClientGone)
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    def _due(self) -> float:
        """When to look next: at the limit of silence, or at the next ping; once an hour at least."""
        now = self._loop.time()
        if self._held:
            return max(now + 1.0, self._last + STALLED)
        # A sign of life changes the limit and moves no timer: its own silence may end before the first byte is due.
        limit = self._last + self._silence if self._alive else min(self._last + self._first_byte, now + self._silence)
        due = min(limit, now + 3600.0)
        return due if self._ping is None or self._quiet else min(due, self._next_ping())

    def _next_ping(self) -> float:
        """Before the first ping the long wait counts from the start, later the short one from the last sign of life."""
        if self._pinged is None and self._wrote is None:
            return self._entered + self._first_ping
        return max(self._asked, self._wrote or 0.0, self._pinged or self._entered) + self._interval

    def _tick(self) -> None:
        now, self._when = self._loop.time(), math.inf
        limit = self._silence if self._alive else self._first_byte
        if self._held:
            if now >= self._last + STALLED:
                self._end(ClientGone())
                return
        elif now >= self._last + limit:
            what = "the upstream went silent for" if self._alive else "the upstream sent no first byte within"
            self._end(UpstreamTimeout(f"{TIMED_OUT}: {what} {limit:g} s", began=self._alive))
            return
        if self._ping is not None and not (self._held or self._quiet) and now >= self._next_ping():
            self._pinged = now
            self._pinging = self._loop.create_task(self._say(self._ping))
        self._look()

    async def _say(self, ping: Callable[[], Awaitable[None]]) -> None:
        try:
            await ping()
        except OSError:
            self._end(ClientGone())
        except Exception as error:
            # It ends the request, which waits for this task and not for its result.
            self._end(error)


class Patience:
    """The limits of one attempt under a watch; use it as an async context manager."""

    __slots__ = ("_limits", "_watch")

    def __init__(self, watch: Watch, first_byte: float, silence: float) -> None:
        self._watch, self._limits = watch, (first_byte, silence)

    async def __aenter__(self) -> None:
        self._watch.expect(*self._limits)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.relax(kind)
