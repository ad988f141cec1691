"""What do the edits of env-dedup cost or save on recorded sessions, with the provider's prefix cache in the price?

python -m benchmarks.economy [FOLDER] [--strict] [--strategy NAME] [--whole-block] [--max-age MINUTES] [--all]
"""

import argparse
import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from loguru import logger

from trimtab.api import Block, Image, Text, Thinking, ToolResult, ToolUse, tokenizer
from trimtab.testing import StageBench
from trimtab_stages.env_dedup import EnvDeduplication, EnvDedupOptions

SESSIONS = Path(__file__).parents[2] / "shared" / "fixtures" / "conversations"
READS = (0.1, 0.2)
"""Prices of a cached input token over a fresh one."""
WRITE = 1.25
"""Price of a token written at an explicit mark."""
LOOKBACK = 20
"""Blocks before a mark in which a provider looks for what it has."""
FRAMING = 4
MARK = {"cache_control": {"type": "ephemeral"}}

BARS = {
    "01-bob-445cbc": (0.596, 0.591, 0.595),
    "02-bob-b156c6": (0.804, 0.806, 0.803),
    "03-bob-1520e1": (0.839, 0.833, 0.841),
    "04-bob-5d438d": (0.678, 0.674, 0.677),
    "12-cline-assembled-1": (0.939, 0.935, 0.940),
}
"""Cost at each of READS, and with marks, to be reached; no other session may cost more than without the stage."""


DEFAULTS = msgspec.to_builtins(EnvDedupOptions())
EVERY = (
    EnvDedupOptions(),
    EnvDedupOptions(strategy="delta"),
    EnvDedupOptions(strategy="selective_removal"),
    EnvDedupOptions(strategy="merge"),
    EnvDedupOptions(strategy="keep_most_relevant"),
    EnvDedupOptions(whole_block=True),
    EnvDedupOptions(max_age=10),
)


class Piece(NamedTuple):
    """A block as the provider reads it: its text, its tokens, and whether a cache mark stands on it."""

    text: str
    tokens: int
    marked: bool


class Sums(NamedTuple):
    """Input tokens of a session, and their price in fresh tokens: at each of READS, and with marks at the first."""

    tokens: float
    prices: tuple[float, ...]

    def over(self, other: "Sums") -> tuple[float, ...]:
        """The prices over another's."""
        return tuple(mine / theirs for mine, theirs in zip(self.prices, other.prices, strict=True))


class Result(NamedTuple):
    """What one session gave."""

    name: str
    turns: int
    edited: int
    saved: float
    costs: tuple[float, ...]

    @property
    def kept(self) -> bool:
        """Whether it is as cheap as it must be."""
        bars = BARS.get(self.name, (1.0,) * len(self.costs))
        return all(round(cost, 3) <= bar for cost, bar in zip(self.costs, bars, strict=True))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.economy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SESSIONS, help="the recorded sessions (*.json.gz)")
    parser.add_argument("--strategy", default="keep_latest", help="of env-dedup")
    parser.add_argument("--whole-block", action="store_true", help="of env-dedup")
    parser.add_argument("--max-age", type=int, default=0, metavar="MINUTES", help="of env-dedup")
    parser.add_argument("--all", action="store_true", help="every strategy, one table each")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a session costs more than the bars allow")
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.json.gz"))
    if not files:
        parser.error(f"no *.json.gz in {arguments.folder}")
    chosen = EnvDedupOptions(strategy=arguments.strategy, whole_block=arguments.whole_block, max_age=arguments.max_age)
    logger.remove()
    results = []
    for options in EVERY if arguments.all else (chosen,):
        results += table(files, options)
    return int(arguments.strict and not all(result.kept for result in results))


def table(files: Sequence[Path], options: EnvDedupOptions) -> list[Result]:
    """Measure and print one table."""
    told = {name: value for name, value in msgspec.to_builtins(options).items() if value != DEFAULTS[name]}
    print(", ".join(f"{name} {value}" for name, value in told.items()) or "the defaults")
    print(f"{'session':24}{'turns':>6}{'edited':>8}{'saved %':>9}{'r=0.1':>8}{'r=0.2':>8}{'marks':>8}  at most")
    results = []
    for file in files:
        session = json.loads(gzip.decompress(file.read_bytes()))
        results.append(asyncio.run(measure(file.name.removesuffix(".json.gz"), session, options)))
        print(row(results[-1]))
    costs = [cost for result in results if result.edited for cost in (result.costs[0], result.costs[-1])]
    if costs:
        print(f"sessions with blocks, r=0.1 and marks: {min(costs):.3f}-{max(costs):.3f}\n")
    return results


def row(result: Result) -> str:
    """A line of the table."""
    costs = "".join(f"{cost:8.3f}" for cost in result.costs)
    bars = " / ".join(f"{bar:.3f}" for bar in BARS.get(result.name, (1.0, 1.0, 1.0)))
    line = f"{result.name:24}{result.turns:6}{result.edited:8}{100 * result.saved:9.1f}{costs}  {bars}"
    return line if result.kept else f"{line}  MISSED"


