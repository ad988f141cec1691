"""What a stage costs per request, for the session of the benchmarks: 400 KB, with one new message each time.

Its hooks `request` and `done`, on the caller's side, without what a stage that does nothing costs at the same place;
what a thread does besides is not in it.

python -m tests.docs.cost STAGE|translation [--quick]
"""

import argparse
import asyncio
import gc
import sys
from collections.abc import Sequence
from statistics import median
from time import perf_counter_ns

from benchmarks.lab.bodies import agent

from trimtab.config import load
from trimtab.dialects import DIALECTS
from trimtab.exchange import Exchange, Incoming
from trimtab.facts import Risk, RiskLevel, TokenCount
from trimtab.hookspecs import Stage, StageOptions
from trimtab.memo import MessageTable
from trimtab.models import Target
from trimtab.registry import AnyStage, stage_class
from trimtab.testing import StageBench
from trimtab.translate import spelling, translate

BODIES = {"messages": agent("messages"), "chat": agent("chat")}


class Nothing(Stage[StageOptions]):
    """Does nothing: what it costs is the bench's own."""


async def measure(name: str, dialect: str, rounds: int) -> tuple[float, float]:
    """Microseconds of the first request and, at the median, of a later one, above those of an empty stage."""
    first, later = await _measure(stage_class(name, "cost"), name, dialect, rounds)
    _, bench = await _measure(Nothing, "nothing", dialect, rounds)
    return first - bench, later - bench


async def _measure(cls: type[AnyStage], name: str, dialect: str, rounds: int) -> tuple[float, float]:
    table, make = MessageTable(64 * 1024 * 1024), BODIES[dialect]
    async with StageBench(cls(cls.Options(), name), models=load(environ={}).models) as bench:
        times = []
        for _ in range(rounds):
            conversation = DIALECTS[dialect].parse(b"".join(make()), table)
            exchange = Exchange(
                id="req_cost",
                operation="generate",
                incoming=Incoming("POST", "/v1", peer="127.0.0.1"),
                conversation=conversation,
                resolve=bench.pipeline.target,
            )
            if TokenCount in cls.needs:
                exchange.put(TokenCount(total=100_000))
            if Risk in cls.needs:
                exchange.put(Risk(level=RiskLevel.SAFE, used=100_000, reserve=8_192, limit=204_800, likely=0.53))
            begun = perf_counter_ns()
            await bench.request(exchange)
            bench.done(exchange)
            times.append((perf_counter_ns() - begun) / 1000)
        return times[0], median(times[1:])


def translation(dialect: str, rounds: int) -> tuple[float, float]:
    """The same of a request's way into the other dialect."""
    models, table, make = load(environ={}).models, MessageTable(64 * 1024 * 1024), BODIES[dialect]
    model, other = models.model("glm-4.6"), {"messages": "chat", "chat": "messages"}
    target = Target(models.upstreams[f"zai-{other[dialect]}"], model)
    times = []
    for _ in range(rounds):
        conversation = DIALECTS[dialect].parse(b"".join(make()), table)
        begun = perf_counter_ns()
        translate(conversation, target)
        spelling(conversation, target.dialect)
        times.append((perf_counter_ns() - begun) / 1000)
    return times[0], median(times[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("tests.docs.cost", description=__doc__)
    parser.add_argument("stage", help="a stage's name, or 'translation'")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args(argv)
    gc.disable()
    for dialect in BODIES:
        rounds = 3 if arguments.quick else 200
        if arguments.stage == "translation":
            first, later = translation(dialect, rounds)
        else:
            first, later = asyncio.run(measure(arguments.stage, dialect, rounds))
        sys.stdout.write(f"{arguments.stage} {dialect}: first {first:.0f} us, then {later:.0f} us\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
