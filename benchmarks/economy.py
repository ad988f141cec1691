"""What do the edits of env-dedup cost or save on recorded sessions, with the provider's prefix cache in the price?

python -m benchmarks.economy [FOLDER] [--strict] [--strategy NAME] [--whole-block] [--max-age MINUTES] [--all]
python -m benchmarks.economy --chain [FOLDER] [--strict]

It is `trimtab replay` with env-dedup alone in the pipeline, or with the whole chain as it is shipped, and bars.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from loguru import logger

import trimtab
from trimtab.config import Config, load
from trimtab.offline.recorded import MODEL, Source
from trimtab.offline.replay import Replay, Session
from trimtab_stages.env_dedup import EnvDedupOptions

SHIPPED = Path(trimtab.__file__).with_name("pipelines.toml")
SESSIONS = Path(__file__).parents[2] / "shared" / "fixtures" / "conversations"
READS = (0.1, 0.2)
"""Prices of a cached input token over a fresh one."""

BARS = {
    "01-bob-445cbc": (0.596, 0.591, 0.595),
    "02-bob-b156c6": (0.804, 0.806, 0.803),
    "03-bob-1520e1": (0.839, 0.833, 0.841),
    "04-bob-5d438d": (0.678, 0.674, 0.677),
    "12-cline-assembled-1": (0.939, 0.935, 0.940),
}
"""Cost at each of READS, and with marks, to be reached; no other session may cost more than without the stage."""

MARKS = f"""
[upstream.marks]
dialect = "messages"
base-url = "http://marks.test"
cache = {{ kind = "explicit" }}
[model."{MODEL}"]
images = true
upstreams = {{ messages = "marks" }}
"""
"""An upstream as Anthropic's: its cache wants marks, and its model sees images."""

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


class Result(NamedTuple):
    """What one session gave."""

    name: str
    turns: int
    edited: int
    saved: float
    costs: tuple[float, ...]
    """At each of READS, and with marks at the first of them, over the session as the client sent it."""

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
    parser.add_argument(
        "--chain", action="store_true", help="all stages as they are shipped, in place of env-dedup alone"
    )
    parser.add_argument("--all", action="store_true", help="every strategy, one table each")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a session costs more than the bars allow")
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.json.gz"))
    if not files:
        parser.error(f"no *.json.gz in {arguments.folder}")
    chosen = EnvDedupOptions(strategy=arguments.strategy, whole_block=arguments.whole_block, max_age=arguments.max_age)
    logger.remove()
    if arguments.chain:
        results = table(files, "the shipped chain; marks: at an upstream that wants them", shipped(), shipped(MARKS))
        return int(arguments.strict and not all(result.kept for result in results))
    results = []
    for options in EVERY if arguments.all else (chosen,):
        told = {name: value for name, value in msgspec.to_builtins(options).items() if value != DEFAULTS[name]}
        title = ", ".join(f"{name} {value}" for name, value in told.items()) or "the defaults"
        results += table(files, title, chain(options))
    return int(arguments.strict and not all(result.kept for result in results))


def table(files: Sequence[Path], title: str, config: Config, marks: Config | None = None) -> list[Result]:
    """Measure and print one table; `marks` is the configuration for a cache with marks, where it is another one."""
    print(title)
    print(f"{'session':24}{'turns':>6}{'edited':>8}{'saved %':>9}{'r=0.1':>8}{'r=0.2':>8}{'marks':>8}  at most")
    results = []
    for file in files:
        found = asyncio.run(measure(file, config))
        if marks is not None:
            found = found._replace(costs=(*found.costs[:-1], asyncio.run(measure(file, marks)).costs[-1]))
        results.append(found)
        print(row(results[-1]), flush=True)
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


def shipped(more: str = "") -> Config:
    """The chain as it is shipped, with some rows more."""
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        path = Path(folder, "pipelines.toml")
        path.write_text(SHIPPED.read_text("utf-8") + more)
        return load(path, environ={})


def chain(options: EnvDedupOptions) -> Config:
    """A configuration with env-dedup and no other stage."""
    written = "\n".join(
        f"{name} = {msgspec.json.encode(value).decode()}" for name, value in msgspec.to_builtins(options).items()
    )
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        path = Path(folder, "pipelines.toml")
        path.write_text(f'[pipeline.default]\nstages = ["env-dedup"]\n[stage.env-dedup]\n{written}\n')
        return load(path, environ={})


async def measure(file: Path, config: Config) -> Result:
    """One session, as the client sent it and behind the stage."""
    async with Replay.opened(config) as replay:
        (session,) = await replay.file(Source(file))
    # What a stage notes of an edit that it weighed is no reason to stop.
    notes = [note for note in session.notes if "pay" not in note]
    if notes or session.ended:
        raise SystemExit(f"{file.name}: {notes or session.ended}")
    return result(file.name.removesuffix(".json.gz"), session)


def result(name: str, session: Session) -> Result:
    """What a session gave, of what its replay tells."""
    client, sent = session.implicit[0], session.implicit[-1]
    marked, kept = session.marks[0], session.marks[-1]
    costs = [sent.price(read) / client.price(read) for read in READS]
    return Result(
        name,
        session.requests,
        max(behind.edited for behind in session.implicit),
        1 - sent.tokens / client.tokens,
        (*costs, kept.price(READS[0]) / marked.price(READS[0])),
    )


if __name__ == "__main__":
    sys.exit(main())
