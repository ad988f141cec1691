"""Holds stages to their time, and leaves an optional one out for a while when it fails again and again.

Only a stage that the request can go on without is ever left out: auth is none, so nothing fails open.
"""

import asyncio
import math
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec
from loguru import logger

from trimtab.errors import Missing, ProxyError, StageFailed
from trimtab.interfaces import Clock, Counters
from trimtab.patience import apart, together

if TYPE_CHECKING:
    from trimtab.config import CoreOptions
    from trimtab.hookspecs import Stage

TIMEOUT = 120.0
FAILURES = 5
REST = 60.0


class Row(msgspec.Struct):
    """How a hook of a stage fares."""

    failures: int = 0
    """In a row."""
    until: float = 0.0
    """When it is tried again (monotonic), 0 while it is not left out."""
    reason: str = ""


class Guard:
    """The faults of one set of stages."""

    def __init__(self, clock: Clock, counters: Counters, core: "CoreOptions | None" = None) -> None:
        self._clock = clock
        self._counters = counters
        self.usual = TIMEOUT if core is None else core.stage_timeout
        """How long a stage may work on a request, in seconds; 0 is no limit."""
        self.times: Mapping[str, float] = {} if core is None else core.stage_timeouts
        """The same for some stages, by label."""
        self._failures = FAILURES if core is None else core.stage_failures
        self._rest = REST if core is None else core.stage_rest
        self.rows: dict[tuple[str, str], Row] = {}
        """The hooks that failed last, by their stage's label and their name."""

    def left_out(self) -> frozenset[str]:
        """The stages that the next exchange goes without. One whose rest is over is tried by that exchange alone."""
        if not self.rows:
            return frozenset()
        now, resting = self._clock.monotonic(), set()
        for (label, _), row in self.rows.items():
            if row.until > now:
                resting.add(label)
            elif row.until:
                row.until = now + self._rest
        return frozenset(resting)

    def failed(self, stage: "Stage[Any]", hook: str, error: Exception) -> None:
        """Book a failure of an optional stage's hook; what a client, an upstream or a stage before did is none."""
        if not stage.optional or not self._failures or _elsewhere(error):
            return
        reason = error.reason if isinstance(error, StageFailed) else type(error).__name__
        row = self.rows.setdefault((stage.label, hook), Row())
        row.failures += 1
        row.reason = reason
        if row.failures < self._failures:
            return
        row.until = self._clock.monotonic() + self._rest
        self._counters.add(f"stage_bypassed.{stage.label}")
        told = "stage '{}' failed {} times in a row in '{}' and is left out for {:g} s, then tried again: {}"
        logger.error(told, stage.label, row.failures, hook, self._rest, reason)

    def worked(self, stage: "Stage[Any]", hook: str) -> None:
        """Book that a hook did its work."""
        if self.rows and (row := self.rows.pop((stage.label, hook), None)) is not None and row.until:
            logger.info("stage '{}' works again in '{}'", stage.label, hook)

    def state(self) -> dict[str, dict[str, Any]]:
        """The stages left out, for /health: since how many failures, and for how many seconds more."""
        now = self._clock.monotonic()
        return {
            label: {"hook": hook, "failures": row.failures, "seconds": round(max(0.0, row.until - now), 1)}
            for (label, hook), row in self.rows.items()
            if row.until
        }

    def timing(self) -> "Limit":
        """The time of the stages of one request; use it as a context manager around them."""
        return Limit(self)


def _elsewhere(error: Exception) -> bool:
    """Whether the fault is not the stage's own: five requests of one client must not take it from all."""
    return isinstance(error, Missing) or (isinstance(error, ProxyError) and not isinstance(error, StageFailed))


class Limit:
    """Cancels the task that runs a request's stages when one of them takes too long.

    One timer for all of them, moved when it comes due too early: asyncio.timeout() would cost each stage of each
    request 2 us.
    """

    def __init__(self, guard: Guard) -> None:
        self._usual, self._times = guard.usual, guard.times
        self._due = self._looks = math.inf
        self._seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._pending = 0 if self._task is None else self._task.cancelling()
        self._waiting = together()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        apart(self._waiting)
        self._forgive()

    def begin(self, label: str) -> None:
        """The next stage begins."""
        if self._over:
            self._forgive()
        self._seconds = seconds = self._times.get(label, self._usual)
        self._due = due = self._loop.time() + seconds if seconds else math.inf
        if due < self._looks:
            self._set()

    def fault(self, label: str) -> Exception | None:
        """What a cancellation that came out of a stage means; None where somebody else cancelled, which goes on."""
        over = self._over
        self._forgive()
        if self._task is not None and self._task.cancelling() > self._pending:
            return None
        if over:
            return StageFailed(label, f"it took longer than {self._seconds:g} s (core.stage-timeout)")
        return RuntimeError("cancelled itself")

    def _forgive(self) -> None:
        """Take our own cancellation back, from a stage that ended all the same too."""
        if self._over and self._task is not None:
            self._over = False
            self._task.uncancel()

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks = self._due
        self._timer = self._loop.call_at(self._due, self._late)

    def _late(self) -> None:
        self._timer, self._looks = None, math.inf
        if self._loop.time() < self._due:
            if self._due < math.inf:
                self._set()
        elif self._task is not None:
            self._over = True
            self._task.cancel()


TURNS = 6
"""Rounds of the loop that a small request takes from its first byte to its answer, on hypercorn."""


async def breathe() -> None:
    """Let others be served between two long steps: a small request, `/health` say, whole."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
