"""What do more processes gain (`--workers N`)? Small requests to one, and to two behind one port.

python -m benchmarks.workers [--workers N] [--quick] [--json]
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from .lab.bodies import PATHS, small
from .lab.load import BadAnswer, Plan, load
from .lab.script import Result, table
from .lab.targets import NotStarted, Target, beside, free, ready, running, spent

CONNECTIONS = 128
"""So many that the kernel, which spreads connections by chance, spreads them evenly enough."""
HEAD = ("workers", "CPU ms", "busiest, share", "requests/s", "x one", "with a core each", "x one ")


class Round(NamedTuple):
    """What one load took."""

    requests: int
    seconds: float
    spent: tuple[float, ...]
    """CPU seconds of each worker."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.workers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="processes behind the one port (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a short run with coarse figures")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
            result = uvloop.run(_measured(Path(folder), arguments.workers, quick=arguments.quick))
    except (BadAnswer, NotStarted, TimeoutError, OSError) as error:
        sys.stderr.write(f"workers: {str(error) or type(error).__name__}\n")
        return 1
    if arguments.json:
        print(json.dumps([dict(zip(result.head, row, strict=True)) for row in result.rows], indent=1))
    else:
        print(f"{(__doc__ or '').splitlines()[0]}\n{os.cpu_count()} cores for all of it.\n\n{table(result)}")
    return 0


async def _measured(folder: Path, workers: int, *, quick: bool) -> Result:
    rounds, most = (2, 400) if quick else (5, 4000)
    with _targets(folder, (1, workers)) as targets:
        for target in targets.values():
            await ready(target)
        await asyncio.sleep(1)  # the last of the workers
        for target in targets.values():
            await load(target.port, Plan(PATHS["messages"], small("messages"), CONNECTIONS, 60.0, 300))
        found: dict[int, list[Round]] = {count: [] for count in targets}
        for _ in range(rounds):
            for count, target in targets.items():
                found[count].append(await _round(target, count, most))
    return Result(HEAD, list(_rows(found)))


async def _round(target: Target, count: int, most: int) -> Round:
    pids = _workers(target.pid or 0) if count > 1 else [target.pid or 0]
    before = [spent(pid) for pid in pids]
    measured = await load(target.port, Plan(PATHS["messages"], small("messages"), CONNECTIONS, 60.0, most))
    return Round(
        len(measured.latencies),
        measured.seconds,
        tuple(spent(pid) - used for pid, used in zip(pids, before, strict=True)),
    )


def _rows(found: dict[int, list[Round]]) -> Iterator[tuple[str | float, ...]]:
    """Medians; a worker with a core of its own serves as much as its CPU allows, and the busiest ends last."""
    first: tuple[float, float] | None = None
    for count, rounds in found.items():
        cpu = median(1000 * sum(each.spent) / each.requests for each in rounds)
        share = median(max(each.spent) / sum(each.spent) for each in rounds)
        rate = median(each.requests / each.seconds for each in rounds)
        alone = median(each.requests / max(each.spent) for each in rounds)
        first = first or (rate, alone)
        yield count, cpu, share, rate, rate / first[0], alone, alone / first[1]


@contextmanager
def _targets(folder: Path, counts: Sequence[int]) -> Iterator[dict[int, Target]]:
    """The proxy with so many workers, by their number, free to use every core."""
    allowed = os.sched_getaffinity(0)
    with ExitStack() as stack:
        mock = next(t for t in stack.enter_context(running(folder, bare=False)) if t.name == "direct")
        found = {}
        for count in counts:
            port, base = free(), f"http://127.0.0.1:{mock.port}"
            environ = {
                "UPSTREAM_BASE": base,
                "OPENAI_UPSTREAM_BASE": f"{base}/v1",
                "CACHE_DIR": str(folder / f"c{count}"),
            }
            command = [sys.executable, "-m", "trimtab", "serve", "--port", str(port), "--workers", str(count)]
            found[count] = beside(stack, folder, f"workers-{count}", command, port, environ)
            os.sched_setaffinity(found[count].pid or 0, allowed)
        yield found


def _workers(parent: int) -> list[int]:
    """The processes that serve behind a parent."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


if __name__ == "__main__":
    sys.exit(main())
