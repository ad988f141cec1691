"""Places and the queue for them, in fake time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from fakeloop import run
from trimtab.errors import Cause
from trimtab.interfaces import Counters
from trimtab.lanes import Lanes
from trimtab.models import Upstream
from trimtab.policy import Failure, Unready
from trimtab.testing import StillClock

UP = Upstream(name="up", dialect="chat", base_url="http://up.test", max_parallel=1, queue_timeout=30.0)


class Bench:
    """Lanes, and a note of who got in when."""

    def __init__(self, upstream: Upstream = UP) -> None:
        self.lanes = Lanes(StillClock(), Counters())
        self.upstream = upstream
        self.order: list[str] = []
        self.keys: list[str | None] = []

    async def stay(
        self, client: str, seconds: float, keys: Sequence[str | None] = ("k",), session: bytes = b""
    ) -> float:
        """Take a place for so long; seconds waited for it."""
        async with self.lanes.place(self.upstream, keys, client, session) as place:
            self.order.append(client)
            self.keys.append(place.key)
            await asyncio.sleep(seconds)
            return place.waited

    @property
    def state(self) -> tuple[int, int]:
        found = self.lanes.state("up")
        return found["under_way"], found["waiting"]


def test_one_at_a_time_where_one_is_allowed() -> None:
    bench = Bench()

    async def main() -> list[float]:
        return await asyncio.gather(*(bench.stay("a", 10) for _ in range(3)))

    assert run(main()) == [0, 10, 20]
    assert bench.state == (0, 0)


def test_clients_take_turns_however_much_one_asks() -> None:
    bench = Bench()

    async def main() -> None:
        greedy = [asyncio.create_task(bench.stay("greedy", 4)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.gather(*greedy, bench.stay("b", 4), bench.stay("c", 4))

    run(main())
    assert bench.order == ["greedy", "greedy", "b", "c", "greedy", "greedy", "greedy"]


def test_each_key_has_its_own_places() -> None:
    bench = Bench()

    async def main() -> list[float]:
        return [*await asyncio.gather(bench.stay("a", 10, ("x",)), bench.stay("a", 10, ("y",)))]

    assert run(main()) == [0, 0]


def test_a_key_that_is_rested_serves_who_waits_though_no_place_gets_free() -> None:
    bench = Bench()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        clock: Any = SimpleNamespace(monotonic=loop.time, now=loop.time)
        bench.lanes = Lanes(clock, Counters())
        long = asyncio.create_task(bench.stay("a", 1000, ("x", "y")))
        await asyncio.sleep(0)
        async with bench.lanes.place(UP, ("x", "y"), "b", b"") as place:
            place.ring.cool(place.index, Failure.RATE_LIMIT, 15.0)
        waited = await bench.stay("c", 1, ("x", "y"))
        long.cancel()
        return waited

    assert run(main()) == 15
    assert bench.keys[0] != bench.keys[1]


def test_several_keys_make_one_queue() -> None:
    bench = Bench()

    async def main() -> list[float]:
        return await asyncio.gather(*(bench.stay("a", 10, ("x", "y")) for _ in range(5)))

    assert sorted(run(main())) == [0, 0, 10, 10, 20]
    assert sorted(map(str, bench.keys)) == ["x", "x", "x", "y", "y"] or sorted(map(str, bench.keys)) == [
        "x",
        "x",
        "y",
        "y",
        "y",
    ]


def test_who_waits_too_long_is_told_to_come_again() -> None:
    bench = Bench()

    async def main() -> tuple[Unready, float]:
        held = asyncio.create_task(bench.stay("a", 100))
        await asyncio.sleep(0)
        with pytest.raises(Unready) as caught:
            await bench.stay("b", 1)
        late = asyncio.get_running_loop().time()
        assert bench.state == (1, 0)
        await held
        return caught.value, late

    error, late = run(main())
    assert (late, error.cause, error.headers["retry-after"]) == (30, Cause.RATE_LIMIT, "5")
    assert "has 1 requests under way with this key (max-parallel)" in error.message


def test_a_client_that_leaves_frees_its_place_in_the_queue_and_in_the_lane() -> None:
    bench = Bench()

    async def main() -> None:
        first, second, third = (asyncio.create_task(bench.stay(name, 100)) for name in "abc")
        await asyncio.sleep(1)
        assert bench.state == (1, 2)
        second.cancel()
        await asyncio.sleep(0)
        assert bench.state == (1, 1)
        first.cancel()
        await asyncio.sleep(1)
        assert (bench.order, bench.state) == (["a", "c"], (1, 0))
        third.cancel()
        for task in (first, second, third):
            with suppress(asyncio.CancelledError):
                await task

    run(main())
    assert bench.state == (0, 0)


def test_who_leaves_as_a_place_is_given_passes_it_on() -> None:
    bench = Bench()

    async def main() -> None:
        first, second, third = (asyncio.create_task(bench.stay(name, 10)) for name in "abc")
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        for task in (first, second):
            with suppress(asyncio.CancelledError):
                await task
        await third

    run(main())
    assert (bench.order[-1], bench.state) == ("c", (0, 0))


def test_a_place_that_is_freed_as_time_ends_is_passed_on() -> None:
    bench = Bench()

    async def main() -> None:
        first = asyncio.create_task(bench.stay("a", 30))
        await asyncio.sleep(0)
        with suppress(Unready):
            await bench.stay("b", 1)
        await first
        assert await bench.stay("c", 1) == 0

    run(main())
    assert bench.state == (0, 0)


def test_without_a_limit_nobody_waits() -> None:
    bench = Bench(Upstream(name="up", dialect="chat", base_url="http://up.test"))

    async def main() -> list[float]:
        return await asyncio.gather(*(bench.stay("a", 10) for _ in range(50)))

    assert run(main()) == [0] * 50


def test_lanes_of_keys_that_are_gone_are_let_go() -> None:
    bench = Bench()

    async def main() -> None:
        for number in range(1100):
            await bench.stay("a", 0, (f"k{number}",))

    run(main())
    assert len(bench.lanes._lanes) <= 1001
