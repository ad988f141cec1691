"""Places at upstreams: so many requests under way for each key, and a fair queue for the others.

z.ai answers ten parallel requests of one key with seven refusals (protocol.md 1.6): waiting here costs less than trying
again there.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import msgspec

from trimtab.interfaces import Clock, Counters
from trimtab.keys import KeyRing
from trimtab.models import Upstream
from trimtab.policy import Failure, Unready

AGAIN = 5.0
"""Seconds after which a client that found no place is told to come again."""

SOON = 0.1
"""Seconds between two looks at keys that rest, at least."""


class Place(msgspec.Struct):
    """A request's place: one of the keys, until it ends."""

    ring: KeyRing
    index: int
    waited: float = 0.0
    """Seconds in the queue."""

    @property
    def key(self) -> str | None:
        """The key to send, None for none."""
        return self.ring.keys[self.index]


class _Waiter(msgspec.Struct, eq=False):
    session: bytes
    given: "asyncio.Future[int]"


class Lane:
    """The requests of one set of keys at one upstream."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(map(len, self._queues.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self._queues or any(self.ring.busy) or self.ring.resting)

    def free(self, session: bytes) -> bool:
        """Whether a place is free now."""
        return not self._queues and self.ring.pick(session) is not None

    def take(self, session: bytes) -> int | None:
        """The key of a place that is free now, None where there is none or others wait for it."""
        index = None if self._queues else self.ring.pick(session)
        if index is not None:
            self.ring.busy[index] += 1
        return index

    async def wait(self, client: str, session: bytes, patience: float) -> int | None:
        """The key of a place that gets free within `patience` seconds, else None. Clients take turns."""
        waiter = _Waiter(session, asyncio.get_running_loop().create_future())
        self._queues.setdefault(client, deque()).append(waiter)
        self._look_later()
        try:
            async with asyncio.timeout(patience):
                return await waiter.given
        except TimeoutError:
            self._retire(client, waiter)
            return None
        except asyncio.CancelledError:
            self._retire(client, waiter)
            raise

    def leave(self, index: int) -> None:
        """Free a place; the next in the queue gets it."""
        self.ring.busy[index] -= 1
        self._next()

    def _retire(self, client: str, waiter: _Waiter) -> None:
        """Take a waiter out of the queue; one that was given a place at that very moment frees it."""
        if waiter.given.done() and not waiter.given.cancelled():
            self.leave(waiter.given.result())
            return
        queue = self._queues.get(client, deque())
        if waiter in queue:
            queue.remove(waiter)
        if not queue:
            self._queues.pop(client, None)
        self._look_later()

    def _look_later(self) -> None:
        """Have a key that rests serve who waits as soon as it is rested, not with the next place that gets free."""
        rest = self.ring.rest if self._queues else None
        if rest is None and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif rest is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(SOON, rest), self._look)

    def _look(self) -> None:
        self._timer = None
        self._next()

    def _next(self) -> None:
        while self._queues:
            client, queue = next(iter(self._queues.items()))
            index = self.ring.pick(queue[0].session)
            if index is None:
                break
            waiter = queue.popleft()
            self._queues.move_to_end(client)
            if not queue:
                del self._queues[client]
            # One whose client has just left stands in the queue until its task is run.
            if not waiter.given.done():
                self.ring.busy[index] += 1
                waiter.given.set_result(index)
        self._look_later()


class Lanes:
    """All lanes, by upstream and keys."""

    def __init__(self, clock: Clock, counters: Counters, share: Callable[[int], int] = int) -> None:
        self._clock = clock
        self._counters = counters
        self._share = share
        """This process's part of a limit that several have together."""
        self._lanes: dict[tuple[str, tuple[str | None, ...], int | None], Lane] = {}

    def place(
        self,
        upstream: Upstream,
        keys: Sequence[str | None],
        client: str,
        session: bytes,
        quiet: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> "Entry":
        """A place with one of the keys, to be used as an async context manager; `quiet` is around the time in a queue.

        Entering it raises Unready where none gets free within the row's `queue-timeout`.
        """
        return Entry(self, upstream, self._lane(upstream, keys), client, session, quiet)

    async def wait(self, upstream: Upstream, lane: Lane, client: str, session: bytes) -> Place:
        """A place behind the others. Raises Unready where none gets free in time."""
        self._counters.add(f"queued.{upstream.name}")
        begun = asyncio.get_running_loop().time()
        index = await lane.wait(client, session, upstream.queue_timeout)
        if index is None:
            self._counters.add(f"queue_timeouts.{upstream.name}")
            raise _full(upstream)
        return Place(lane.ring, index, asyncio.get_running_loop().time() - begun)

    def _lane(self, upstream: Upstream, keys: Sequence[str | None]) -> Lane:
        parallel = upstream.parallel and self._share(upstream.parallel)
        name = (upstream.name, tuple(keys), parallel)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(KeyRing(keys, parallel, self._clock))
        return lane

    def prune(self) -> None:
        """Clients bring keys of their own: what is idle is let go of when there is much of it."""
        if len(self._lanes) > 1000:
            self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.idle}

    def state(self, upstream: str) -> dict[str, int]:
        """What /health shows of an upstream."""
        lanes = [lane for (name, _, _), lane in self._lanes.items() if name == upstream]
        return {
            "under_way": sum(sum(lane.ring.busy) for lane in lanes),
            "waiting": sum(lane.waiting for lane in lanes),
            "resting_keys": sum(lane.ring.resting for lane in lanes),
        }


class Entry:
    """One request's stay in a lane. A class, since a generator would cost every request several microseconds."""

    __slots__ = ("_client", "_lane", "_lanes", "_place", "_quiet", "_session", "_upstream")

    def __init__(
        self,
        lanes: Lanes,
        upstream: Upstream,
        lane: Lane,
        client: str,
        session: bytes,
        quiet: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._lanes, self._upstream, self._lane = lanes, upstream, lane
        self._client, self._session, self._quiet = client, session, quiet

    @property
    def free(self) -> bool:
        """Whether a place is had without waiting, if it is entered now."""
        return self._lane.free(self._session)

    async def __aenter__(self) -> Place:
        index = self._lane.take(self._session)
        if index is not None:
            self._place = Place(self._lane.ring, index)
        else:
            with self._quiet():
                self._place = await self._lanes.wait(self._upstream, self._lane, self._client, self._session)
        return self._place

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.leave(self._place.index)
        self._lanes.prune()


def _full(upstream: Upstream) -> Unready:
    text = (
        f"upstream '{upstream.name}' has {upstream.parallel} requests under way with this key (max-parallel), and no "
        f"place got free within {upstream.queue_timeout:g} s"
    )
    return Unready(text, Failure.RATE_LIMIT, AGAIN)
