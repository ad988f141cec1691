"""How long from the command to the first answer, and what stands in memory then?

python -m benchmarks.start [--quick] [--json]
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from .lab.bodies import PATHS, small
from .lab.script import Result, connect, main, post
from .lab.targets import Target, ready, resident, running, spent

HEAD = ("", "median", "least", "most")


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """Further processes are started beside the targets; each answers one small request."""
    runs = [await _start() for _ in range(2 if quick else 7)]
    names = (
        "port open, s",
        "first answer, s",
        "CPU to the first answer, s",
        "second answer, ms",
        "RSS before the first, MB",
        "RSS behind it, MB",
    )
    columns = list(zip(*runs, strict=True))
    return Result(HEAD, [(name, median(c), min(c), max(c)) for name, c in zip(names, columns, strict=True)])


async def _start() -> tuple[float, ...]:
    begun = perf_counter()
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder, running(Path(folder), bare=False) as targets:
        trimtab = next(target for target in targets if target.name == "trimtab")
        await ready(trimtab, every=0.005)
        opened = perf_counter() - begun
        idle = resident(trimtab.pid or 0)
        connection = await connect(trimtab)
        body = b"".join(small("messages")())
        await connection.ask(post(PATHS["messages"], body))
        answered, used, again = perf_counter() - begun, spent(trimtab.pid or 0), perf_counter()
        await connection.ask(post(PATHS["messages"], body))
        second = (perf_counter() - again) * 1000
        await asyncio.sleep(1.0)
        return opened, answered, used, second, idle, resident(trimtab.pid or 0)


if __name__ == "__main__":
    sys.exit(main("start", __doc__ or "", measure))
