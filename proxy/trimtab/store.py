"""The store: what outlives the process, on disk through diskcache, or in memory for tests and bad days.

Keys are hashes made with a secret of the store, so a file that got out does not tell what was asked; values are bytes.
Pickle is refused both ways (CVE-2025-69872): whoever can write the file could otherwise run code here. All disk work
runs in one thread. A store that cannot be read or written is told once and counts as empty; what is kept meanwhile
stays in memory, so that within this process "written once" still holds.
"""

import asyncio
import hmac
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from trimtab.errors import ForeignValue
from trimtab.interfaces import Clock, SystemClock
from trimtab.patience import waited

T = TypeVar("T")

SIZE_LIMIT = 1024 * 1024 * 1024
"""Bytes on disk, beyond which the values stored longest ago go."""
PACKED_FROM = 512
"""Bytes from which a value is worth compressing."""
PATIENCE = 3.0
"""Seconds that a request waits for the store at most, all its questions together: another process may hold a lock."""
REST = 30.0
"""Seconds without a new attempt after the disk failed, so that not every request waits for it."""
ALONE = 4096
"""Values kept in memory while the disk fails."""

_PLAIN, _ZLIB = b"\0", b"\1"


def hashed(secret: bytes, kind: str, tenant: str, key: bytes) -> str:
    """The name of a value on disk; each part goes in with its length, so that no two triples give the same bytes."""
    parts = (tenant.encode(), kind.encode(), key)
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(secret, message, "sha256").hex()


