"""What do references to repeated tool results save on recorded sessions (`condense.repeats`)?

python -m benchmarks.repeats [FOLDER]
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmarks.economy import READS, SESSIONS

from trimtab import caches
from trimtab.caches import Piece
from trimtab.offline.meter import of_message
from trimtab.offline.recorded import Source, read
from trimtab.testing import StageBench
from trimtab_stages.condense_repeats import repeats


class Result(NamedTuple):
    """What one session gave."""

    copies: int
    """In its last request."""
    saved: float
    """The share of its input tokens."""
    costs: tuple[float, ...]
    """At each of READS, over the session as it is."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.repeats", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SESSIONS, help="the recorded sessions (*.json.gz)")
    print(f"{'session':24}{'copies':>7}{'saved %':>9}" + "".join(f"{f'r={read}':>8}" for read in READS))
    for file in sorted(parser.parse_args().folder.glob("*.json.gz")):
        found = measure(file)
        line = f"{file.name.removesuffix('.json.gz'):24}{found.copies:7}{100 * found.saved:9.1f}"
        print(line + "".join(f"{cost:8.3f}" for cost in found.costs), flush=True)


def measure(file: Path) -> Result:
    """One session, with the references and without; what stands before its messages is the same in both."""
    before: list[list[Piece]] = []
    after: list[list[Piece]] = []
    copies = hidden = 0
    bench = StageBench()
    for request in read(Source(file), "small"):
        received = bench.exchange(request.body, dialect=request.dialect).conversation.messages
        changed = repeats(received, 0)
        copies, hidden = len(changed), request.hidden
        before.append([each for message in received for each in of_message(message)])
        after.append([e for index, message in enumerate(received) for e in of_message(changed.get(index, message))])
    one, other = (caches.implicit(side, hidden) for side in (before, after))
    tokens = [sum(split.tokens for split in splits) for splits in (one, other)]
    costs = tuple(caches.price(other, read) / caches.price(one, read) for read in READS)
    return Result(copies, 1 - tokens[1] / tokens[0], costs)


if __name__ == "__main__":
    main()
