"""A thread that writes records, behind a queue bounded in bytes: a slow disk costs log lines, never requests."""

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from loguru import logger

from trimtab.api import Clock

LIMIT = 64 * 1024 * 1024
"""Bytes of records that may wait."""
MINUTE = 60.0
GATHER = 0.05
"""Real seconds that an idle thread lets records gather: to wake it for each costs the loop more than the put does."""
LOOK_EVERY = 600.0
"""Real seconds after which an idle thread looks whether its chore is due."""


class Writer:
    """Calls `write` for each record, in order, in its own thread, and `chore` every `every` seconds of the clock.

    Records are put by the event loop's thread only. Then each of the two byte counts has one writer, and no lock is
    needed: the caller pays the put of a `SimpleQueue` (0.04 us), against 78 us of loguru's own `enqueue=True`.
    """

    def __init__(
        self,
        write: Callable[[Any], None],
        clock: Clock,
        *,
        limit: int = LIMIT,
        chore: Callable[[], None] | None = None,
        every: float = 0.0,
    ) -> None:
        self.dropped = 0
        """Records that found no room."""
        self.failed = 0
        """Records that could not be written."""
        self._write = write
        self._clock = clock
        self._limit = limit
        self._chore = chore
        self._every = every
        self._due = clock.monotonic() + every
        self._queue: SimpleQueue[tuple[Any, int] | threading.Event | None] = SimpleQueue()
        self._hurry = threading.Event()
        self._put = 0
        self._written = 0
        self._reported = 0
        self._reported_at = -MINUTE
        self._reason = ""
        self._thread: threading.Thread | None = None

    def put(self, record: Any, size: int) -> bool:
        """Hand over a record of about `size` bytes; False when there was no room and it was dropped."""
        waiting = self._put - self._written
        # A record larger than the limit passes when it is alone: it is in memory already.
        if waiting and waiting + size > self._limit:
            self.dropped += 1
            return False
        self._put += size
        self._queue.put((record, size))
        return True

    def start(self) -> None:
        """Start the thread; it never keeps the process alive."""
        self._thread = threading.Thread(target=self._run, name="trimtab-log", daemon=True)
        self._thread.start()

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until all that was put so far is written; False when that took too long."""
        reached = threading.Event()
        self._queue.put(reached)
        self._hurry.set()
        return reached.wait(seconds)

    def stop(self, seconds: float = 10.0) -> None:
        """Write what is left, then end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._hurry.set()
            self._thread.join(seconds)
            self._thread = None

    def _run(self) -> None:
        while (item := self._next()) is not None:
            if not isinstance(item, threading.Event):
                self._one(*item)
            self._tick()
            if isinstance(item, threading.Event):
                item.set()
        self._reported_at = -MINUTE
        self._tick()

    def _next(self) -> tuple[Any, int] | threading.Event | None:
        with suppress(Empty):
            return self._queue.get_nowait()
        try:
            item = self._queue.get(timeout=LOOK_EVERY if self._chore is not None else None)
        except Empty:
            return threading.Event()
        if self._hurry.wait(GATHER):
            self._hurry.clear()
        return item

    def _one(self, record: Any, size: int) -> None:
        try:
            self._write(record)
        except Exception as error:
            # Only the type and the system's word are kept: the text of an error may quote the record.
            self.failed += 1
            self._reason = type(error).__name__ + (f": {error.strerror}" if isinstance(error, OSError) else "")
        finally:
            self._written += size

    def _tick(self) -> None:
        # Said by this thread, not by the caller: when records are dropped, the sinks are what is stuck.
        now, lost = self._clock.monotonic(), self.dropped + self.failed
        with suppress(Exception):
            if lost > self._reported and now - self._reported_at >= MINUTE:
                self._reported_at, new, self._reported = now, lost - self._reported, lost
                reason = f", the last for {self._reason}" if self._reason else ": no room in the queue"
                logger.warning("log: {} records lost{}", new, reason)
            if self._chore is not None and now >= self._due:
                self._due = now + self._every
                self._chore()
