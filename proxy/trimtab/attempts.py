"""Asks upstreams for one exchange until one of them answers, or the policy gives up."""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from trimtab.breaker import Attempt
from trimtab.errors import ProxyError, UpstreamTimeout
from trimtab.exchange import Exchange
from trimtab.fallback import candidates, move
from trimtab.lanes import Entry, Place
from trimtab.models import Target
from trimtab.outgoing import client_name, keys
from trimtab.pipeline import Pipeline
from trimtab.policy import OF_KEY, Failure, GiveUp, Retry, Situation, Unready, client_of, failure_of, retry_after
from trimtab.watch import Watch

if TYPE_CHECKING:
    from trimtab.runtime import Runtime

LATER = 5.0
"""Seconds that a client is told to wait where the upstream named none."""


class Reach(msgspec.Struct, frozen=True):
    """How much of an answer has reached the client."""

    opened: bool = False
    """Its head."""
    shown: bool = False
    """Text, or a tool call."""


Serve = Callable[[Target, str | None], Awaitable[None]]
"""Sends the request to a target with a key, and passes the answer on."""


class Attempts:
    """The attempts of one exchange."""

    def __init__(self, runtime: "Runtime", pipeline: Pipeline, exchange: Exchange, reach: Callable[[], Reach]) -> None:
        self._runtime = runtime
        self._pipeline = pipeline
        self._exchange = exchange
        self._reach = reach
        self._client = client_of(exchange.incoming.headers)
        self._tries = 0
        self._place: Place | None = None
        self._watched: Attempt | None = None
        self._left: list[Target] | None = None

    async def run(self, watch: Watch, target: Target, serve: Serve) -> None:
        """Have `serve` ask a target and pass the answer on, until it does so without failing.

        Raises the last failure where nothing more can be done. A client that leaves meanwhile ends all of it at once.
        """
        self._runtime.budget.came()
        while True:
            try:
                await self._attempt(watch, target, serve)
            except ProxyError as error:
                target = await self._after(target, error)
            else:
                return

    async def _attempt(self, watch: Watch, target: Target, serve: Serve) -> None:
        upstream, runtime = target.upstream, self._runtime
        breaker = runtime.breakers.of(upstream.name)
        breaker.check()
        self._place = None
        async with self._queue(watch, target) as place:
            self._place = place
            self._exchange.outcome.queue_s += place.waited
            try:
                with breaker.watching() as self._watched:
                    self._begin(target)
                    async with watch.patience(upstream.first_byte_timeout, upstream.silence_timeout):
                        await serve(target, place.key)
            except ProxyError as error:
                # While the place is held: who is next in the queue would get it with this key.
                self._cool(place, error)
                raise

    def answers(self) -> None:
        """The reply of the upstream has begun."""
        if self._watched is not None:
            self._watched.answers()

    def _cool(self, place: Place, error: ProxyError) -> None:
        """Let a key rest after a failure that may be its own."""
        failure = failure_of(error)
        if failure is not None and failure in OF_KEY and not isinstance(error, Unready):
            place.ring.cool(place.index, failure, retry_after(error.headers, self._runtime.clock.now()))

    def _queue(self, watch: Watch, target: Target) -> Entry:
        exchange, pool = self._exchange, keys(self._exchange, target.upstream)
        name = client_name(exchange)
        messages = exchange.received.messages
        session = name.encode() + messages[0].raw if len(pool) > 1 and messages else b""
        return self._runtime.lanes.place(target.upstream, pool, name, session, watch.quiet)

    def _begin(self, target: Target) -> None:
        """Forget what an earlier attempt brought: what is booked is the reply that was delivered."""
        outcome = self._exchange.outcome
        outcome.upstream, outcome.attempts = target.upstream.name, outcome.attempts + 1
        outcome.usage = outcome.reason = outcome.upstream_id = outcome.error = None
        outcome.received_bytes = 0
        self._tries += 1

    async def _after(self, target: Target, error: ProxyError) -> Target:
        """The next target, after a wait where there is one; raises the failure where nothing helps."""
        failure, runtime = failure_of(error), self._runtime
        if failure is None:
            raise error
        asked = retry_after(error.headers, runtime.clock.now())
        step = runtime.policy.decide(self._situation(target, failure, error, asked), runtime.chance())
        if isinstance(step, GiveUp):
            raise self._told(failure, error)
        if isinstance(step, Retry):
            runtime.budget.take()
            self._book("retries", failure)
            await self._pause(step.wait)
            return target
        return await self._elsewhere(target, failure, error)

    def _situation(self, target: Target, failure: Failure, error: ProxyError, asked: float | None) -> Situation:
        reach, place = self._reach(), self._place
        if self._left is None:
            self._left = candidates(self._exchange, target, self._pipeline.services.models)
        silent = isinstance(error, UpstreamTimeout) and not (error.unreached or error.began)
        return Situation(
            failure=failure,
            asked=asked,
            client=self._client,
            opened=reach.opened,
            shown=reach.shown,
            hung=silent or isinstance(error, Unready),
            tries=self._tries,
            funds=self._runtime.budget.enough,
            spare_key=place is not None and place.ring.spare(place.index),
            elsewhere=bool(self._left),
        )

    async def _elsewhere(self, target: Target, failure: Failure, error: ProxyError) -> Target:
        """The first of the targets left that can serve the request; the failure where none can."""
        while self._left:
            other = self._left.pop(0)
            if await move(self._pipeline, self._exchange, other):
                self._exchange.notes.append(
                    f"{target.upstream.name} failed ({failure}): {other.upstream.name} takes over"
                )
                self._book("fallbacks", failure)
                self._tries = 0
                return other
        raise self._told(failure, error)

    def _book(self, what: str, failure: Failure) -> None:
        self._exchange.outcome.retried.append(str(failure))
        self._runtime.counters.add(f"{what}.{failure}")

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._runtime.clock.sleep(seconds)
            self._exchange.outcome.backoff_s += seconds

    def _told(self, failure: Failure, error: ProxyError) -> ProxyError:
        """The failure as the client gets it: whoever is to come again is told when."""
        if failure in (Failure.RATE_LIMIT, Failure.OVERLOADED) and not self._reach().opened:
            names = {name.lower() for name in error.headers}
            if not names & {"retry-after", "retry-after-ms"}:
                error.headers["retry-after"] = str(ceil(LATER))
        return error
