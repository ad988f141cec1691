"""What does a turn cost as its conversation grows? One is replayed turn by turn: CPU per turn and resident memory.

python -m benchmarks.session [--file FILE] [--translated] [--quick] [--json]
"""

import argparse
import asyncio
import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, NamedTuple

import uvloop

from .lab.bodies import MODELS, PATHS, Client, agent, small
from .lab.load import BadAnswer, Connection
from .lab.targets import NotStarted, Target, cores, cpu, ready, running

FILE = Path(__file__).parents[2] / "shared" / "fixtures" / "conversations" / "08-pi-large-0.json.gz"
TENTHS = 10
QUICK = 100
"""Turns of a quick run."""
WARM_UP = 20
"""Small requests before the first turn: the table of the tokenizer is loaded by then."""
MB = 1e6
OTHER: dict[Client, Client] = {"messages": "chat", "chat": "messages"}

_FIELDS = (
    "host: 127.0.0.1\r\nauthorization: Bearer bench\r\nanthropic-version: 2023-06-01\r\n"
    "content-type: application/json\r\n"
)
_COUNTING = re.compile(rb"\r\nserver-timing:[^\r]*\btoken-count;dur=([\d.]+)", re.IGNORECASE)
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Session(NamedTuple):
    """A conversation in the dialect of its client, each message in the bytes it always has."""

    name: str
    client: Client
    head: dict[str, Any]
    messages: list[bytes]
    ends: list[int]
    """How many messages each request holds."""


class Turn(NamedTuple):
    """A request: its bytes, the client's milliseconds, and those that token-count took, where the answer told."""

    size: int
    ms: float
    counting: float | None


class Part(NamedTuple):
    """Some turns in a row: means per turn, and what stood in memory behind the last."""

    first: int
    last: int
    body_kb: float
    cpu_ms: float
    cpu_ms_per_mb: float
    bare_ms: float
    """CPU of the bare hop for the same."""
    counting_ms: float | None
    p50_ms: float
    rss_mb: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.file is not None and not arguments.file.is_file():
        parser.error(f"no such file: {arguments.file}")
    session = _session(arguments.file or FILE)
    turns = QUICK if arguments.quick else len(session.ends)
    try:
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder, running(Path(folder)) as targets:
            idle, parts = uvloop.run(measure(targets, session, turns, translated=arguments.translated))
    except (BadAnswer, NotStarted, TimeoutError, OSError) as error:
        sys.stderr.write(f"session: {str(error) or type(error).__name__}\n")
        return 1
    if arguments.json:
        print(json.dumps([part._asdict() for part in parts], indent=1))
    else:
        print(report(session, idle, parts, translated=arguments.translated))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.session", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--file", type=Path, help="a recorded session (default: the longest at hand, else a made one)")
    parser.add_argument("--translated", action="store_true", help="to the upstream that speaks the other dialect")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK} turns only")
    parser.add_argument("--json", action="store_true", help="print the figures instead of the table")
    return parser


def _session(file: Path) -> Session:
    """The session of a file; without one that of the other benchmarks' agent."""
    if file.is_file():
        recorded = json.loads(gzip.decompress(file.read_bytes()))
        client: Client = "messages" if recorded["dialect"] == "anthropic" else "chat"
        name = file.name.removesuffix(".json.gz")
    else:
        recorded, client, name = json.loads(b"".join(agent("messages")())), "messages", "made"
    messages, head = list(recorded["messages"]), {"stream": False, "max_tokens": 8192}
    if recorded.get("tools"):
        head["tools"] = recorded["tools"]
    if recorded.get("system") and client == "messages":
        head["system"] = recorded["system"]
    elif recorded.get("system"):
        messages.insert(0, {"role": "system", "content": recorded["system"]})
    return Session(name, client, head, [_json(message) for message in messages], list(_ends(messages)))


def _ends(messages: Sequence[dict[str, Any]]) -> Iterator[int]:
    """A request ends where the assistant speaks next, or nobody does."""
    for index, message in enumerate(messages, 1):
        last = index == len(messages) or messages[index]["role"] == "assistant"
        if last and message["role"] not in ("assistant", "system"):
            yield index


def bodies(session: Session, *, translated: bool) -> Iterator[bytes]:
    """The requests of a session, in order; each extends the one before."""
    model = MODELS[OTHER[session.client] if translated else session.client]
    start = _json({"model": model, **session.head})[:-1] + b',"messages":['
    for end in session.ends:
        yield start + b",".join(session.messages[:end]) + b"]}"


async def measure(
    targets: Sequence[Target], session: Session, turns: int, *, translated: bool
) -> tuple[float, list[Part]]:
    """Memory before the first turn, and the tenths of the session; the bare hop gets each tenth before trimtab."""
    by_name = {target.name: target for target in targets}
    bare, trimtab = [Replay(by_name[name], session, translated=translated) for name in ("bare", "trimtab")]
    for target in targets:
        await ready(target)
    with closing(await bare.start()), closing(await trimtab.start()):
        idle, parts = trimtab.resident(), []
        for first, last in _tenths(min(turns, len(session.ends))):
            beside, _ = await bare.turns(last - first)
            spent, taken = await trimtab.turns(last - first)
            parts.append(_part(first, taken, (spent, beside), trimtab.resident()))
    return idle, parts


