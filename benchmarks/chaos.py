"""Everything goes wrong at once, for a minute: every request must end in a right answer or a right error.

python -m benchmarks.chaos [--seconds 60] [--clients 64] [--workers 2]; exit code 1 on any violation.

The upstream changes its manners twice a second (good, slow, refusing, resetting, cutting streams, 429, 500, hanging),
pipelines.toml is rewritten every second (every fourth one broken), the log of bodies is full every few requests, a
worker is killed every few seconds, and the disk under the cache is full from the middle on.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from .lab.flapping import Upstream, encoded, flap
from .lab.judges import HANGS_AFTER, Clients
from .lab.talk import read_answer

TMPFS = "512k"
TABLES = "[core]\nmemo-mb = 8\nmemo-entries = 2000\n"
RETRY = "[retry]\nbreaker-rest = 0.05\n"
"""A breaker that closes soon: else it would answer most requests."""
KILL_EVERY = 7.0
"""Seconds between two workers that are killed."""
GROWTH_MB = 10
"""How much the memory of a worker may grow after its first third: 1 KB in each request is more."""
SETTLED = 90
"""Seconds of a worker's life from which that holds; its tables, which are small here, are full after a third."""
YOUNG_MB = 47 + 15
"""The same for a shorter life: the table of tokens, which the first count loads that needs it, and the others."""
START_WITHIN, STOP_WITHIN = 30.0, 30.0
LISTENS = re.compile(r"trimtab listens on http://127\.0\.0\.1:(\d+) ")
STAGES = (
    ["auth", "env-dedup", "token-count", "risk-assess", "route", "scale", "log"],
    ["auth", "token-count", "route", "log"],
    ["auth", "route", "scale", "log"],
)


def pipelines(folder: Path, turn: int) -> str:
    """The file of one second."""
    if turn % 4 == 3:
        return "[pipeline.default\n"
    rows = "".join(
        f"[upstream.{name}]\nconnect-timeout = 2\nfirst-byte-timeout = 2\nsilence-timeout = 2\n"
        for name in ("zai-messages", "zai-chat")
    )
    bodies = f'[stage.log.upstream]\nfile = "{folder / "bodies.log"}"\nmax-mb = 0.02\nkeep = 3\n'
    chain = f"[pipeline.default]\nstages = {json.dumps(STAGES[turn % len(STAGES)])}\n"
    serve = "[serve]\nfirst-ping = 1\nping-interval = 1\n"
    return f'{chain}[stage.log]\nlevel = "ERROR"\n{bodies}{serve}{TABLES}{RETRY}{rows}'


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, str]]:
    """A folder on a disk of its own that is soon full; where none can be mounted, one that is made unwritable."""
    place = folder / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield place, f"tmpfs of {TMPFS}" if mounted else "no tmpfs can be mounted: the cache is replaced by a file"
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def fill(place: Path, how: str) -> None:
    """Let the disk be full."""
    if how.startswith("tmpfs"):
        with suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    else:
        shutil.rmtree(place / "cache", ignore_errors=True)
        (place / "cache").write_bytes(b"")


async def edit(folder: Path, until: float) -> int:
    """Rewrite pipelines.toml every second."""
    turn = 0
    while perf_counter() < until:
        await asyncio.sleep(1)
        turn += 1
        (folder / "pipelines.toml").write_text(pipelines(folder, turn))
    (folder / "pipelines.toml").write_text(pipelines(folder, 0))
    return turn


class Proxy:
    """`trimtab serve --workers N`, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, workers: int) -> None:
        self.process = process
        self.workers = workers
        self.port = 0
        self.memory: dict[int, list[float]] = {}
        """MB by second, of each worker that there was."""
        self.killed = 0
        self._log = log

    async def started(self) -> None:
        """Wait until all workers listen."""
        async with asyncio.timeout(START_WITHIN):
            while len(found := LISTENS.findall(self.said())) < self.workers:  # noqa: ASYNC110  # a file
                await asyncio.sleep(0.1)
        self.port = int(found[0])

    def said(self) -> str:
        """Its log so far."""
        return self._log.read_text(errors="replace")

    def pids(self) -> list[int]:
        """The workers; a single one is the command itself."""
        parent = self.process.pid
        if self.workers == 1:
            return [parent]
        try:
            told = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in told.split()]

    async def look(self) -> None:
        """Take the workers' memory once a second."""
        while True:
            for pid in self.pids():
                with suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])  # noqa: ASYNC240
                    self.memory.setdefault(pid, []).append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            await asyncio.sleep(1)

    async def kill(self, until: float, kills: list[float]) -> None:
        """Kill the workers in turn, the last time well before the end."""
        while perf_counter() < until - 2 * KILL_EVERY:
            await asyncio.sleep(KILL_EVERY)
            pids = self.pids()
            kills.append(perf_counter())
            self.killed += 1
            os.kill(pids[self.killed % len(pids)], signal.SIGKILL)

    async def warm(self) -> None:
        """Have a worker count, which loads the table of tokens."""
        body = encoded({"model": "glm-4.6", "messages": [{"role": "user", "content": "word " * 400}]})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        fields = f"host: 127.0.0.1\r\nauthorization: Bearer k\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"POST /v1/messages/count_tokens HTTP/1.1\r\n{fields}\r\n".encode() + body)
        async with asyncio.timeout(HANGS_AFTER):
            await read_answer(reader)
        writer.close()

    async def health(self) -> dict[int, Any]:
        """What each worker tells of itself, by its number."""
        found: dict[int, Any] = {}
        async with asyncio.timeout(HANGS_AFTER):
            while len(found) < self.workers:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
                writer.write(b"GET /health?verbose=1 HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer k\r\n\r\n")
                said = await read_answer(reader)
                writer.close()
                state = json.loads(said.body) if said is not None else {}
                found[state["worker"]["number"]] = state
        return found


