"""What upstreams have refused as too long."""

import pytest

from talks import body, user
from trimtab.testing import StageBench
from trimtab_stages.condense_limits import Limits

pytestmark = pytest.mark.anyio


async def test_the_smallest_refusal_counts_for_a_day_and_in_every_worker() -> None:
    bench = StageBench()
    target = bench.exchange(body([user("hi")])).target
    store = bench.services.store
    limits = Limits(store, bench.clock)
    assert await limits.known(target) is None
    await limits.learn(target, 9_000, 9_500)
    await limits.learn(target, 12_000, 12_500)
    assert (await limits.known(target), await Limits(store, bench.clock).known(target)) == (9_000, 9_000)
    bench.clock.advance(86_401)
    assert (await limits.known(target), await Limits(store, bench.clock).known(target)) == (None, None)


async def test_a_worker_that_knew_of_none_learns_from_another_within_seconds() -> None:
    bench = StageBench()
    target = bench.exchange(body([user("hi")])).target
    one, other = (Limits(bench.services.store, bench.clock) for _ in range(2))
    assert await other.known(target) is None
    await one.learn(target, 9_000, 9_500)
    bench.clock.advance(5)
    assert await other.known(target) == 9_000


async def test_what_is_no_number_counts_as_nothing() -> None:
    bench = StageBench()
    target = bench.exchange(body([user("hi")])).target
    await bench.services.store.put("limit", "", f"{target.upstream.name}\n{target.model.name}".encode(), b"many")
    assert await Limits(bench.services.store, bench.clock).known(target) is None


async def test_a_small_prompt_tells_nothing_and_half_the_window_always_stays() -> None:
    bench = StageBench()
    target = bench.exchange(body([user("hi")])).target
    store = bench.services.store
    limits = Limits(store, bench.clock)
    assert not await limits.learn(target, 10, 4_999)
    assert await limits.known(target) is None
    assert await limits.learn(target, 10, 5_000)
    assert (await limits.known(target), await Limits(store, bench.clock).known(target)) == (5_000, 5_000)
    await store.put("limit", "", f"{target.upstream.name}\n{target.model.name}".encode(), b"4999")
    assert await Limits(store, bench.clock).known(target) is None
