"""The proxy, and a look at its loop: python -m benchmarks.lab.watched pipelines.toml REPORT.json

It serves until SIGTERM on a free port, told on stdout, then writes the report: the longest times for which the loop did
not come round, errors logged, memory by second.

A block has two figures, since other programs do not count. The CPU time of the loop's thread is the least that we
blocked it for. A thread of ours that holds the interpreter's lock blocks the loop too: the most is the time by the
clock without that in which the loop's thread was ready and other programs had the cores (the scheduler tells it), or
the CPU time of all our threads where that is shorter.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from loguru import logger

from trimtab import config as configuration
from trimtab.app import make_app
from trimtab.runtime import Runtime
from trimtab.server import listen, log_to_stderr, run, run_here, spare_garbage_collection, store_of
from trimtab.trim import trimming

TICK = 0.002
"""Seconds between two looks at the loop."""
LATE = 0.03
"""Seconds without a tick after which another thread looks at what the loop does."""
BLOCK = 0.04
"""Seconds from one tick to the next, by either figure, that are reported together with what was seen."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Waits:
    """How long a thread was ready to run and had no core."""

    def __init__(self, thread: int) -> None:
        try:
            self._file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
        except OSError:
            # Nobody tells: then waiting counts as being blocked.
            self._file = -1

    def seconds(self) -> float:
        """Since the thread began."""
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0


class Look:
    """What was seen."""

    def __init__(self) -> None:
        self.blocks: list[float] = []
        """CPU seconds of the loop's thread."""
        self.held: list[tuple[float, float, float]] = []
        """When (monotonic) a block of either kind ended, its CPU seconds, and the most that it can have been."""
        self.errors: list[str] = []
        self.memory: list[int] = []
        self.places: list[str] = []
        """Where the loop was in its long blocks."""
        self._ticked = time.monotonic()
        self._seen = ""
        self._collecting = 0.0

    async def loop(self) -> None:
        """Take the CPU time from one tick to the next, which a blocked loop makes long."""
        waits = Waits(threading.get_native_id())
        before, whole, waited = time.thread_time(), time.process_time(), waits.seconds()
        while True:
            await asyncio.sleep(TICK)
            now, all_now, clock, late = time.thread_time(), time.process_time(), time.monotonic(), waits.seconds()
            spent, ready = now - before, clock - self._ticked - (late - waited)
            most = max(spent, min(all_now - whole, ready))
            if spent > 0.01:
                self.blocks = sorted((*self.blocks, spent), reverse=True)[:20]
            if max(spent, most) > LATE and len(self.held) < 10_000:
                self.held.append((clock, spent, most))
            if max(spent, most) > BLOCK:
                self.places.append(f"{1000 * spent:.0f} ms, {1000 * most:.0f} at most: {self._seen}")
            before, whole, waited, self._ticked, self._seen = now, all_now, late, clock, ""

    def sample(self, thread: int) -> None:
        """Look, from another thread, at what the loop's does while no tick comes."""
        while True:
            time.sleep(LATE / 3)
            if time.monotonic() - self._ticked > LATE and len(self._seen) < 4000:
                stack = traceback.extract_stack(sys._current_frames()[thread])[-12:]
                self._seen += (
                    " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(stack)) + " | "
                )

    async def resident(self) -> None:
        """Take the memory once a second, in bytes."""
        while True:
            self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)  # noqa: ASYNC240
            await asyncio.sleep(1)

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """Note a round of the garbage collector that took long."""
        if phase == "start":
            self._collecting = time.thread_time()
        elif (took := time.thread_time() - self._collecting) > 0.01:
            self._seen += f"garbage collection {info} {1000 * took:.0f} ms | "

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what no code of ours handled."""
        self.errors.append(f"loop: {context.get('message')} {context.get('exception')!r}")

    def said(self, message: Any) -> None:
        """Take a line of the log."""
        self.errors.append(message.record["message"])


async def main(path: Path, report: Path) -> None:
    """Serve and look."""
    look = Look()
    log_to_stderr(debug=False)
    # Reloads of broken files and failing disks are on purpose; tracebacks are not.
    logger.add(look.said, level="ERROR", filter=lambda record: record["exception"] is not None)
    config = configuration.load(path)
    store = store_of(config)
    runtime = Runtime(config, store=store, load=lambda: configuration.load(path))
    await runtime.start()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(look.unhandled)

    def end() -> None:
        runtime.draining = True
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, end)
    listener = listen("127.0.0.1", 0)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    spare_garbage_collection()
    gc.callbacks.append(look.collected)
    threading.Thread(target=look.sample, args=(threading.get_ident(),), daemon=True).start()
    jobs = [asyncio.create_task(job) for job in (look.loop(), look.resident(), trimming(runtime.counters.snapshot))]
    await run(make_app(runtime), listener, 2.0, stop, config.serve, runtime.cut)
    for job in jobs:
        job.cancel()
    await store.close()
    found = {
        "blocks_ms": [round(1000 * block, 1) for block in look.blocks],
        "held": look.held,
        "places": look.places[:40],
        "errors": look.errors[:50],
    }
    text = json.dumps({**found, "memory": look.memory, "counters": runtime.counters.snapshot()})
    report.write_text(text)  # noqa: ASYNC240  # at its end


if __name__ == "__main__":
    run_here(main(Path(sys.argv[1]), Path(sys.argv[2])))
