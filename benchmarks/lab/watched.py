"""The proxy, and a look at its loop: python -m benchmarks.lab.watched pipelines.toml REPORT.json

It serves until SIGTERM on a free port, told on stdout, then writes the report: the longest times for which the loop did
not come round (in CPU time of its thread, so that other programs do not count), errors logged, memory by second.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from loguru import logger

from trimtab import config as configuration
from trimtab.app import make_app
from trimtab.runtime import Runtime
from trimtab.server import listen, log_to_stderr, run, run_here, store_of

TICK = 0.002
"""Seconds between two looks at the loop."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Look:
    """What was seen."""

    def __init__(self) -> None:
        self.blocks: list[float] = []
        self.errors: list[str] = []
        self.memory: list[int] = []

    async def loop(self) -> None:
        """Take the CPU time from one tick to the next, which a blocked loop makes long."""
        before = time.thread_time()
        while True:
            await asyncio.sleep(TICK)
            now = time.thread_time()
            if now - before > 0.01:
                self.blocks = sorted((*self.blocks, now - before), reverse=True)[:20]
            before = now

    async def resident(self) -> None:
        """Take the memory once a second, in bytes."""
        while True:
            self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)  # noqa: ASYNC240
            await asyncio.sleep(1)

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
    jobs = [asyncio.create_task(look.loop()), asyncio.create_task(look.resident())]
    await run(make_app(runtime), listener, 2.0, stop, config.serve, runtime.cut)
    for job in jobs:
        job.cancel()
    await store.close()
    found = {"blocks_ms": [round(1000 * block, 1) for block in look.blocks], "errors": look.errors[:50]}
    text = json.dumps({**found, "memory": look.memory, "counters": runtime.counters.snapshot()})
    report.write_text(text)  # noqa: ASYNC240  # at its end


if __name__ == "__main__":
    run_here(main(Path(sys.argv[1]), Path(sys.argv[2])))
