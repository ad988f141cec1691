"""What does a request cost in other proxies, beside trimtab and the barest hop, in one run?

python -m benchmarks.peers [--folder FOLDER] [--only NAME ...] [--quick] [--json]
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import uvloop

from .lab.bodies import PATHS, Client, agent, small
from .lab.load import BadAnswer, Plan, load
from .lab.rivals import RIVALS, NotInstalled, Rival, filled, install
from .lab.targets import NotStarted, Target, beside, cores, cpu, free, ready, resident, running

READY_WITHIN = 90.0


class Row(NamedTuple):
    """One proxy: CPU of a request in ms and of a chunk in us, p99 of a chunk's delay in ms, seconds, MB.

    None where it gave no right answer within 30 seconds.
    """

    name: str
    client: str
    one: float | None = None
    many: float | None = None
    agent: float | None = None
    chunk: float | None = None
    late: float | None = None
    first: float | None = None
    idle: float | None = None
    why: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Install what is missing, measure each in turn, and print."""
    arguments = _parser().parse_args(argv)
    rounds, seconds = (1, 1.0) if arguments.quick else (3, 3.0)
    wanted = [rival for rival in RIVALS if not arguments.only or rival.name in arguments.only]
    try:
        rows = list(_rows(Path(arguments.folder), wanted, rounds, seconds))
    except (BadAnswer, NotStarted, TimeoutError, OSError) as error:
        sys.stderr.write(f"peers: {str(error) or type(error).__name__}\n")
        return 1
    print(json.dumps([row._asdict() for row in rows], indent=1) if arguments.json else report(rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.peers", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    usual = Path(tempfile.gettempdir()) / "trimtab-peers"
    parser.add_argument("--folder", default=usual, help="where they are installed, 2 GB in all, and found again")
    names = [rival.name for rival in RIVALS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", action="store_true", help="print the figures instead of the table")
    return parser


def _rows(folder: Path, rivals: Sequence[Rival], rounds: int, seconds: float) -> Iterator[Row]:
    homes: dict[str, Path] = {}
    for rival in rivals:
        try:
            homes[rival.name] = install(rival, folder.resolve(), _tell)
        except NotInstalled as error:
            yield Row(rival.name, rival.client, why=str(error))
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as scratch, running(Path(scratch)) as targets:
        mock = targets[0].port
        for target in targets[1:]:
            for client in PATHS:
                yield uvloop.run(_measure(target, client, _plans(client, seconds), rounds, None))
        for rival in rivals:
            if rival.name not in homes:
                continue
            _tell(f"measuring {rival.name} ...")
            begun = perf_counter()
            try:
                with _started(rival, homes[rival.name], Path(scratch), mock) as target:
                    plans = _plans(rival.client, seconds, filled(rival.fields, target.port, mock, folder), rival.model)
                    yield uvloop.run(_measure(target, rival.client, plans, rounds, begun))
            except (NotStarted, BadAnswer, TimeoutError, OSError) as error:
                yield Row(rival.name, rival.client, why=(str(error) or type(error).__name__)[-300:])


@contextmanager
def _started(rival: Rival, home: Path, scratch: Path, mock: int) -> Iterator[Target]:
    port, own = free(), scratch / f"home-{rival.name}"
    for name, text in rival.files.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(filled(text, port, mock, own))
    own.mkdir(exist_ok=True)
    program, *rest = (filled(word, port, mock, own) for word in rival.command)
    command = [*(["node"] if rival.node else []), str(home / program), *rest]
    environ = {name: filled(value, port, mock, own) for name, value in rival.environ.items()}
    with ExitStack() as stack:
        yield beside(stack, scratch, rival.name, command, port, {**environ, "HOME": str(own), "PYTHONPATH": ""})


def _plans(client: Client, seconds: float, fields: str = "", model: str = "") -> dict[str, Plan]:
    path = PATHS[client]
    return {
        "one": Plan(path, small(client, model=model), 1, seconds, fields=fields),
        "many": Plan(path, small(client, model=model), 32, seconds, fields=fields),
        "agent": Plan(path, agent(client, model=model), 1, seconds, 4_000, fields=fields),
        "chunk": Plan(path, small(client, stream=True, model=model), 64, streams=True, fields=fields),
    }


async def _measure(target: Target, client: str, plans: dict[str, Plan], rounds: int, begun: float | None) -> Row:
    await ready(target, within=READY_WITHIN)
    idle = resident(target.pid or 0)
    await load(target.port, plans["one"]._replace(most=1))
    first = None if begun is None else perf_counter() - begun
    costs: dict[str, float | None] = {}
    late: float | None = None
    for name, plan in plans.items():
        try:
            if not plan.streams:
                await load(target.port, plan._replace(seconds=0.5))
            samples = [await _cost(target, plan) for _ in range(1 if plan.streams else rounds)]
        except BadAnswer as error:
            _tell(f"{target.name}, {name}: {str(error)[:200]}")
            costs[name] = None
        else:
            costs[name] = median(cost for cost, _ in samples)
            late = samples[0][1] if plan.streams else late
    return Row(target.name, client, costs["one"], costs["many"], costs["agent"], costs["chunk"], late, first, idle)


async def _cost(target: Target, plan: Plan) -> tuple[float, float]:
    """CPU of a request in ms, or of a chunk in us, and the 99th centile of the delays in ms."""
    before = cpu(target.pid or 0)
    measured = await load(target.port, plan)
    times = sorted(measured.delays if plan.streams else measured.latencies)
    spent = (cpu(target.pid or 0) - before) / len(times)
    return spent * (1e6 if plan.streams else 1e3), times[len(times) * 99 // 100]


def report(rows: Sequence[Row]) -> str:
    """The table; a proxy that could not be measured says why."""
    where = cores()
    lines = [
        f"CPU ms of a request, us of a chunk (64 paced streams); p99 of a chunk's delay in ms. Core {where.target}.",
        "",
        f"{'proxy':20}{'client':10}{'1 KB':>9}{'32 at once':>12}{'421 KB':>9}{'chunk us':>10}{'p99 ms':>9}"
        f"{'first s':>9}{'RSS MB':>8}",
    ]
    for row in rows:
        if row.why:
            lines.append(f"{row.name:20}{row.client:10}not measured: {' '.join(row.why.split())}")
            continue
        cells = [(row.one, 9, 2), (row.many, 12, 2), (row.agent, 9, 1), (row.chunk, 10, 0), (row.late, 9, 1)]
        cells += [(row.first, 9, 1), (row.idle, 8, 0)]
        told = "".join(
            f"{'-':>{width}}" if cell is None else f"{cell:{width}.{digits}f}" for cell, width, digits in cells
        )
        lines.append(f"{row.name:20}{row.client:10}{told}")
    return "\n".join(lines)


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    sys.exit(main())
