"""Places at upstreams: so many requests under way for each key, and a fair queue for the others.

z.ai answers ten parallel requests of one key with seven refusals (protocol.md 1.6): waiting here costs less than trying
again there.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from trimtab.keys import KeyRing
from trimtab.models import Upstream
from trimtab.policy import Failure, Unready
from trimtab.services import Clock, Counters

AGAIN = 5.0
"""Seconds after which a client that found no place is told to come again."""


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

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(map(len, self._queues.values()))

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self._queues or any(self.ring.busy) or self.ring.resting)

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

    def _next(self) -> None:
        while self._queues:
            client, queue = next(iter(self._queues.items()))
            index = self.ring.pick(queue[0].session)
            if index is None:
                return
            waiter = queue.popleft()
            self._queues.move_to_end(client)
            if not queue:
                del self._queues[client]
            # One whose client has just left stands in the queue until its task is run.
            if not waiter.given.done():
                self.ring.busy[index] += 1
                waiter.given.set_result(index)


class Lanes:
    """All lanes, by upstream and keys."""

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._lanes: dict[tuple[str, bytes, int | None], Lane] = {}

    @asynccontextmanager
    async def place(
        self, upstream: Upstream, keys: Sequence[str | None], client: str, session: bytes
    ) -> AsyncIterator[Place]:
        """A place with one of the keys. Raises Unready where none gets free within the row's `queue-timeout`."""
        lane = self._lane(upstream, keys)
        index, waited = lane.take(session), 0.0
        if index is None:
            self._counters.add(f"queued.{upstream.name}")
            begun = asyncio.get_running_loop().time()
            index = await lane.wait(client, session, upstream.queue_timeout)
            waited = asyncio.get_running_loop().time() - begun
        if index is None:
            self._counters.add(f"queue_timeouts.{upstream.name}")
            raise _full(upstream)
        try:
            yield Place(lane.ring, index, waited)
        finally:
            lane.leave(index)
            self._prune()

    def _lane(self, upstream: Upstream, keys: Sequence[str | None]) -> Lane:
        digest = hashlib.sha256("\n".join(key or "" for key in keys).encode()).digest()
        name = (upstream.name, digest, upstream.parallel)
        if name not in self._lanes:
            self._lanes[name] = Lane(KeyRing(keys, upstream.parallel, self._clock))
        return self._lanes[name]

    def _prune(self) -> None:
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


def _full(upstream: Upstream) -> Unready:
    text = (
        f"upstream '{upstream.name}' has {upstream.parallel} requests under way with this key (max-parallel), and no "
        f"place got free within {upstream.queue_timeout:g} s"
    )
    return Unready(text, Failure.RATE_LIMIT, AGAIN)
