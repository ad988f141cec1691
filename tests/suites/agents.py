"""Runs real coding agents with a scripted model: straight to it, and through the proxy; with its faults or without.

    python tests/suites/agents.py FOLDER [--agents A,B] [--models M,N] [--faults F,G] [--jobs 2] [--timeout 120]

FOLDER keeps the agents (where CLIENT_CACHE names no other place), the logs, and `results.jsonl`: a line per run,
written as it ends. A run that is there is not made again, so that an interrupted matrix goes on; `--again` makes it
anew. At the end a table is printed. The exit code is 1 where a cell is worse through the proxy than without it.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from suites.agents_told import DIRECT, Cell, compared, markdown, outcome, table
from suites.servers import Server, free_port

AGENTS = (
    *("claude-code", "codex", "pi", "pi:anthropic", "pi:responses", "continue", "continue:anthropic", "aider"),
    *("aider:anthropic", "mini-swe-agent", "kilo", "kilo:anthropic", "cline"),
)
FAULTS = (
    *("none", "cut", "cutclean", "errstream", "ctx", "500", "529", "502html", "429", "emptydelta", "nousage"),
    *("extraevent", "429long", "401", "ping", "crlf", "extra", "big1", "slow", "slowevent", "hang"),
)
MODELS = ("glm-4.6", "glm-4.6-openai")
"""Two names of the shipped table: the upstream of the first speaks `messages`, that of the second `chat`."""


def own_model(agent: str) -> str:
    """The model whose upstream speaks the agent's dialect, or, for `responses`, the usual one."""
    return MODELS[0] if agent.startswith(("claude-code", "codex")) or ":" in agent else MODELS[1]


def turn_of(agent: str) -> int:
    """The turn that the fault hits, the one that writes the file: the first of aider, which calls no tools."""
    return 1 if agent.startswith("aider") else 2


def cells(agents: Iterable[str], models: Sequence[str], faults: Sequence[str]) -> list[Cell]:
    """All runs, those without the proxy and in the agents' own dialects first."""
    found = [Cell(agent, way, fault) for fault in faults for agent in agents for way in (DIRECT, *models)]
    return sorted(found, key=lambda cell: cell.way not in (DIRECT, own_model(cell.agent)))


class Results:
    """The runs so far, in a file of JSON lines; of several of one cell the last one holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.of: dict[Cell, dict[str, Any]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            row = json.loads(line)
            self.of[Cell(row["agent"], row["way"], row["fault"])] = row

    def add(self, cell: Cell, row: dict[str, Any]) -> None:
        """Keep one run, and print it."""
        whole = {**cell._asdict(), **row}
        with self._lock:
            self.of[cell] = whole
            with self._path.open("a") as out:
                out.write(json.dumps(whole) + "\n")
            said = "" if cell.way == DIRECT else compared(self.of, cell)
            print(
                f"{cell.agent:20}{cell.way:16}{cell.fault:12}{row['outcome']:12}{row['seconds']:6.1f} s  {said}",
                flush=True,
            )


class Bench:
    """The scripted model and the proxy before it, while they run, and what runs agents against them."""

    def __init__(self, folder: Path, tools: Path, clients: Path, timeout: float, urls: dict[str, str]) -> None:
        self._folder, self._tools, self._clients, self._timeout = folder, tools, clients, timeout
        self._urls = urls
        """By way: DIRECT, or else the proxy's."""
        self.said = folder / "mock.txt"

    def run(self, cell: Cell) -> dict[str, Any]:
        """Run one agent once."""
        name = uuid.uuid4().hex[:8]
        place = self._folder / "runs" / name
        (place / "tmp").mkdir(parents=True)
        model = MODELS[0] if cell.way == DIRECT else cell.way
        asked = [cell.agent, self._urls.get(cell.way, self._urls[""]), place / "work", "--model", model, "--run", name]
        fault, *words = cell.fault.split("/")
        asked += ["--fault", fault, "--at", turn_of(cell.agent), "--times", "1", "--extra", " ".join(words)]
        asked += ["--timeout", self._timeout]
        command = [sys.executable, self._tools / "run_client.py", *asked]
        # The agent's HOME is made under TMPDIR: by it are known the processes that it leaves behind.
        environ = {**os.environ, "CLIENT_CACHE": str(self._clients), "TMPDIR": str(place / "tmp")}
        try:
            done = subprocess.run([str(part) for part in command], env=environ, capture_output=True, text=True)
        finally:
            end_of(place)
        told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"exit": None, "stderr_tail": done.stderr}
        if told["exit"] is None:
            raise RuntimeError(f"{cell.agent} was not run: {told['stderr_tail']}")
        target = place / "work" / "hello.txt"
        written = target.read_text(errors="replace") if target.exists() else None
        row = {"outcome": outcome(told, written, cell.agent), **self._counted(name, fault)}
        row |= {key: told.get(key) for key in ("exit", "seconds", "version", "stdout_tail", "stderr_tail")}
        shutil.rmtree(place, ignore_errors=True)
        return row | {"run": name, "written": written if row["outcome"] == "wrong-file" else None}

    def into(self, results: Results) -> Callable[[Cell], None]:
        """What runs a cell and keeps what came of it."""
        return lambda cell: results.add(cell, self.run(cell))

    def _counted(self, name: str, fault: str) -> dict[str, Any]:
        """How many requests of a run reached the model, and how many of them met the fault."""
        lines = [line for line in self.said.read_text().splitlines() if f" run={name} " in line]
        return {"requests": len(lines), "hits": sum(f" fault={fault} " in line for line in lines)}


