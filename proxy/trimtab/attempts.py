"""Asks upstreams for one exchange until one of them answers, or the policy gives up."""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from trimtab.errors import ProxyError, UpstreamTimeout
from trimtab.exchange import Exchange
from trimtab.models import Target
from trimtab.policy import Failure, GiveUp, Retry, Situation, client_of, failure_of, retry_after
from trimtab.watch import Watch

if TYPE_CHECKING:
    from trimtab.runtime import Runtime

LATER = 5
"""Seconds that a client is told to wait where the upstream named none."""


class Reach(msgspec.Struct, frozen=True):
    """How much of an answer has reached the client."""

    opened: bool = False
    """Its head."""
    shown: bool = False
    """Text, or a tool call."""


class Attempts:
    """The attempts of one exchange."""

    def __init__(self, runtime: "Runtime", exchange: Exchange, reach: Callable[[], Reach]) -> None:
        self._runtime = runtime
        self._exchange = exchange
        self._reach = reach
        self._client = client_of(exchange.incoming.headers)
        self._tries = 0

    async def run(self, watch: Watch, target: Target, serve: Callable[[Target], Awaitable[None]]) -> None:
        """Have `serve` ask a target and pass the answer on, until it does so without failing.

        Raises the last failure where nothing more can be done. A client that leaves meanwhile ends all of it at once.
        """
        self._runtime.budget.came()
        while True:
            try:
                self._begin(target)
                async with watch.patience(target.upstream.first_byte_timeout, target.upstream.silence_timeout):
                    await serve(target)
            except ProxyError as error:
                await self._after(target, error)
            else:
                return

    def _begin(self, target: Target) -> None:
        """Forget what an earlier attempt brought: what is booked is the reply that was delivered."""
        outcome = self._exchange.outcome
        outcome.upstream, outcome.attempts = target.upstream.name, outcome.attempts + 1
        outcome.usage = outcome.reason = outcome.upstream_id = outcome.error = None
        outcome.received_bytes = 0
        self._tries += 1

    async def _after(self, target: Target, error: ProxyError) -> None:
        """Wait, or choose another target; raises the failure where neither helps."""
        failure = failure_of(error)
        runtime = self._runtime
        step = runtime.policy.decide(self._situation(failure, error), runtime.chance())
        if failure is None or isinstance(step, GiveUp):
            raise self._told(failure, error)
        outcome = self._exchange.outcome
        outcome.retried.append(str(failure))
        runtime.counters.add(f"retries.{failure}")
        if isinstance(step, Retry):
            runtime.budget.take()
            await self._pause(step.wait)

    def _situation(self, failure: Failure | None, error: ProxyError) -> Situation:
        reach = self._reach()
        return Situation(
            failure=failure,
            asked=retry_after(error.headers, self._runtime.clock.now()),
            client=self._client,
            opened=reach.opened,
            shown=reach.shown,
            hung=isinstance(error, UpstreamTimeout) and not error.unreached and not error.began,
            tries=self._tries,
            funds=self._runtime.budget.enough,
        )

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._runtime.clock.sleep(seconds)
            self._exchange.outcome.backoff_s += seconds

    def _told(self, failure: Failure | None, error: ProxyError) -> ProxyError:
        """The failure as the client gets it: whoever is to come again is told when."""
        if failure in (Failure.RATE_LIMIT, Failure.OVERLOADED) and not self._reach().opened:
            names = {name.lower() for name in error.headers}
            if not names & {"retry-after", "retry-after-ms"}:
                error.headers["retry-after"] = str(ceil(LATER))
        return error
