"""An upstream's "too long", in the words on which each client compacts (context.md 3)."""

import re

from trimtab.conversation import ARRAYS, DialectName
from trimtab.errors import Cause, ProxyError, UpstreamError
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount

# How upstreams put it: tokens before limit, or limit before tokens.
# A number has 12 digits at most, and is tried at its first one only: an upstream may send anything.
_USED_FIRST = (
    re.compile(r"(?<!\d)(\d{1,12})\s*tokens?\s*>\s*(\d{1,12})"),
    re.compile(r"\((\d{1,12}) tokens\) exceeds the available context size \((\d{1,12}) tokens\)"),
)
_COMPLETION = re.compile(r"(?<!\d)(\d{1,12}) (?:tokens )?(?:in|for|of) (?:the |your )?(?:completion|output)")
BYTES = 4
"""Taken for a token."""
FAR = 20
"""A prompt of less than this part of the window is not too long: no agent could make it shorter by compacting."""
_LIMIT_FIRST = (re.compile(r"maximum context length is (\d{1,12}) tokens.{0,80}?(\d{1,12}) tokens", re.DOTALL),)


def told(exchange: Exchange, error: ProxyError) -> ProxyError:
    """The error as it is, or an upstream's overflow with its message and member named for the client's dialect.

    Where our own count is far below the window, the upstream's words pass on as those of an invalid request.
    """
    if error.cause is not Cause.OVERFLOW or not isinstance(error, UpstreamError):
        return error
    text = error.message if error.body is None else error.body.decode("utf-8", "replace")
    named = numbers(text)
    if _far(exchange, named):
        error.cause = Cause.MALFORMED
        return error
    used, limit = named or _own(exchange)
    error.message, error.param = words(exchange.dialect, used, limit), ARRAYS[exchange.dialect]
    return error


def words(dialect: DialectName, used: int | None, limit: int | None) -> str:
    """The one message per dialect that all known clients recognise; `used` and `limit` are tokens."""
    if used is None or limit is None:
        return "prompt is too long: it exceeds the model's maximum context length"
    if dialect == "messages":
        return f"prompt is too long: {used} tokens > {limit} maximum"
    return (
        f"This model's maximum context length is {limit} tokens. However, your messages resulted in {used} tokens. "
        "Please reduce the length of the messages."
    )


def numbers(text: str) -> tuple[int, int] | None:
    """The tokens used and allowed, where an upstream names them."""
    for pattern in _USED_FIRST:
        if found := pattern.search(text):
            return int(found.group(1)), int(found.group(2))
    for pattern in _LIMIT_FIRST:
        if found := pattern.search(text):
            return int(found.group(2)), int(found.group(1))
    return None


def completion(text: str) -> int:
    """Tokens of the answer (`max_tokens`) that an upstream has counted as used, 0 where it names none."""
    found = _COMPLETION.search(text)
    return 0 if found is None else int(found.group(1))


def _far(exchange: Exchange, named: tuple[int, int] | None) -> bool:
    # Of an upstream's two numbers the larger: one that allows a single token says nothing of a window.
    count, window = exchange.get(TokenCount), exchange.target.model.window if named is None else max(named)
    if count is None or window is None:
        return False
    # The count is that of what was left, where a stage has shortened it; the client sees what it sent.
    sent = len(exchange.received.head.scanned.raw) // BYTES
    return max(count.total, sent) * FAR < window


def _own(exchange: Exchange) -> tuple[int | None, int | None]:
    """Our count and the table's window; the upstream says it is too long, so one above the limit is the least it is."""
    count, limit = exchange.get(TokenCount), exchange.target.model.window
    if count is None or limit is None:
        return None, None
    return max(count.total, limit + 1), limit
