"""What a stage may use beyond its exchange, given to it at start."""

import asyncio
import time
from collections import Counter
from typing import Any, Protocol

import msgspec

from trimtab.economics import Economics
from trimtab.epochs import Epochs
from trimtab.memo import FactTable
from trimtab.models import ModelTable


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


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The proxy as a stage sees it."""

    models: ModelTable
    clock: Clock
    counters: Counters
    counts: FactTable[Any]
    """Token counts by digest, shared by all conversations."""
    store: Store
    epochs: Epochs
    """Records of edits that reach far back into a conversation."""
    economics: Economics
    """Whether an edit pays."""
    rates: Rates
    workers: int = 1
    """Processes that share the clients; a limit that each counts alone is divided by it."""
    directory: str = "."
    """The folder of the cache, for what a stage keeps in files of its own."""
    loopback: bool = True
    """Whether only this machine can reach the proxy."""
    dry: bool = False
    """Whether this is a trial (`trimtab check`, `explain`, `replay`): a start hook checks and leaves nothing behind."""