class Replay:
    """A session that is replayed to a target, over one connection."""

    def __init__(self, target: Target, session: Session, *, translated: bool) -> None:
        self._port, self._pid = target.port, target.pid or 0
        self._client = session.client
        self._bodies = bodies(session, translated=translated)

    async def start(self) -> asyncio.Transport:
        """Connect, and warm the target up."""
        loop = asyncio.get_running_loop()
        transport, self._connection = await loop.create_connection(Connection, "127.0.0.1", self._port)
        for _ in range(WARM_UP):
            await self._turn(b"".join(small(self._client)()))
        return transport

    async def turns(self, number: int) -> tuple[float, list[Turn]]:
        """Take the next turns; with the seconds of CPU that they cost the target."""
        before = _spent(self._pid)
        taken = [await self._turn(body) for body in islice(self._bodies, number)]
        return _spent(self._pid) - before, taken

    def resident(self) -> float:
        """Megabytes in memory."""
        return int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * _PAGE / MB

    async def _turn(self, body: bytes) -> Turn:
        head = f"POST {PATHS[self._client]} HTTP/1.1\r\ncontent-length: {len(body)}\r\n{_FIELDS}\r\n"
        begun = perf_counter()
        answer = await self._connection.ask([head.encode(), body])
        took = (perf_counter() - begun) * 1000
        counting = _COUNTING.search(answer, 0, answer.find(b"\r\n\r\n"))
        return Turn(len(body), took, float(counting[1]) if counting else None)


def _tenths(turns: int) -> Iterator[tuple[int, int]]:
    return ((first, last) for first, last in pairwise(turns * n // TENTHS for n in range(TENTHS + 1)) if last > first)


def _part(first: int, turns: Sequence[Turn], seconds: tuple[float, float], resident: float) -> Part:
    size, number = sum(turn.size for turn in turns), len(turns)
    told = [turn.counting for turn in turns if turn.counting is not None]
    spent, beside = (1000 * each for each in seconds)
    return Part(
        first=first + 1,
        last=first + number,
        body_kb=size / number / 1000,
        cpu_ms=spent / number,
        cpu_ms_per_mb=spent * MB / size,
        bare_ms=beside / number,
        counting_ms=fmean(told) if told else None,
        p50_ms=median(turn.ms for turn in turns),
        rss_mb=resident,
    )


def _spent(pid: int) -> float:
    """Seconds of CPU, from the scheduler, which counts finer than the ticks of /proc/PID/stat, where it tells."""
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        tasks = []
    spent = sum(int(task.split()[0]) for task in tasks) / 1e9
    return spent or cpu(pid)


def report(session: Session, idle: float, parts: Sequence[Part], *, translated: bool) -> str:
    """The table."""
    way = f"translated to {OTHER[session.client]} and back" if translated else "not translated"
    where = f"Target on core {cores().target}, the rest on core {cores().others}."
    lines = [
        f"Session {session.name}: {parts[-1].last} of its {len(session.ends)} turns, dialect {session.client}, {way}.",
        f"Not streamed, one connection, no pauses. {where} RSS before the first turn: {idle:.1f} MB.",
        "CPU: user and system time of the process; bare: of the bare hop, for the same bytes. count: what the stage",
        "token-count says it took (server-timing). p50: what the client waited. RSS: behind the last of the turns.",
        "",
        f"{'turns':>11}{'body KB':>10}{'CPU ms/turn':>13}{'CPU ms/MB':>11}{'bare ms/turn':>14}{'count ms':>10}"
        f"{'p50 ms':>9}{'RSS MB':>9}",
    ]
    lines += map(_line, parts)
    return "\n".join([*lines, "", _verdict(parts)])


def _line(part: Part) -> str:
    counting = "-" if part.counting_ms is None else f"{part.counting_ms:.2f}"
    return (
        f"{f'{part.first}-{part.last}':>11}{part.body_kb:10.1f}{part.cpu_ms:13.2f}{part.cpu_ms_per_mb:11.2f}"
        f"{part.bare_ms:14.2f}{counting:>10}{part.p50_ms:9.2f}{part.rss_mb:9.1f}"
    )


def _verdict(parts: Sequence[Part]) -> str:
    first, last = parts[0], parts[-1]
    spent, bare, counted = (
        sum((getattr(part, name) or 0.0) * (part.last - part.first + 1) for part in parts)
        for name in ("cpu_ms", "bare_ms", "counting_ms")
    )
    return (
        f"Last tenth over first: body x{last.body_kb / first.body_kb:.2f}, "
        f"CPU per turn x{last.cpu_ms / first.cpu_ms:.2f}, bare x{last.bare_ms / first.bare_ms:.2f}, "
        f"RSS {last.rss_mb - first.rss_mb:+.1f} MB.\n"
        f"All turns: {spent / 1000:.2f} s of CPU, {counted / 1000:.2f} s of it in token-count; "
        f"the bare hop {bare / 1000:.2f} s."
    )


def _json(value: Any) -> bytes:
    """JSON as JavaScript clients write it, a lone surrogate as an escape."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub(r"[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text).encode()


if __name__ == "__main__":
    sys.exit(main())
