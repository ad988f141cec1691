"""What every benchmark's command line has."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from .load import BadAnswer, Connection
from .targets import NotStarted, Target, cores, ready, running


class Result(NamedTuple):
    """A table: what its columns are, and rows of words and numbers."""

    head: tuple[str, ...]
    rows: list[tuple[str | float, ...]]
    wrong: tuple[str, ...] = ()
    """What the measured thing must not do and did."""


Measure = Callable[[dict[str, Target], bool], Awaitable[Result]]
"""Measures, given the targets by name and whether to be quick."""


def main(name: str, doc: str, measure: Measure, argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, start the targets, measure, print."""
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short run with coarse figures")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args(argv)
    try:
        result = uvloop.run(_measured(measure, arguments.quick))
    except (BadAnswer, NotStarted, TimeoutError, OSError) as error:
        sys.stderr.write(f"{name}: {str(error) or type(error).__name__}\n")
        return 1
    if arguments.json:
        print(json.dumps([dict(zip(result.head, row, strict=True)) for row in result.rows], indent=1))
    else:
        print(f"{doc.splitlines()[0]}\nTarget on core {cores().target}, the rest on core {cores().others}.\n")
        print(table(result))
    for words in result.wrong:
        sys.stderr.write(f"VIOLATION {words}\n")
    return 1 if result.wrong else 0


async def _measured(measure: Measure, quick: bool) -> Result:
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder, running(Path(folder)) as targets:
        for target in targets:
            await ready(target)
        return await measure({target.name: target for target in targets}, quick)


def table(result: Result) -> str:
    """The rows in columns."""
    cells = [result.head, *[tuple(map(_cell, row)) for row in result.rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(result.head))]
    return "\n".join(
        "  ".join(_aligned(row[at], widths[at], at) for at in range(len(widths))).rstrip() for row in cells
    )


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else f"{value:.{0 if abs(value) >= 100 else 2}f}"


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if column else cell.ljust(width)


async def connect(target: Target) -> Connection:
    """A connection to a target; close its transport."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", target.port)
    return connection


def post(path: str, body: bytes) -> list[bytes]:
    """A request in pieces."""
    head: Any = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer bench\r\nanthropic-version: 2023-06-01\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return [head.encode(), body]
