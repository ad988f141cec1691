"""Waits for the count of a request's tokens, where it is being made beside the request."""

from contextlib import suppress

from trimtab.errors import ProxyError
from trimtab.exchange import Exchange
from trimtab.facts import Counting


async def settled(exchange: Exchange) -> None:
    """Wait until TokenCount is exact, where it is not yet."""
    counting = exchange.get(Counting)
    if counting is not None:
        await counting.settle()


async def told(exchange: Exchange) -> None:
    """The same before the head of a reply, whose headers tell the count; not where that would take long, or fails."""
    counting = exchange.get(Counting)
    if counting is not None and counting.patient:
        with suppress(ProxyError):
            await counting.settle()
