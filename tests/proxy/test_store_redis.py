"""The store on Redis: the same promises as on disk."""

import asyncio
import sys
from typing import Any

import pytest

from redis_server import needs_redis, redis_at
from trimtab.errors import ConfigError
from trimtab.store import REST
from trimtab.store_redis import SECRET, RedisStore
from trimtab.testing import StillClock

pytestmark = pytest.mark.anyio


@needs_redis
async def test_what_is_kept_is_found_by_every_machine() -> None:
    with redis_at() as url:
        first, second = RedisStore(url), RedisStore(url, compress=False)
        for value in (b"", b"short", b"long" * 1000):
            await first.put("kind", "tenant", value[:9], value)
            assert await second.get("kind", "tenant", value[:9]) == value
        assert await second.get("kind", "other", b"short") is None
        assert await second.get("other", "tenant", b"short") is None
        await first.close()
        await second.close()


@needs_redis
async def test_the_first_to_add_wins() -> None:
    with redis_at() as url:
        stores = [RedisStore(url) for _ in range(5)]
        held = await asyncio.gather(*(store.add("k", "t", b"x", b"%d" % at) for at, store in enumerate(stores)))
        assert len(set(held)) == 1
        assert {await store.get("k", "t", b"x") for store in stores} == set(held)
        for store in stores:
            await store.close()


@needs_redis
async def test_names_and_values_say_nothing_to_others_and_times_end() -> None:
    with redis_at() as url:
        store = RedisStore(url)
        await store.put("kind", "tenant", b"prompt", b"v", ttl=0.001)
        await store.put("kind", "tenant", b"other", b"v", ttl=50)
        client: Any = store._client
        names = await client.keys("trimtab:*")
        assert SECRET in names
        assert not [name for name in names if b"prompt" in name or b"tenant" in name]
        lives = {await client.pttl(name) for name in names if name != SECRET}
        assert max(lives) > 40_000
        await client.set(names[0] if names[0] != SECRET else names[1], b"\x01junk")
        assert await store.get("kind", "tenant", b"other") in (None, b"v")
        await store.close()


@needs_redis
async def test_a_value_of_somebody_else_is_no_value(logged: list[str]) -> None:
    with redis_at() as url:
        store = RedisStore(url)
        await store.put("k", "t", b"x", b"good")
        client: Any = store._client
        [name] = [name for name in await client.keys("trimtab:*") if name != SECRET]
        await client.set(name, b"\x01no zlib")
        assert await store.get("k", "t", b"x") is None
        assert await client.get(name) is None
        await client.set(SECRET, b"short")
        other = RedisStore(url)
        assert await other.get("k", "t", b"x") is None
        await other.close()
        assert [line for line in logged if "counts as empty" in line]
        await store.close()


async def test_without_redis_what_is_kept_stays_in_memory(logged: list[str]) -> None:
    clock = StillClock()
    store = RedisStore("redis://:secret@127.0.0.1:9/0", clock, log=True)
    await store.put("k", "t", b"x", b"v")
    assert await store.get("k", "t", b"x") == b"v"
    assert await store.add("k", "t", b"y", b"1") == b"1"
    assert await store.add("k", "t", b"y", b"2") == b"1"
    assert await store.get("k", "t", b"z") is None
    clock.advance(REST + 1)
    assert await store.get("k", "t", b"z") is None
    warnings = [line for line in logged if "counts as empty" in line]
    assert len(warnings) == 1
    assert "secret" not in "".join(logged)
    with pytest.raises(TypeError, match="keeps bytes"):
        await store.put("k", "t", b"x", "text")  # type: ignore[arg-type]  # wrong on purpose
    await store.close()


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"pip install 'trimtab\[redis\]'"):
        RedisStore("redis://127.0.0.1/0")
