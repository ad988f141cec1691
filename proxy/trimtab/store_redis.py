"""The store on Redis or Valkey, for several machines: the only file that imports redis, at first use only.

The same keys and values as on disk: HMAC names with a secret that lies in the store itself (whoever makes it first
wins), values as bytes. A Redis that is away is told once and counts as empty; what is kept meanwhile stays in memory.
"""

import secrets
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from loguru import logger

from trimtab.errors import ConfigError, ForeignValue
from trimtab.interfaces import Clock, SystemClock
from trimtab.store import ALONE, PATIENCE, REST, MemoryStore, hashed, pack, patiently, unpack

T = TypeVar("T")

SECRET = b"trimtab:secret"
SECRET_BYTES = 32


class RedisStore:
    """A store at a `redis://` URL, shared by all that are given the same one."""

    def __init__(self, url: str, clock: Clock | None = None, *, compress: bool = True, log: bool = False) -> None:
        self._clock: Clock = clock or SystemClock()
        self._compress = compress
        self._log = log
        self._client = _client(url)
        self._secret = b""
        self._told = False
        self._resting: float | None = None
        self._aside = MemoryStore(self._clock, max_items=ALONE)

    async def get(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        """The value kept under (kind, tenant, key), None where there is none."""
        held = self._aside.peek(kind, tenant, key)
        if held is None:
            held = await self._reach(lambda: self._read(kind, tenant, key), None)
        if self._log:
            logger.debug("store: {} of {}", "hit" if held is not None else "miss", kind)
        return held

    async def put(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Keep a value, for `ttl` seconds or for good."""
        _bytes(value)
        if await self._reach(lambda: self._write(kind, tenant, key, value, ttl), default=False):
            self._aside.discard(kind, tenant, key)
        else:
            await self._aside.put(kind, tenant, key, value, ttl=ttl)

    async def add(self, kind: str, tenant: str, key: bytes, value: bytes, *, ttl: float | None = None) -> bytes:
        """Keep a value unless there is one already, and return the one that holds."""
        _bytes(value)
        held = self._aside.peek(kind, tenant, key)
        if held is None:
            held = await self._reach(lambda: self._add(kind, tenant, key, value, ttl), None)
        return await self._aside.add(kind, tenant, key, value, ttl=ttl) if held is None else held

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _reach(self, work: Callable[[], Awaitable[T]], default: T) -> T:
        """What comes of `work`, `default` when Redis is not to be had."""
        if self._resting is not None and self._clock.monotonic() < self._resting:
            return default
        try:
            done = await patiently(work, self._clock)
        except Exception as error:
            # Whatever is wrong with Redis, a request must not fail of it.
            self._resting = self._clock.monotonic() + REST
            self._report(error)
            return default
        self._resting = None
        return done

    async def _name(self, kind: str, tenant: str, key: bytes) -> bytes:
        if not self._secret:
            await self._client.set(SECRET, secrets.token_bytes(SECRET_BYTES), nx=True)
            found = await self._client.get(SECRET)
            if not isinstance(found, bytes) or len(found) != SECRET_BYTES:
                raise ForeignValue(f"{SECRET.decode()} is no secret of a store: delete it")
            self._secret = found
        return b"trimtab:" + hashed(self._secret, kind, tenant, key).encode()

    async def _read(self, kind: str, tenant: str, key: bytes) -> bytes | None:
        name = await self._name(kind, tenant, key)
        try:
            return unpack(await self._client.get(name))
        except (ForeignValue, zlib.error) as error:
            self._report(error)
            await self._client.delete(name)
            return None

    async def _write(self, kind: str, tenant: str, key: bytes, value: bytes, ttl: float | None) -> bool:
        name = await self._name(kind, tenant, key)
        return bool(await self._client.set(name, pack(value, compress=self._compress), px=_milliseconds(ttl)))

    async def _add(self, kind: str, tenant: str, key: bytes, value: bytes, ttl: float | None) -> bytes:
        name, packed = await self._name(kind, tenant, key), pack(value, compress=self._compress)
        for _ in range(2):
            # Two steps, for what stood there may go in between; then it is ours to write.
            if await self._client.set(name, packed, nx=True, px=_milliseconds(ttl)):
                return value
            if (held := await self._read(kind, tenant, key)) is not None:
                return held
        return value

    def _report(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            # Without its text, which may hold the URL and its password.
            logger.warning("the store on Redis cannot be used and counts as empty: {}", type(error).__name__)


def _bytes(value: bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the store keeps bytes, not {type(value).__name__}")
    return value


def _milliseconds(ttl: float | None) -> int | None:
    return None if ttl is None else max(1, round(ttl * 1000))


def _client(url: str) -> Any:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # loaded where it is used
    except ImportError:
        raise ConfigError("store.url needs the extra `redis`: pip install 'trimtab[redis]'") from None
    return Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
