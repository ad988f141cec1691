"""What does a session that grows to 400 KB in 30 turns add to what its client waits?

python -m benchmarks.growing [--quick] [--json]
"""

import json
import sys
from contextlib import closing
from statistics import median
from time import perf_counter

from .lab.bodies import PATHS, agent
from .lab.load import Connection
from .lab.script import Result, connect, main, post
from .lab.targets import Target

TURNS, SIZE = 30, 400_000
HEAD = ("session", "turns", "KB at last", "bare hop, s", "trimtab, s", "added, s", "first, ms", "others, ms at most")


async def measure(targets: dict[str, Target], quick: bool) -> Result:
    """Each session is new; its turns go to the bare hop and to trimtab in turn. The last row is the median."""
    await _waited(await connect(targets["trimtab"]), _bodies(0)[0])
    rows: list[tuple[str | float, ...]] = []
    for number in range(1, 3 if quick else 6):
        bodies, waited = _bodies(number), dict[str, list[float]](bare=[], trimtab=[])
        bare, trimtab = await connect(targets["bare"]), await connect(targets["trimtab"])
        with closing(bare.transport), closing(trimtab.transport):
            for body in bodies:
                waited["bare"].append(await _waited(bare, body))
                waited["trimtab"].append(await _waited(trimtab, body))
        more = [mine - theirs for mine, theirs in zip(waited["trimtab"], waited["bare"], strict=True)]
        sums = [sum(waited[name]) for name in ("bare", "trimtab")]
        rows.append(
            (str(number), TURNS, len(bodies[-1]) / 1000, *sums, sum(more), 1000 * more[0], 1000 * max(more[1:]))
        )
    numbers = zip(*[row[3:] for row in rows], strict=True)
    rows.append(("median", TURNS, rows[0][2], *[median(map(float, column)) for column in numbers]))
    return Result(HEAD, rows)


async def _waited(connection: Connection, body: bytes) -> float:
    begun = perf_counter()
    await connection.ask(post(PATHS["messages"], body))
    return perf_counter() - begun


def _bodies(number: int) -> list[bytes]:
    """The requests of a session; every message of another `number` is another one."""
    whole = json.loads(b"".join(agent("messages", size=SIZE, number=2 * TURNS)()))
    messages = json.loads(json.dumps(whole["messages"]).replace("self.read", f"self.read_{number}"))
    return [
        json.dumps({**whole, "messages": messages[: 2 * turn + 1]}, ensure_ascii=False, separators=(",", ":")).encode()
        for turn in range(TURNS)
    ]


if __name__ == "__main__":
    sys.exit(main("growing", __doc__ or "", measure))
