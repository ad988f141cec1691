"""What does a chunk of a stream cost, and how late does it come? 64 paced streams at once.

python -m benchmarks.stream [--quick] [--json]
"""

import sys
from statistics import median, quantiles

from .lab.bodies import PATHS, small
from .lab.load import Plan, load
from .lab.script import Result, main
from .lab.targets import Target, spent

STREAMS = 64
HEAD = ("target", "CPU us/chunk", "x bare", "TTFT p50 ms", "delay p50 ms", "delay p99 ms")


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """Rounds in turn; of each target the round with the shortest delay."""
    plan = Plan(PATHS["messages"], small("messages", stream=True), STREAMS, streams=True)
    best: dict[str, tuple[float, ...]] = {}
    for number in range(2 if quick else 6):
        for name, target in targets.items():
            before = spent(target.pid) if target.pid else 0.0
            measured = await load(target.port, plan)
            used = (spent(target.pid) - before) / len(measured.delays) * 1e6 if target.pid else 0.0
            late = quantiles(measured.delays, n=100)
            row = (used, median(measured.firsts), median(measured.delays), late[98])
            # The first round opens the connections.
            if number and (name not in best or row[2] < best[name][2]):
                best[name] = row
    bare = best["bare"][0]
    return Result(HEAD, [(name, row[0], row[0] / bare, *row[1:]) for name, row in best.items()])


if __name__ == "__main__":
    sys.exit(main("stream", __doc__ or "", measure))