class MemoryStore:
    """A store in memory, bounded in values, the least recently used first out."""

    def __init__(self, clock: Clock | None = None, *, max_items: int = 100_000) -> None:
        self._clock: Clock = clock or SystemClock()
        self._max_items = max_items
        self._values: OrderedDict[tuple[str, str, bytes], tuple[bytes, float | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """The value kept under (kind, tenant, key), None where there is none."""
        return self.peek(kind, tenant, key)

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good."""
        self._values[kind, tenant, key] = (_bytes(value), None if ttl is None else self._clock.now() + ttl)
        self._values.move_to_end((kind, tenant, key))
        if len(self._values) > self._max_items:
            self._values.popitem(last=False)

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        """Keep a value unless there is one already, and return the one that holds."""
        held = self.peek(kind, tenant, key)
        if held is None:
            await self.put(kind, tenant, key, value, ttl=ttl)
        return value if held is None else held

    def peek(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """What `get` gives, for callers that cannot wait."""
        value, until = self._values.get((kind, tenant, key), (None, None))
        if value is None:
            return None
        if until is not None and until <= self._clock.now():
            del self._values[kind, tenant, key]
            return None
        self._values.move_to_end((kind, tenant, key))
        return value

    def discard(self, kind: str, tenant: str, key: bytes) -> None:
        """Forget a value."""
        self._values.pop((kind, tenant, key), None)

    async def close(self) -> None:
        """Nothing is open here."""


class DiskStore:
    """A store under `directory`, shared by all processes that are given the same one."""

    def __init__(
        self,
        directory: str | Path,
        clock: Clock | None = None,
        *,
        compress: bool = True,
        log: bool = False,
        size_limit: int = SIZE_LIMIT,
    ) -> None:
        self.directory = Path(directory)
        self._clock: Clock = clock or SystemClock()
        self._compress = compress
        self._log = log
        self._size_limit = size_limit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trimtab-store")
        self._cache: Any = None
        self._secret = b""
        self._told = False
        self._resting: float | None = None
        self._closed = False
        self._aside = MemoryStore(self._clock, max_items=ALONE)

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """The value kept under (kind, tenant, key), None where there is none."""
        held = self._aside.peek(kind, tenant, key)
        if held is None:
            held = await self._disk(lambda: self._read(hashed(self._secret, kind, tenant, key)), None)
        self._tell("hit" if held is not None else "miss", kind)
        return held

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good."""
        _bytes(value)
        if await self._disk(lambda: self._write(hashed(self._secret, kind, tenant, key), value, ttl), default=False):
            self._aside.discard(kind, tenant, key)
        else:
            await self._aside.put(kind, tenant, key, value, ttl=ttl)
        self._tell("put", kind)

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        """Keep a value unless there is one already, and return the one that holds."""
        _bytes(value)
        held = self._aside.peek(kind, tenant, key)
        if held is not None:
            return held
        held = await self._disk(lambda: self._add(hashed(self._secret, kind, tenant, key), value, ttl), None)
        self._tell("add", kind)
        return await self._aside.add(kind, tenant, key, value, ttl=ttl) if held is None else held

    async def close(self) -> None:
        """Close the files; a store that is closed counts as empty."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._shut)
        self._thread.shutdown(wait=False)

    async def _disk(self, work: Callable[[], T], default: T) -> T:
        """Run `work` in the thread; `default` when the disk is not to be had."""
        if self._closed or (self._resting is not None and self._clock.monotonic() < self._resting):
            return default
        try:
            loop = asyncio.get_running_loop()
            done = await patiently(lambda: loop.run_in_executor(self._thread, self._opened, work), self._clock)
        except Exception as error:
            # Whatever is wrong with a disk, a request must not fail of it.
            self._resting = self._clock.monotonic() + REST
            self._report(error)
            return default
        self._resting = None
        return done

    def _opened(self, work: Callable[[], T]) -> T:
        if self._cache is None:
            # Imported at first use: SQLite and diskcache cost the start 30 ms.
            from trimtab import store_disk  # noqa: PLC0415  # loaded where it is used

            self._secret = store_disk.secret(self.directory)
            self._cache = store_disk.open_cache(self.directory / "store", self._size_limit, PATIENCE / 2)
        return work()

    def _read(self, name: str) -> bytes | None:
        try:
            return unpack(self._cache.get(name))
        except (ForeignValue, zlib.error) as error:
            # One bad row is no bad disk: it goes, and the rest is used.
            self._report(error)
            self._cache.delete(name)
            return None

    def _write(self, name: str, value: bytes, ttl: float | None) -> bool:
        return bool(self._cache.set(name, pack(value, compress=self._compress), expire=ttl))

    def _add(self, name: str, value: bytes, ttl: float | None) -> bytes:
        packed = pack(value, compress=self._compress)
        for _ in range(2):
            if self._cache.add(name, packed, expire=ttl):
                return value
            held = self._read(name)
            if held is not None:
                return held
        # There is a row, yet its file is gone.
        self._write(name, value, ttl)
        return value

    def _shut(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def _report(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            reason = f"{type(error).__name__}: {error}"
            logger.warning("the store in {} cannot be used and counts as empty: {}", self.directory, reason)

    def _tell(self, what: str, kind: str) -> None:
        if self._log:
            logger.debug("store: {} of {}", what, kind)


async def patiently(begin: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """What comes of what `begin` begins.

    Raises TimeoutError where the request has waited PATIENCE seconds for the store; then it begins nothing any more.
    """
    waiting, now = waited(), clock.monotonic()
    left = PATIENCE - waiting.seconds(now)
    if left <= 0:
        raise TimeoutError("one request waited too long for its answers")
    waiting.begin(now)
    try:
        return await asyncio.wait_for(begin(), left)
    finally:
        waiting.end(clock.monotonic())


def _bytes(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the store keeps bytes, not {type(value).__name__}")
    return value


def pack(value: bytes, *, compress: bool) -> bytes:
    """A value as it is stored, behind a byte that says how."""
    if compress and len(value) >= PACKED_FROM:
        return _ZLIB + zlib.compress(value, 1)
    return _PLAIN + value


def unpack(packed: bytes | None) -> bytes | None:
    """The value that was stored. Raises ForeignValue, zlib.error for what no store of ours wrote."""
    if packed is None:
        return None
    if not isinstance(packed, bytes):
        raise ForeignValue(f"a value of type {type(packed).__name__}")
    return zlib.decompress(packed[1:]) if packed[:1] == _ZLIB else packed[1:]
