"""What the services are to those who use them: protocols, and the two plain ones, clock and counters."""

import asyncio
import time
from collections import Counter
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can hold it still."""

    def now(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        await asyncio.sleep(seconds)


class Store(Protocol):
    """A key-value store that outlives the process; values are bytes of our own JSON."""

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """The value kept under (kind, tenant, key), None where there is none."""

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good."""

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        """Keep a value unless there is one already, and return the one that holds."""


class Rates(Protocol):
    """How often each client came lately."""

    async def enter(self, client: str, limit: int) -> int:
        """Book one request of a client; 0, or the seconds to wait where it had `limit` in the last minute."""


class Counters:
    """Counts of what happened, by name, shown by /health."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        """Count `amount` more of `name`."""
        self._counts[name] += amount

    def snapshot(self) -> dict[str, int]:
        """All counts by name, sorted."""
        return dict(sorted(self._counts.items()))
