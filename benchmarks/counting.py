"""What does counting by words save over tiktoken alone? All texts of recorded sessions, CPU of the thread.

python -m benchmarks.counting [FOLDER] [--rounds 4]; exit code 1 where the two count differently.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import thread_time
from typing import Any

from trimtab.tokens import Tokenizer, tokenizer

from .economy import SESSIONS

LONGEST = "08-pi-large-0"


def texts(value: Any) -> Iterator[str]:
    """All texts in a value, those in lists and objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


def sessions(folder: Path) -> dict[str, list[str]]:
    """The texts of each session's messages, in order, each once."""
    found = {}
    for file in sorted(folder.glob("*.json.gz")):
        value = json.loads(gzip.decompress(file.read_bytes()))
        found[file.name.removesuffix(".json.gz")] = list(dict.fromkeys(texts(value["messages"])))
    return found


def fresh() -> Tokenizer:
    """A tokenizer with an empty table of words."""
    made = Tokenizer("cl100k_base")
    made.load()
    return made


def seconds(work: Iterable[tuple[Tokenizer, Sequence[str]]], *, beside: bool = False) -> float:
    """CPU of the thread for counting some texts."""
    begun = thread_time()
    for counter, said in work:
        for text in said:
            counter.count(text, beside=beside)
    return thread_time() - begun


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.counting", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SESSIONS, help="the recorded sessions (*.json.gz)")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    found = sessions(arguments.folder)
    if not found:
        parser.error(f"no *.json.gz in {arguments.folder}")
    said = list(found.values())
    plain = tokenizer("cl100k_base")
    plain.load()
    plain.claim()
    seen = fresh()
    seconds([(seen, all_of) for all_of in said])

    def one_table() -> list[tuple[Tokenizer, Sequence[str]]]:
        counter = fresh()
        return [(counter, all_of) for all_of in said]

    rows: dict[str, tuple[list[Sequence[str]], Callable[[], list[tuple[Tokenizer, Sequence[str]]]]]] = {
        "each session with an empty table": ([*said], lambda: [(fresh(), all_of) for all_of in said]),
        "all with one table, as in a proxy": ([*said], one_table),
        "each where all of it was seen before": ([*said], lambda: [(seen, all_of) for all_of in said]),
    }
    if LONGEST in found:
        rows[f"{LONGEST}, empty table"] = ([found[LONGEST]], lambda: [(fresh(), found[LONGEST])])
    print(f"{'':40}{'tiktoken, ms':>14}{'by words, ms':>14}")
    for name, (these, make) in rows.items():
        alone = min(seconds([(plain, one) for one in these], beside=True) for _ in range(arguments.rounds))
        words = min(seconds(make()) for _ in range(arguments.rounds))
        print(f"{name:40}{1000 * alone:14.0f}{1000 * words:14.0f}", flush=True)
    wrong = sum(seen.count(text) != plain.count(text, beside=True) for one in said for text in one)
    print(f"{sum(map(len, said))} texts, {sum(len(text) for one in said for text in one)} characters; {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
