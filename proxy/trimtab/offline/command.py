"""The commands `trimtab explain` and `trimtab replay`."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from trimtab.config import Config, load
from trimtab.errors import BadRequest

from . import explain as explained
from . import explain_text, recorded, replay_table
from .explain import Explanation
from .progress import Progress
from .recorded import Recorded, Source, Unreadable
from .replay import Replay, Session

READS = (0.1, 0.2)
"""Prices of a cached token over a fresh one that are shown unless told otherwise."""


def explain(arguments: argparse.Namespace) -> int:
    """`trimtab explain`. Raises ConfigError for settings, a file or a body that cannot be used."""
    config, raw = load(arguments.config), _input(arguments.file)
    try:
        request = recorded.one(raw, arguments.dialect)
        with quiet():
            told = asyncio.run(_explained(config, request, arguments.pipeline))
    except BadRequest as error:
        raise Unreadable(f"{arguments.file}: {error.message}") from error
    except Unreadable as error:
        raise Unreadable(*(f"{arguments.file}: {problem}" for problem in error.problems)) from error
    if arguments.json:
        _json(told)
    else:
        sys.stdout.write(explain_text.text(told, arguments.read or READS, arguments.lines))
    return 0


async def _explained(config: Config, request: Recorded, pipeline: str) -> Explanation:
    bar = Progress(sys.stderr, 1)
    try:
        return await explained.explain(config, request, pipeline, lambda turn, share: bar.say(f"turn {turn}", share))
    finally:
        bar.end()


def _input(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Unreadable(f"{name}: cannot be read ({error.strerror})") from error


def _json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def replay(arguments: argparse.Namespace) -> int:
    """`trimtab replay`. Raises ConfigError for settings or files that cannot be used."""
    found, reads = recorded.sources(arguments.path), arguments.read or READS
    paths = [arguments.config, *([] if arguments.compare is None else [arguments.compare])]
    configs = [load(path) for path in paths]
    bar = Progress(sys.stderr, len(configs) * sum(source.size for source in found))
    with quiet():
        runs = [asyncio.run(_played(config, arguments, found, bar)) for config in configs]
    bar.end()
    names = [str(config.path) for config in configs]
    if arguments.json:
        told = [{"config": name, **replay_table.data(run, reads)} for name, run in zip(names, runs, strict=True)]
        _json(told[0] if len(told) == 1 else told)
    elif len(runs) == 1:
        sys.stdout.write(replay_table.text(runs[0], reads))
    else:
        sys.stdout.write(replay_table.comparison(names, runs, reads))
    return 0


async def _played(
    config: Config, arguments: argparse.Namespace, found: Sequence[Source], bar: Progress
) -> list[Session]:
    unread: list[str] = []
    async with Replay.opened(config, arguments.pipeline) as run:
        for source in found:
            name = source.path.name
            try:
                told = partial(_said, bar, name, source.size)
                await run.file(source, arguments.model or recorded.MODEL, told)
            except Unreadable as error:
                unread += error.problems
            bar.add(source.size, name)
        for (name, reason), count in run.unread.items():
            unread.append(f"{name}: {count} request{'s' * (count != 1)} cannot be read: {reason}")
        sessions = run.sessions()
    bar.end()
    if not sessions:
        raise Unreadable(*unread)
    for sentence in unread:
        sys.stderr.write(f"left out: {sentence}\n")
    return sessions


def _said(bar: Progress, name: str, size: int, number: int, share: float) -> None:
    bar.say(f"{name}, request {number}", size * share)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged: what goes wrong with a request is told in the report, or in the answer to it."""
    packages = ("trimtab", "trimtab_stages")
    for package in packages:
        logger.disable(package)
    try:
        yield
    finally:
        for package in packages:
            logger.enable(package)
