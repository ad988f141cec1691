"""How often each client came in the last minute: in memory, or on Redis for several processes and machines."""

from collections import OrderedDict, deque
from math import ceil
from typing import TYPE_CHECKING, Any

from loguru import logger

from trimtab.interfaces import Clock

if TYPE_CHECKING:
    from limits import RateLimitItem

MINUTE = 60.0
PATIENCE = 1.0
"""Seconds that a request waits for Redis."""
REST = 10.0
"""Seconds without a new attempt after Redis failed."""


class MemoryRates:
    """Windows of one process, each for its share of a limit.

    Ours, not those of the library `limits`: its memory storage starts a task and a call in a thread with every request
    (5.8), and reads the system's clock, which tests cannot hold still.
    """

    def __init__(self, clock: Clock, workers: int = 1) -> None:
        self._clock = clock
        self._workers = workers
        self._entries: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def enter(self, client: str, limit: int) -> int:
        """Book one request of a client; 0, or the seconds to wait."""
        now = self._clock.monotonic()
        times = self._entries.setdefault(client, deque())
        while times and times[0] <= now - MINUTE:
            times.popleft()
        if len(times) >= max(1, limit // self._workers):
            return max(1, ceil(times[0] + MINUTE - now))
        times.append(now)
        self._entries.move_to_end(client)
        self._forget(now)
        return 0

    async def close(self) -> None:
        """Nothing is open here."""

    def _forget(self, now: float) -> None:
        """Let go of clients that were not here for a minute; they stand first, and the newest one stays."""
        while next(iter(self._entries.values()))[-1] <= now - MINUTE:
            self._entries.popitem(last=False)


class RedisRates:
    """Moving windows of the library `limits` on Redis.

    While Redis is away each process counts for itself: a limit never opens because its store is gone.
    """

    def __init__(self, url: str, clock: Clock, workers: int = 1) -> None:
        from limits.aio.storage import RedisStorage  # noqa: PLC0415  # comes with the extra `redis` only
        from limits.aio.strategies import MovingWindowRateLimiter  # noqa: PLC0415  # loaded where it is used

        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix="trimtab:rates",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._alone = MemoryRates(clock, workers)
        self._clock = clock
        self._resting: float | None = None
        self._items: dict[int, RateLimitItem] = {}

    async def enter(self, client: str, limit: int) -> int:
        """Book one request of a client; 0, or the seconds to wait."""
        if self._resting is not None and self._clock.monotonic() < self._resting:
            return await self._alone.enter(client, limit)
        try:
            wait = await self._enter(client, limit)
        except Exception as error:
            # Whatever is wrong with Redis, the limit holds.
            self._resting = self._clock.monotonic() + REST
            logger.warning("rate limits: Redis cannot be used, this process counts alone: {}", type(error).__name__)
            return await self._alone.enter(client, limit)
        self._resting = None
        return wait

    async def _enter(self, client: str, limit: int) -> int:
        item = self._items.get(limit) or self._items.setdefault(limit, _item(limit))
        if await self._limiter.hit(item, client):
            return 0
        stats = await self._limiter.get_window_stats(item, client)
        # A clock that was set back, here or on another machine, is no reason to wait longer than the window is.
        return min(ceil(MINUTE), max(1, ceil(stats.reset_time - self._clock.now())))

    async def close(self) -> None:
        """Close the connections."""
        bridge: Any = self._storage.bridge
        await bridge.storage.aclose()


def _item(limit: int) -> "RateLimitItem":
    from limits import RateLimitItemPerMinute  # noqa: PLC0415  # loaded where it is used

    return RateLimitItemPerMinute(limit)


def rates(url: str | None, clock: Clock, workers: int = 1) -> MemoryRates | RedisRates:
    """The windows that a configuration asks for."""
    return MemoryRates(clock, workers) if url is None else RedisRates(url, clock, workers)