@asynccontextmanager
async def serving(folder: Path, environ: dict[str, str], workers: int) -> AsyncIterator[Proxy]:
    """The command; its log is in proxy.log."""
    with (folder / "proxy.log").open("wb") as log:
        command = ("-m", "trimtab", "serve", "--port", "0", "--workers", str(workers))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--config", str(folder / "pipelines.toml"),
            cwd=folder, env={**os.environ, **environ}, stdout=log, stderr=log,
        )  # fmt: skip
        proxy = Proxy(process, folder / "proxy.log", workers)
        looking = asyncio.create_task(proxy.look())
        try:
            await proxy.started()
            yield proxy
        finally:
            looking.cancel()
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN)
            except TimeoutError:
                process.kill()


async def main(seconds: float, count: int, workers: int) -> int:
    """Run it; 1 on any violation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with small_disk(folder) as (disk, how):
            return await _chaos(folder, disk, how, seconds, count, workers)


async def _chaos(folder: Path, disk: Path, how: str, seconds: float, count: int, workers: int) -> int:
    upstream = Upstream()
    (await upstream.begin()).close()
    base = f"http://127.0.0.1:{upstream.port}"
    (folder / "pipelines.toml").write_text(pipelines(folder, 0))
    environ = {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(disk / "cache")}
    async with serving(folder, environ, workers) as proxy:
        await proxy.warm()
        until = perf_counter() + seconds
        asyncio.get_running_loop().call_later(seconds / 2, fill, disk, how)
        clients = Clients(proxy.port, until)
        flapping, editing = asyncio.create_task(flap(upstream, until)), asyncio.create_task(edit(folder, until))
        killing = asyncio.create_task(proxy.kill(until, clients.kills)) if workers > 1 else None
        await asyncio.gather(*(clients.one(number) for number in range(count)))
        edits = await editing
        states = await proxy.health()
        if killing is not None:
            await killing
        await flapping
    told = proxy.said().count("the store in ")
    print(f"disk under the cache: {how}, full from half time on; told {told} times in the log")
    rotated = len(list(folder.glob("bodies*")))  # noqa: ASYNC240  # of a moment; nobody waits
    print(f"pipelines.toml rewritten {edits} times; files of bodies: {rotated}; workers killed: {proxy.killed}")
    return report(clients, proxy, states, upstream.open)


def report(clients: Clients, proxy: Proxy, states: dict[int, Any], open_: int) -> int:
    """Print the table; 1 on any violation."""
    violations = list(clients.violations)
    said = proxy.said()
    violations += [f"in the log: {line[:400]}" for line in _tracebacks(said)]
    for number, state in states.items():
        still = {row: told["open"] for row, told in state["upstreams"].items() if told["open"]}
        violations += [f"worker {number} has upstream connections open at the end: {still}"] if still else []
        counters = state["counters"]
        taken, broken = counters.get("reloads", 0), counters.get("reload_failed", 0)
        print(
            f"worker {number}: {taken} files taken, {broken} broken, upstream connections open: {sum(still.values())}"
        )
    for sizes in proxy.memory.values():
        early, late = max(sizes[: max(1, len(sizes) // 3)]), sizes[-1]
        print(f"memory of a worker of {len(sizes)} s: {early:.0f} MB in its first third, {late:.0f} MB at its end")
        allowed = GROWTH_MB if len(sizes) >= SETTLED else YOUNG_MB
        violations += [f"memory grew from {early:.0f} to {late:.0f} MB"] if late - early > allowed else []
    violations += [f"{open_} requests are open upstream at the end"] if open_ else []
    violations += [f"exit code {proxy.process.returncode}"] if proxy.process.returncode else []
    print(f"slowest request {clients.slowest:.1f} s")
    for end, number in sorted(clients.ends.items()):
        print(f"{number:8} {end}")
    for violation in violations:
        print(f"VIOLATION {violation}")
    return 1 if violations else 0


def _tracebacks(said: str) -> list[str]:
    """The last line of each traceback in a log."""
    return re.findall(r"^Traceback .*\n(?:[ |+].*\n)*(.*)", said, re.MULTILINE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="1 kills none (%(default)s)")
    given = parser.parse_args(sys.argv[1:])
    raise SystemExit(asyncio.run(main(given.seconds, given.clients, given.workers)))
