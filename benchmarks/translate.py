"""What does translation add to a request? Anthropic client to a Chat upstream and the other way, beside none.

python -m benchmarks.translate [--quick] [--json]
"""

import sys
from functools import partial
from statistics import median

from .lab.bodies import MODELS, PATHS, Client, Make, agent, small
from .lab.load import Plan, load
from .lab.script import Result, main
from .lab.targets import Target, spent

OTHER: dict[Client, Client] = {"messages": "chat", "chat": "messages"}
HEAD = ("client, body", "untranslated ms", "translated ms", "x")
CLIENTS: tuple[Client, ...] = ("messages", "chat")


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """CPU of a request, the median of rounds in turn; each has one new message."""
    rows: list[tuple[str | float, ...]] = []
    for client in CLIENTS:
        for name, make in (("1 KB", small(client)), ("421 KB", agent(client))):
            costs = await _costs(targets["trimtab"], client, make, 2 if quick else 5, 0.5 if quick else 2.0)
            rows.append((f"{client}, {name}", *costs, costs[1] / costs[0]))
    return Result(HEAD, rows)


async def _costs(target: Target, client: Client, make: Make, rounds: int, seconds: float) -> list[float]:
    makes: tuple[Make, ...] = (make, partial(_named, make, client))
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for which, each in enumerate(makes):
            before = spent(target.pid or 0)
            measured = await load(target.port, Plan(PATHS[client], each, 1, seconds, 4_000))
            # The first round is the first sight.
            if number:
                found[which].append((spent(target.pid or 0) - before) / len(measured.latencies) * 1000)
    return [median(costs) for costs in found]


def _named(make: Make, client: Client) -> list[bytes]:
    """The same request for the model's name that leads to the other dialect."""
    first, *rest = make()
    own, other = (f'"model":"{MODELS[name]}"'.encode() for name in (client, OTHER[client]))
    return [first.replace(own, other, 1), *rest]


if __name__ == "__main__":
    sys.exit(main("translate", __doc__ or "", measure))
