"""Asks a model on behalf of a stage: no stages around it, its own budget, the exchange's key."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from trimtab.conversation import Image
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Prompt
from trimtab.errors import UpstreamError, UpstreamTimeout
from trimtab.events import Event, Failed, Finished, TextDelta
from trimtab.exchange import Answer, Exchange
from trimtab.lanes import Place
from trimtab.models import Target
from trimtab.outgoing import client_name, compose, keys, refusal
from trimtab.policy import OF_KEY, Client, Retry, Situation, failure_of, retry_after

if TYPE_CHECKING:
    from trimtab.runtime import Runtime

STAGE = Client("stage", retries=True)
"""A stage goes on without an answer: like a client that tries again by itself it gets one retry, of the connection."""


class Asker:
    """The `ask` of every exchange."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime

    async def ask(self, exchange: Exchange, model: str, prompt: Prompt, seconds: float) -> Answer:
        """One question, one answer. Raises UpstreamError, UpstreamTimeout after `seconds`."""
        self._runtime.counters.add("asked")
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(exchange, model, prompt)
        except TimeoutError:
            raise UpstreamTimeout(f"model '{model}' gave no answer within {seconds:g} s") from None

    async def _ask(self, exchange: Exchange, model: str, prompt: Prompt) -> Answer:
        images = any(isinstance(block, Image) for block in prompt.content)
        target = self._runtime.config.models.resolve(model, images=images, dialect="messages")
        make, tries = partial(DIALECTS[target.dialect].compose, target.model.name, prompt), 1
        # A picture may be large: 40 ms for 20 MB.
        body = await asyncio.to_thread(make) if images else make()
        while True:
            self._runtime.breakers.of(target.upstream.name).check()
            pool = keys(exchange, target.upstream)
            async with self._runtime.lanes.place(target.upstream, pool, client_name(exchange), b"") as place:
                try:
                    return _answer(await self._events(exchange, target, body, place))
                except UpstreamError as error:
                    if not self._again(error, place, tries):
                        raise
            tries += 1

    async def _events(self, exchange: Exchange, target: Target, body: bytes, place: Place) -> Sequence[Event]:
        runtime = self._runtime
        call = compose(runtime, exchange, target, body, keyed=(place.key,))
        with runtime.breakers.of(target.upstream.name).watching():
            async with await runtime.forwarder.send(call) as response:
                if response.status >= 300:
                    raise await refusal(call, response)
                return DIALECTS[target.dialect].unfold(await response.read())

    def _again(self, error: UpstreamError, place: Place, tries: int) -> bool:
        """Whether the question is asked once more: at once, since a stage waits; books what it means for the key."""
        runtime, failure = self._runtime, failure_of(error)
        asked = retry_after(error.headers, runtime.clock.now())
        if failure in OF_KEY and failure is not None:
            place.ring.cool(place.index, failure, asked)
        now = Situation(
            failure=failure,
            asked=asked,
            client=STAGE,
            tries=tries,
            funds=runtime.budget.enough,
            spare_key=place.ring.spare(place.index),
        )
        step = runtime.policy.decide(now, 0.0)
        if not isinstance(step, Retry) or step.wait:
            return False
        runtime.budget.take()
        runtime.counters.add(f"retries.{failure}")
        return True


def _answer(events: Sequence[Event]) -> Answer:
    for event in events:
        if isinstance(event, Failed):
            raise UpstreamError(event.message, cause=event.cause)
    end = next((event for event in events if isinstance(event, Finished)), None)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return Answer(text, None if end is None else end.usage, None if end is None else end.reason)
