"""Asks a model on behalf of a stage: no stages around it, its own budget, the exchange's key."""

import asyncio
from typing import TYPE_CHECKING

from trimtab.conversation import Image
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Prompt
from trimtab.errors import UpstreamError, UpstreamTimeout
from trimtab.events import Failed, Finished, TextDelta
from trimtab.exchange import Answer, Exchange
from trimtab.outgoing import client_name, compose, keys, refusal

if TYPE_CHECKING:
    from trimtab.runtime import Runtime


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
        dialect = DIALECTS[target.dialect]
        body, pool = dialect.compose(target.model.name, prompt), keys(exchange, target.upstream)
        breaker = self._runtime.breakers.of(target.upstream.name)
        breaker.check()
        async with self._runtime.lanes.place(target.upstream, pool, client_name(exchange), b"") as place:
            call = compose(self._runtime, exchange, target, body, keyed=(place.key,))
            with breaker.watching():
                async with await self._runtime.forwarder.send(call) as response:
                    if response.status >= 300:
                        raise await refusal(call, response)
                    events = dialect.unfold(await response.read())
        for event in events:
            if isinstance(event, Failed):
                raise UpstreamError(event.message, cause=event.cause)
        end = next((event for event in events if isinstance(event, Finished)), None)
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        return Answer(text, None if end is None else end.usage, None if end is None else end.reason)
