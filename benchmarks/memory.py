"""How much memory does the process hold: idle, after the first count, a session, streams, and many more requests?

python -m benchmarks.memory [--quick] [--json]; exit code 1 where it is more than 170 MB at the end, or grew by more
than 5 from the first quarter of the many requests, behind which the tables are warm, to the last: 1 KB in each is 11.
"""

import sys

from .lab.bodies import PATHS, agent, small
from .lab.load import Plan, load
from .lab.script import Result, main
from .lab.targets import Target, resident

MOST_MB, GROWTH_MB = 170, 5
HEAD = ("after", "requests", "RSS MB", "bare RSS MB")


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """The loads of hop.py, one after the other, and then small requests and large ones in turn."""
    share = 100 if quick else 1
    rows: list[tuple[str | float, ...]] = []

    async def after(name: str, plan: Plan) -> None:
        counts = [len((await load(targets[which].port, plan)).latencies) for which in ("bare", "trimtab")]
        sizes = [resident(targets[which].pid or 0) for which in ("trimtab", "bare")]
        rows.append((name, counts[1], *sizes))

    rows.append(("start", 0, *(resident(targets[which].pid or 0) for which in ("trimtab", "bare"))))
    path, most = PATHS["messages"], 120.0
    await after("1 small request", Plan(path, small("messages"), 1, most, 1))
    await after("small requests, 32 at once", Plan(path, small("messages"), 32, most, 2000 // share))
    await after("one session of 421 KB", Plan(path, agent("messages"), 1, most, 500 // share))
    await after("streams", Plan(path, small("messages", stream=True), 64, streams=True))
    for number in range(1, 5):
        await after(f"more, {number} of 4", Plan(path, small("messages"), 32, most, 4500 // share))
        await after(f"and large ones, {number} of 4", Plan(path, agent("messages"), 1, most, 500 // share))
    warm, end = (float(rows[at][2]) for at in (-7, -1))
    wrong = [f"{end:.0f} MB at the end, more than {MOST_MB}"] if end > MOST_MB else []
    if end - warm > GROWTH_MB and not quick:
        wrong.append(f"it grew from {warm:.0f} to {end:.0f} MB")
    return Result(HEAD, rows, tuple(wrong))


if __name__ == "__main__":
    sys.exit(main("memory", __doc__ or "", measure))
