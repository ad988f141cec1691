"""What does a request cost in trimtab, beside the barest hop on the same server and client?

python -m benchmarks.hop [--quick] [--rounds N] [--client chat] [--json]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Literal, NamedTuple

import uvloop

from .lab.bodies import HUGE, LARGE, MESSAGES, PATHS, ROOMY, TOOLS, Client, agent, small
from .lab.load import BadAnswer, Plan, load
from .lab.mock import CHUNKS, PACE
from .lab.targets import NotStarted, Target, cores, cpu, ready, running

STREAMS = 64
WARM_UP = 0.3


class Sample(NamedTuple):
    """One load on one target: CPU per request in ms, or per chunk in us, and the times that a client saw, in ms."""

    target: str
    load: str
    per: Literal["request", "chunk"]
    number: int
    cpu: float | None
    p50: float
    p99: float
    rate: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    arguments = _parser().parse_args(argv)
    rounds, seconds = (1, 0.7) if arguments.quick else (arguments.rounds, arguments.seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder, running(Path(folder)) as targets:
            samples = uvloop.run(measure(targets, plans(arguments.client, seconds), rounds))
    except (BadAnswer, NotStarted, TimeoutError, OSError) as error:
        sys.stderr.write(f"hop: {str(error) or type(error).__name__}\n")
        return 1
    if arguments.json:
        print(json.dumps([sample._asdict() for sample in samples], indent=1))
    else:
        print(report(samples, arguments.client))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.hop", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 21), default=3, metavar="N", help="1 to 20 (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of one load on one target (%(default)s)")
    parser.add_argument("--client", choices=list(PATHS), default="messages", help="its dialect (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round, under 20 s, with coarse figures")
    parser.add_argument("--json", action="store_true", help="print every sample instead of the tables")
    return parser


def plans(client: Client, seconds: float) -> dict[str, Plan]:
    """The loads by name; the streams come last."""
    path, seconds = PATHS[client], min(seconds, 30.0)
    huge = agent(client, model=ROOMY[client], size=HUGE, number=2 * MESSAGES)
    return {
        "1 KB, 1 connection": Plan(path, small(client), 1, seconds),
        "1 KB, 32 connections": Plan(path, small(client), 32, seconds),
        f"{LARGE // 1000} KB, 1 new message": Plan(path, agent(client), 1, seconds, 4_000),
        f"{HUGE // 1000} KB, 1 new message": Plan(path, huge, 1, seconds, 4_000),
        f"{STREAMS} paced streams": Plan(path, small(client, stream=True), STREAMS, streams=True),
    }


async def measure(targets: Sequence[Target], loads: dict[str, Plan], rounds: int) -> list[Sample]:
    """Every load on every target, the targets in turn, so that what else the machine does meets all of them."""
    samples: list[Sample] = []
    for target in targets:
        await ready(target)
        for plan in loads.values():
            if target.pid and not plan.streams:
                await load(target.port, plan._replace(seconds=WARM_UP))
    for _ in range(rounds):
        for name, plan in loads.items():
            samples += [await _sample(target, name, plan) for target in targets]
    return samples


async def _sample(target: Target, name: str, plan: Plan) -> Sample:
    before = cpu(target.pid) if target.pid else 0.0
    measured = await load(target.port, plan)
    spent = cpu(target.pid) - before if target.pid else None
    times = measured.delays if plan.streams else measured.latencies
    each = None if spent is None else spent / len(times) * (1e6 if plan.streams else 1e3)
    per: Literal["request", "chunk"] = "chunk" if plan.streams else "request"
    return Sample(target.name, name, per, len(times), each, *_centiles(times), len(times) / measured.seconds)


def _centiles(times: Sequence[float]) -> tuple[float, float]:
    return median(times), quantiles(times, n=100)[98] if len(times) > 1 else times[0]


def report(samples: Sequence[Sample], client: str) -> str:
    """The table: of the rounds the best one, and the median."""
    lines = [
        f"Client dialect {client}; {LARGE // 1000} KB is {MESSAGES} messages and {TOOLS} tools, "
        f"{HUGE // 1000} KB twice as many messages. {cores_text()}",
        "CPU: user and system time of the target's processes, per request in ms, or per chunk in us",
        f"({STREAMS} streams of {CHUNKS} chunks, {PACE * 1000:.0f} ms apart). "
        "p50, p99: of a request, or from writing to reading a chunk.",
        "",
        f"{'load':24}{'target':9}{'CPU best':>10}{'median':>9}{'x bare':>8}{'above':>8}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'per s':>9}",
    ]
    for name in dict.fromkeys(sample.load for sample in samples):
        lines += _block([sample for sample in samples if sample.load == name])
    return "\n".join(lines)


def cores_text() -> str:
    """Which cores were used."""
    where = cores()
    if where.target == where.others:
        return "One core for everything: times are of little use."
    return f"Target on core {where.target}, the rest on core {where.others}."


def _block(samples: Sequence[Sample]) -> list[str]:
    bare = _best([sample for sample in samples if sample.target == "bare"])
    lines: list[str] = []
    for target in dict.fromkeys(sample.target for sample in samples):
        mine = [sample for sample in samples if sample.target == target]
        label = "" if lines else mine[0].load
        p50, p99 = (median(getattr(sample, name) for sample in mine) for name in ("p50", "p99"))
        lines.append(
            f"{label:24}{target:9}{_costs(mine, bare)}{p50:9.2f}{p99:9.2f}{max(sample.rate for sample in mine):9.0f}"
        )
    return lines


def _costs(samples: Sequence[Sample], bare: float | None) -> str:
    best = _best(samples)
    if best is None or not bare:
        return f"{'-':>10}{'-':>9}{'-':>8}{'-':>8}"
    digits = 0 if best > 20 else 3
    middle = median(sample.cpu or 0.0 for sample in samples)
    return f"{best:10.{digits}f}{middle:9.{digits}f}{best / bare:8.2f}{best - bare:8.{min(digits, 2)}f}"


def _best(samples: Sequence[Sample]) -> float | None:
    """The lowest CPU, since noise only adds. Not so for chunks: a target that comes too late reads several at once,
    which is cheap, so there the round with the shortest delay counts."""
    measured = [sample for sample in samples if sample.cpu is not None]
    best = min(measured, key=lambda sample: (sample.p50 if sample.per == "chunk" else sample.cpu) or 0.0, default=None)
    return None if best is None else best.cpu


if __name__ == "__main__":
    sys.exit(main())
