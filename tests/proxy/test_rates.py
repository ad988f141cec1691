"""Windows of a minute, in memory and on Redis."""

from types import SimpleNamespace
from typing import Any

import pytest

from redis_server import needs_redis, redis_at
from trimtab.interfaces import SystemClock
from trimtab.rates import REST, MemoryRates, RedisRates, rates
from trimtab.testing import StillClock

pytestmark = pytest.mark.anyio


async def test_so_many_in_any_minute() -> None:
    clock = StillClock()
    windows = MemoryRates(clock)
    assert await windows.enter("a", 2) == 0
    clock.advance(30.5)
    assert [await windows.enter("a", 2), await windows.enter("a", 2), await windows.enter("b", 2)] == [0, 30, 0]
    clock.advance(29.5)
    assert [await windows.enter("a", 2), await windows.enter("a", 2)] == [0, 31]


async def test_clients_that_left_are_forgotten() -> None:
    clock = StillClock()
    windows = MemoryRates(clock)
    for number in range(50):
        await windows.enter(str(number), 1)
    assert len(windows) == 50
    clock.advance(61)
    await windows.enter("new", 1)
    assert len(windows) == 1


async def test_workers_have_their_share() -> None:
    windows = MemoryRates(StillClock(), workers=4)
    assert [await windows.enter("a", 9) > 0 for _ in range(3)] == [False, False, True]
    assert [await windows.enter("b", 1) > 0 for _ in range(2)] == [False, True]


def test_the_address_decides() -> None:
    assert isinstance(rates(None, StillClock()), MemoryRates)


@needs_redis
async def test_processes_count_together_on_redis() -> None:
    with redis_at() as url:
        first, second = RedisRates(url, SystemClock()), RedisRates(url, SystemClock())
        assert [await first.enter("a", 2), await second.enter("a", 2)] == [0, 0]
        assert 55 <= await first.enter("a", 2) <= 60
        assert 55 <= await second.enter("a", 2) <= 60
        assert await first.enter("b", 2) == 0
        await first.close()
        await second.close()


async def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = StillClock()
    windows = RedisRates("redis://127.0.0.1:9/0", clock)

    class Limiter:
        async def hit(self, *_: Any) -> bool:
            return False

        async def get_window_stats(self, *_: Any) -> Any:
            return SimpleNamespace(reset_time=clock.now() + 3600)

    monkeypatch.setattr(windows, "_limiter", Limiter())
    assert await windows.enter("a", 4) == 60
    await windows.close()


async def test_without_redis_each_process_counts_for_itself(logged: list[str]) -> None:
    clock = StillClock()
    windows = RedisRates("redis://:secret@127.0.0.1:9/0", clock, workers=2)
    assert [await windows.enter("a", 4) > 0 for _ in range(3)] == [False, False, True]
    clock.advance(REST + 1)
    assert await windows.enter("a", 4) > 0
    assert len(logged) == 2
    assert not [line for line in logged if "secret" in line]
    await windows.close()
