"""Memory is given back now and then, where something was served."""

import asyncio
import sys

import pytest

from trimtab.trim import EVERY, malloc_trim, trimming

pytestmark = pytest.mark.anyio


async def test_it_is_given_back_where_requests_came_since() -> None:
    counts, slept, given = [3, 3, 7, 7], list[float](), list[tuple[int, int]]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > len(counts):
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await trimming(lambda: counts[len(slept) - 1], lambda pad: given.append((len(slept), pad)), sleep)
    assert given == [(1, 0), (3, 0)]
    assert set(slept) == {EVERY}


async def test_without_such_a_function_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert malloc_trim() is None
    await trimming(lambda: 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_it_can_be_called() -> None:
    give = malloc_trim()
    if give is not None:  # musl has none
        assert give(0) in (0, 1)
