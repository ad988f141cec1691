"""What do references to repeated tool results save on recorded sessions (`condense.repeats`)?

python -m benchmarks.repeats [FOLDER]
"""

import argparse
import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

from benchmarks.economy import READS, SESSIONS, Piece, implicit, pieces, requests

from trimtab.testing import StageBench
from trimtab_stages.condense_repeats import repeats


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.repeats", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SESSIONS, help="the recorded sessions (*.json.gz)")
    print(f"{'session':24}{'copies':>7}{'saved %':>9}" + "".join(f"{f'r={read}':>8}" for read in READS))
    for file in sorted(parser.parse_args().folder.glob("*.json.gz")):
        session = json.loads(gzip.decompress(file.read_bytes()))
        copies, saved, costs = asyncio.run(measure(session))
        line = f"{file.name.removesuffix('.json.gz'):24}{copies:7}{100 * saved:9.1f}"
        print(line + "".join(f"{cost:8.3f}" for cost in costs))


async def measure(session: dict[str, Any]) -> tuple[int, float, tuple[float, ...]]:
    """Copies in the last request, the share of input tokens saved, and the cost over that of the session as it is."""
    dialect = "messages" if session["dialect"] == "anthropic" else "chat"
    before: list[list[Piece]] = []
    after: list[list[Piece]] = []
    copies = 0
    bench = StageBench()
    for messages in requests(session["messages"]):
        body = {"model": "small", "max_tokens": 1, "messages": messages}
        received = bench.exchange(body, dialect=dialect).conversation.messages
        changed = repeats(received, 0)
        copies = len(changed)
        before.append([*pieces(received)])
        after.append([*pieces([changed.get(index, message) for index, message in enumerate(received)])])
    hidden = session["unrecorded_prefix_tokens"]
    tokens = [sum(piece.tokens for turn in side for piece in turn) + hidden * len(side) for side in (before, after)]
    costs = tuple(implicit(after, hidden, read) / implicit(before, hidden, read) for read in READS)
    return copies, 1 - tokens[1] / tokens[0], costs


if __name__ == "__main__":
    main()
