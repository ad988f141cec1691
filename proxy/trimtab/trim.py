"""Gives memory back that the C library keeps: of many requests of all sizes a third of its heap was free and resident.

glibc returns what is free at the end of its heap only. What is free between other things is given back by
`malloc_trim`, which takes about a ms for each MB and holds the heap meanwhile: it is done often and finds little.
"""

import asyncio
import ctypes
from collections.abc import Awaitable, Callable
from typing import Any

EVERY = 10.0
"""Seconds between two times."""


def malloc_trim() -> Callable[[int], Any] | None:
    """The function of this process's C library; None where it has none, as musl and other systems."""
    try:
        found: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


async def trimming(
    counted: Callable[[], object],
    give: Callable[[int], Any] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Give memory back, in a thread, whenever something happened since, as `counted` tells. Never ends."""
    before: object = None
    give = give or malloc_trim()
    while give is not None:
        await sleep(EVERY)
        if (now := counted()) != before:
            before = now
            await asyncio.to_thread(give, 0)
