"""Starts what is measured, on a core of its own, reads its CPU time, and stops it."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_TICK = os.sysconf("SC_CLK_TCK")
READY_WITHIN = 30.0
STOP_WITHIN = 8.0


class Target(NamedTuple):
    """A running server; `pid` is None for the mock asked directly."""

    name: str
    port: int
    output: Path
    pid: int | None = None


class Cores(NamedTuple):
    """Where the target runs, and where everything else does; the same core where there is only one."""

    target: int
    others: int


@cache
def cores() -> Cores:
    """The last and the first core that this process might use when it started."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[-1], allowed[0])


def resident(pid: int) -> float:
    """Megabytes in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def spent(pid: int) -> float:
    """Seconds of CPU, from the scheduler, which counts finer than the ticks of /proc/PID/stat, where it tells."""
    try:
        tasks = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        tasks = []
    return sum(int(task.split()[0]) for task in tasks) / 1e9 or cpu(pid)


def delayed(pid: int) -> float:
    """Seconds that a process's first thread, in which its loop runs, has waited for a core that others had."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@contextmanager
def running(folder: Path, *, bare: bool = True) -> Iterator[list[Target]]:
    """The mock, and before it the bare hop and trimtab with its default chain; stopped at the end."""
    where = cores()
    os.sched_setaffinity(0, {where.others})
    mock, hop, trimtab = free(), free(), free()
    base = f"http://127.0.0.1:{mock}"
    addresses = {"UPSTREAM_BASE": base, "OPENAI_UPSTREAM_BASE": f"{base}/v1", "CACHE_DIR": str(folder / "cache")}
    with ExitStack() as stack:

        def start(name: str, module: str, *arguments: str, core: int, environ: Mapping[str, str] | None = None) -> int:
            command = [sys.executable, "-m", module, *arguments]
            return stack.enter_context(_process(folder, name, command, core, environ or {}))

        start("mock", "benchmarks.lab.mock", str(mock), core=where.others)
        targets = [Target("direct", mock, _output(folder, "mock"))]
        if bare:
            pid = start("bare", "benchmarks.lab.bare", str(hop), base, core=where.target)
            targets.append(Target("bare", hop, _output(folder, "bare"), pid))
        command = ("serve", "--port", str(trimtab), "--server", os.environ.get("BENCH_SERVER", "hypercorn"))
        pid = start("trimtab", "trimtab", *command, core=where.target, environ=addresses)
        yield [*targets, Target("trimtab", trimtab, _output(folder, "trimtab"), pid)]


def _output(folder: Path, name: str) -> Path:
    return folder / name / "output.log"


class NotStarted(Exception):
    """A target does not take connections; the text ends with the last of its output."""


def beside(
    stack: ExitStack, folder: Path, name: str, command: Sequence[str], port: int, environ: Mapping[str, str]
) -> Target:
    """Another server on the targets' core, stopped with the stack."""
    pid = stack.enter_context(_process(folder, name, command, cores().target, environ))
    return Target(name, port, _output(folder, name), pid)


async def ready(target: Target, every: float = 0.05, within: float = READY_WITHIN) -> None:
    """Wait until a target takes connections. Raises NotStarted when it does not."""
    try:
        async with asyncio.timeout(within):
            while not await _connects(target.port):  # noqa: ASYNC110  # another process tells no event
                await asyncio.sleep(every)
    except TimeoutError:
        said = target.output.read_text(errors="replace")[-500:]
        raise NotStarted(f"{target.name} takes no connections: {said}") from None


async def _connects(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def cpu(pid: int) -> float:
    """Seconds of CPU, user and system, of a process, its children and those of them that ended."""
    return sum(sum(map(int, fields[11:15])) for fields in _tree(pid)) / _TICK


def _tree(pid: int) -> Iterator[list[str]]:
    known = _processes()
    todo = [pid]
    while todo:
        parent = todo.pop()
        if parent in known:
            yield known[parent]
        todo += [child for child, fields in known.items() if int(fields[1]) == parent]


def _processes() -> dict[int, list[str]]:
    """/proc/PID/stat of every process, from the state on: the name before it may hold spaces."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            found[int(entry)] = text.rpartition(")")[2].split()
    return found


@contextmanager
def _process(folder: Path, name: str, command: Sequence[str], core: int, environ: Mapping[str, str]) -> Iterator[int]:
    """A process in a folder of its own, with its output in a file; only this one is stopped at the end."""
    output = _output(folder, name)
    output.parent.mkdir()
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**kept, "HOME": str(output.parent), "PYTHONPATH": path, **environ}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=output.parent, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
        os.sched_setaffinity(process.pid, {core})
        try:
            yield process.pid
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    ask: Callable[[], None]
    for ask in (process.terminate, process.kill):
        ask()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            continue
        return


def free() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
