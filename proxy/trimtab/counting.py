"""Answers a `count` request: from the upstream's own count where it has one, else from the stages' count.

What is counted is the body that would leave, after all edits and in the target's dialect. The answer is told in the
client's units, as the usage of a reply is.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated

import msgspec
from loguru import logger

from trimtab.errors import Cause, ProxyError, UpstreamError
from trimtab.exchange import Exchange
from trimtab.facts import Scale, Sizer, TokenCount
from trimtab.models import Target
from trimtab.outgoing import call_for, client_name, keys
from trimtab.reading import read_request

if TYPE_CHECKING:
    from trimtab.runtime import Runtime

PATIENCE = 2.0
"""Seconds the upstream gets to count."""
REAL = "x-trimtab-real-input-tokens"
"""Header with the true number, where the client is told another."""
ABSENT_FOR = 3600.0
"""Seconds for which an upstream that could not count is not asked again, about that model."""
REMEMBERED = 1000
"""Pairs of an upstream and a model that are remembered, the oldest forgotten first."""


class _Counted(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=1, le=2**53)]


async def count(runtime: "Runtime", exchange: Exchange, target: Target, counter: str = "") -> int:
    """Tokens of the prompt as it would be sent, in the client's units. Raises ProxyError (501) when nobody counts.

    `counter` is the label of the stage that counts, where the pipeline has one.
    """
    tokens, scale = await _true(runtime, exchange, target, counter), exchange.get(Scale)
    if scale is None or not scale.count:
        return tokens
    exchange.headers[REAL] = str(tokens)
    return scale(tokens)


async def _true(runtime: "Runtime", exchange: Exchange, target: Target, counter: str) -> int:
    fact = exchange.get(TokenCount)
    up = fact is None or (fact.forward and runtime.breakers.of(target.upstream.name).state == "closed")
    if up and target.dialect == "messages" == exchange.dialect:
        tokens = await _counted(runtime, exchange, target, alone=fact is None)
        if tokens is not None:
            return tokens
    if fact is None:
        raise ProxyError(_why(exchange, counter), cause=Cause.UNSUPPORTED)
    sizer = exchange.get(Sizer)
    if sizer is None:
        return fact.calibrated
    leaving = read_request(call_for(runtime, exchange, target).body, target.dialect)
    return await sizer.of(leaving, target)


def _why(exchange: Exchange, counter: str) -> str:
    if not counter:
        return "no stage counts tokens: add 'token-count' to the pipeline"
    if counter in exchange.skipped:
        return f"tokens are not counted for now: stage '{counter}' failed and is left out for a while; try again later"
    undone = next((note for note in exchange.notes if note.startswith(f"stage '{counter}' undone: ")), "")
    return "the tokens of this request were not counted: " + (undone or f"stage '{counter}' gave no count")


async def _counted(runtime: "Runtime", exchange: Exchange, target: Target, *, alone: bool) -> int | None:
    """The upstream's count, None when it has none.

    It takes a place like any request, but does not wait for one where we have a count ourselves (unless `alone`).
    """
    name = (target.upstream.base_url, target.model.name)
    if runtime.no_count.get(name, 0.0) > runtime.clock.monotonic():
        return None
    entry = runtime.lanes.place(target.upstream, keys(exchange, target.upstream), client_name(exchange), b"")
    if not (alone or entry.free):
        return None
    async with entry as place:
        return await _ask(runtime, exchange, target, place.key)


async def _ask(runtime: "Runtime", exchange: Exchange, target: Target, key: str | None) -> int | None:
    """One question, without a second try. That an upstream does not count is remembered for a while, of this model.

    A 404 may speak of the model only: the next model is asked about again.
    """
    name, now = (target.upstream.base_url, target.model.name), runtime.clock.monotonic()
    call = call_for(runtime, exchange, target, "count", keyed=(key,))
    try:
        async with asyncio.timeout(PATIENCE):
            async with await runtime.forwarder.send(call) as response:
                body = await response.read(1 << 20)
                if response.status == 200:
                    return msgspec.json.decode(body, type=_Counted).input_tokens
                if response.status not in (404, 405) and response.status < 500:
                    return None
    except (TimeoutError, UpstreamError, msgspec.MsgspecError) as error:
        logger.debug("upstream '{}' does not count: {}", target.upstream.name, type(error).__name__)
    runtime.no_count.pop(name, None)
    runtime.no_count[name] = now + ABSENT_FOR
    if len(runtime.no_count) > REMEMBERED:
        # Names of models are the clients'.
        del runtime.no_count[next(iter(runtime.no_count))]
    return None
