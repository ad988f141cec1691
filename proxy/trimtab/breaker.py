"""Keeps requests from an upstream that fails again and again, and lets one through now and then to see.

Our own: pybreaker, aiobreaker, purgatory and circuitbreaker read the system's clock by themselves, so that no test
could hold it still.
"""

from math import ceil
from types import TracebackType
from typing import Literal, Self

from trimtab.errors import ProxyError, UpstreamError, UpstreamTimeout
from trimtab.interfaces import Clock, Counters
from trimtab.policy import Failure, Unready, failure_of

State = Literal["closed", "open", "half-open"]

COUNTED = frozenset((Failure.CONNECT, Failure.SERVER, Failure.OVERLOADED, Failure.TIMEOUT))
"""Classes of failures that say something of the upstream as a whole; 429 and refusals are answers."""
LONGEST = 8
"""A rest doubles with each probe that fails, up to so many times the first."""


class Breaker:
    """The breaker of one upstream."""

    def __init__(self, name: str, failures: int, rest: float, clock: Clock, counters: Counters) -> None:
        self.name = name
        self._most = failures
        self._rest = rest
        self._clock = clock
        self._counters = counters
        self._failed = 0
        self._last = Failure.CONNECT
        self._opened = 0
        self._until: float | None = None
        self._probing = False
        self.failures = 0
        """Attempts that failed since the start, refusals that are no fault of their request among them."""
        self.last_error: str | None = None
        """How the latest of them failed, in words of ours: an upstream's may hold the prompt."""

    @property
    def state(self) -> State:
        """`open` refuses, `half-open` lets one request through, `closed` all."""
        if self._until is None:
            return "closed"
        return "open" if self._clock.monotonic() < self._until else "half-open"

    def told(self) -> dict[str, object]:
        """What /health shows of an upstream."""
        return {"failed": self.failures, "last_error": self.last_error, "breaker": self.state}

    def check(self) -> None:
        """Raise Unready where a request would be refused."""
        if self._until is None:
            return
        if self.state == "open" or (self.state == "half-open" and self._probing):
            self._counters.add(f"breaker_refused.{self.name}")
            wait = max(1, ceil((self._until or 0.0) - self._clock.monotonic()))
            text = f"upstream '{self.name}' failed {self._failed} times in a row: it is asked again in {wait} s"
            raise Unready(text, self._last, wait)

    def watching(self) -> "Attempt":
        """Around one attempt: its end is booked. Entering it raises Unready where it is refused."""
        return Attempt(self)

    def begins(self) -> bool:
        """An attempt begins; whether it is a probe. Raises Unready where it is refused."""
        if self._until is None:
            return False
        self.check()
        probe = self.state == "half-open"
        self._probing |= probe
        return probe

    def ends(self, error: BaseException | None, *, probe: bool) -> None:
        """An attempt ended, with a failure or without."""
        if error is None:
            self._succeeds()
        elif isinstance(error, ProxyError):
            failure = failure_of(error)
            if failure is not None:
                self.failures += 1
                self.last_error = _told(failure, error)
            if failure in COUNTED:
                self._fails(failure)
            elif failure is not None or (isinstance(error, UpstreamError) and not error.own):
                # A refusal, 400 as well, is the answer of an upstream that is alive.
                self._succeeds()
        # A client that left says nothing of the upstream; another request is the probe then.
        if probe:
            self._probing = False

    def answers(self) -> None:
        """The reply to the probe has begun: nobody waits for its end, which may be minutes away.

        The next failure, be it the probe's own, makes the rest longer as one of the probe's does.
        """
        self._until, self._probing = None, False
        self._failed = max(0, self._most - 1)

    def _fails(self, failure: Failure) -> None:
        self._failed += 1
        self._last = failure
        half_open = self.state == "half-open"
        if self._most and (half_open or (self._until is None and self._failed >= self._most)):
            self._until = self._clock.monotonic() + self._rest * min(LONGEST, 2**self._opened)
            self._opened += 1
            self._counters.add(f"breaker_opened.{self.name}")

    def _succeeds(self) -> None:
        self._failed = self._opened = 0
        self._until = None


def _told(failure: Failure, error: ProxyError) -> str:
    if isinstance(error, UpstreamTimeout) or (isinstance(error, UpstreamError) and error.own):
        return error.message
    status = error.status if isinstance(error, UpstreamError) else None
    return str(failure) if status is None else f"{failure} (HTTP {status})"


class Attempt:
    """One attempt under a breaker's eyes; use it as a context manager."""

    __slots__ = ("_breaker", "_probe")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def __enter__(self) -> Self:
        self._probe = self._breaker.begins()
        return self

    def answers(self) -> None:
        """The reply has begun."""
        if self._probe:
            self._probe = False
            self._breaker.answers()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker.ends(error, probe=self._probe)


class Breakers:
    """The breakers of all upstreams, by name."""

    def __init__(self, failures: int, rest: float, clock: Clock, counters: Counters) -> None:
        self._clock, self._counters = clock, counters
        self._found: dict[str, Breaker] = {}
        self._failures, self._rest = failures, rest

    def use(self, failures: int, rest: float) -> None:
        """Take other numbers; breakers begin anew where they changed."""
        if (failures, rest) != (self._failures, self._rest):
            self._failures, self._rest = failures, rest
            self._found.clear()

    def of(self, name: str) -> Breaker:
        """The breaker of an upstream."""
        if name not in self._found:
            self._found[name] = Breaker(name, self._failures, self._rest, self._clock, self._counters)
        return self._found[name]