async def measure(name: str, session: dict[str, Any], options: EnvDedupOptions) -> Result:
    """One session, without the stage and with it; requests that leave as they came cost the same."""
    hidden = session["unrecorded_prefix_tokens"]
    plain = [turn async for turn in _play(session, options, with_marks=False)]
    edited = sum(before != after for before, after in plain)
    if not edited:
        return Result(name, len(plain), 0, 0.0, (1.0,) * (len(READS) + 1))
    marked = [turn async for turn in _play(as_messages(session), options, with_marks=True)]
    sums = [
        Sums(
            sum(sum(piece.tokens for piece in turn[side]) + hidden for turn in plain),
            (
                *(implicit([turn[side] for turn in plain], hidden, read) for read in READS),
                explicit([turn[side] for turn in marked], hidden, READS[0]),
            ),
        )
        for side in (0, 1)
    ]
    return Result(name, len(plain), edited, 1 - sums[1].tokens / sums[0].tokens, sums[1].over(sums[0]))


async def _play(
    session: dict[str, Any], options: EnvDedupOptions, *, with_marks: bool
) -> AsyncIterator[tuple[list[Piece], list[Piece]]]:
    """The pieces of each request, as the client sends it and as it leaves."""
    dialect = "messages" if session["dialect"] == "anthropic" else "chat"
    head = [piece(str(session.get("system") or ""), 0), piece(json.dumps(session.get("tools") or []), 0)]
    async with StageBench(EnvDeduplication(options)) as bench:
        for messages in requests(session["messages"]):
            given = with_last_marked(messages) if with_marks else messages
            exchange = bench.exchange({"model": "small", "max_tokens": 1, "messages": given}, dialect=dialect)
            await bench.request(exchange)
            received, leaving = exchange.received.messages, exchange.conversation.messages
            if exchange.notes:
                raise SystemExit(f"the stage was undone: {exchange.notes}")
            before = [*head, *pieces(received)]
            after = before if leaving == received else [*head, *pieces(leaving)]
            yield before, after


def requests(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The messages of each request of a session: up to each turn of the user."""
    for index, message in enumerate(messages):
        last = index + 1 == len(messages) or messages[index + 1]["role"] == "assistant"
        if message["role"] != "assistant" and last:
            yield list(messages[: index + 1])


def as_messages(session: dict[str, Any]) -> dict[str, Any]:
    """A session of texts and images in Anthropic's dialect, where cache marks are at home."""
    if session["dialect"] == "anthropic":
        return session
    messages = [{**m, "content": [_part(part) for part in _parts(m["content"])]} for m in session["messages"]]
    return {**session, "dialect": "anthropic", "messages": messages}


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image_url":
        return part
    media, _, data = part["image_url"]["url"].removeprefix("data:").partition(";base64,")
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def with_last_marked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with a cache mark on the last block of the last two of the user, as Cline and Roo set them."""
    marked = list(messages)
    for index in [index for index, message in enumerate(messages) if message["role"] == "user"][-2:]:
        parts = _parts(messages[index]["content"])
        marked[index] = {**messages[index], "content": [*parts[:-1], {**parts[-1], **MARK}]}
    return marked


def pieces(messages: Sequence[Any]) -> Iterator[Piece]:
    """The blocks of some messages."""
    for message in messages:
        for number, block in enumerate(message.blocks):
            yield piece(_text(block), 0 if number else FRAMING, marked=b'"cache_control"' in block.raw)


@lru_cache(maxsize=100_000)
def piece(text: str, framing: int, *, marked: bool = False) -> Piece:
    """A text counted once."""
    return Piece(text, tokenizer().count(text) + framing, marked)


def _text(block: Block) -> str:
    match block:
        case Text() | Thinking():
            return block.text
        case ToolUse():
            return f"{block.name} {block.input.decode()}"
        case ToolResult():
            return "\n".join(map(_text, block.content))
        case Image():
            # About 1,500 tokens, different for each picture.
            return " x" * 1500 + sha256(block.data.encode()).hexdigest()
    return msgspec.json.encode(block).decode()


def implicit(turns: Sequence[Sequence[Piece]], hidden: int, read: float) -> float:
    """The price where the provider has what the request before had in common with this one."""
    price = 0.0
    before: Sequence[Piece] = ()
    for turn in turns:
        total = sum(each.tokens for each in turn) + hidden
        cached = _common(before, turn) + hidden if before else 0
        price += read * cached + total - cached
        before = turn
    return price


def _common(before: Sequence[Piece], after: Sequence[Piece]) -> int:
    tokens = 0
    for old, new in zip(before, after, strict=False):
        if old.text != new.text:
            return tokens + tokenizer().count(commonprefix([old.text, new.text]))  # noqa: RUF071  # of texts
        tokens += new.tokens
    return tokens


def explicit(turns: Sequence[Sequence[Piece]], hidden: int, read: float) -> float:
    """The price where the provider has what stood before a mark, and looks for it at a mark and 20 blocks before."""
    price = 0.0
    known: set[bytes] = set()
    for turn in turns:
        ends, prefixes = [hidden], [b""]
        for each in turn:
            ends.append(ends[-1] + each.tokens)
            prefixes.append(sha256(prefixes[-1] + each.text.encode("utf-8", "surrogatepass")).digest())
        marks = [index + 1 for index, each in enumerate(turn) if each.marked]
        found = [
            index for mark in marks for index in range(mark, max(0, mark - LOOKBACK), -1) if prefixes[index] in known
        ]
        cached, written = ends[max(found)] if found else 0, ends[max(marks)]
        written = max(cached, written)
        price += read * cached + WRITE * (written - cached) + ends[-1] - written
        known.update(prefixes[mark] for mark in marks)
    return price


if __name__ == "__main__":
    sys.exit(main())