def end_of(place: Path) -> None:
    """End what an agent left running: the processes whose HOME lies in its folder (Linux only)."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"\0HOME={place}/".encode() in b"\0" + (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def bench(folder: Path, tools: Path, clients: Path, timeout: float, environ: dict[str, str]) -> Iterator[Bench]:
    """Start the model and the proxy on free ports."""
    logs = folder / time.strftime(f"logs-%H%M%S-{os.getpid()}")
    logs.mkdir()
    mock, port = free_port(), free_port()
    bases = {"UPSTREAM_BASE": f"http://127.0.0.1:{mock}", "OPENAI_UPSTREAM_BASE": f"http://127.0.0.1:{mock}/v1"}
    made = Bench(logs, tools, clients, timeout, {DIRECT: f"http://127.0.0.1:{mock}", "": f"http://127.0.0.1:{port}"})
    play = [sys.executable, tools / "mock_upstream.py", "--port", mock, "--log", logs / "mock"]
    serve = [sys.executable, "-m", "trimtab", "serve", "--port", port]
    with made.said.open("w") as said, (logs / "proxy.txt").open("w") as log:
        with Server(mock, *play, output=said), Server(port, *serve, environ=bases | environ, output=log):
            yield made


@contextmanager
def pooled(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that begin nothing more once the work is interrupted."""
    pool = ThreadPoolExecutor(jobs)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def arguments() -> argparse.Namespace:
    """What is asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, all_of in (("agents", AGENTS), ("models", MODELS), ("faults", FAULTS)):
        parser.add_argument(f"--{name}", default=",".join(all_of), help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="agents at the same time")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that an agent gets")
    parser.add_argument("--tools", type=Path, default=Path("../shared/tools/agents"), help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the proxy")
    parser.add_argument("--proxied", action="store_true", help="run through the proxy only")
    parser.add_argument("--again", action="store_true", help="make runs anew that are there")
    parser.add_argument("--table", action="store_true", help="run nothing, show the table")
    parser.add_argument("--markdown", action="store_true", help="the same, as in docs/agents.md")
    return parser.parse_args()


def main() -> int:
    """Run what is missing; 1 where a cell is worse than without the proxy."""
    given = arguments()
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    agents, models, faults = (value.split(",") for value in (given.agents, given.models, given.faults))
    results = Results(folder / "results.jsonl")
    missing = [cell for cell in cells(agents, models, faults) if given.again or cell not in results.of]
    missing = [cell for cell in missing if cell.way != DIRECT or not given.proxied]
    if missing and not (given.table or given.markdown):
        clients = Path(os.environ.get("CLIENT_CACHE", folder / "clients"))
        environ = {"CACHE_DIR": str(folder / "cache"), **dict(pair.split("=", 1) for pair in given.set)}
        # cline starts a daemon on a port of its own: one at a time.
        alone = [cell for cell in missing if cell.agent.startswith("cline")]
        with bench(folder, given.tools.resolve(), clients, given.timeout, environ) as made:
            with pooled(given.jobs) as pool:
                list(pool.map(made.into(results), [cell for cell in missing if cell not in alone]))
                list(map(made.into(results), alone))
    text, worse = table(results.of, agents, models, faults)
    print(markdown(results.of, agents, models, faults) if given.markdown else text, *worse, sep="\n")
    return 1 if worse else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")
