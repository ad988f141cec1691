"""An upstream's "too long", in the words on which each client compacts (context.md 3)."""

import re

from trimtab.conversation import ARRAYS, DialectName
from trimtab.errors import Cause, ProxyError, UpstreamError
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount

# How upstreams put it: tokens before limit, or limit before tokens.
_USED_FIRST = (
    re.compile(r"(\d+)\s*tokens?\s*>\s*(\d+)"),
    re.compile(r"\((\d+) tokens\) exceeds the available context size \((\d+) tokens\)"),
)
_LIMIT_FIRST = (re.compile(r"maximum context length is (\d+) tokens.{0,80}?(\d+) tokens", re.DOTALL),)


def told(exchange: Exchange, error: ProxyError) -> ProxyError:
    """The error as it is, or an upstream's overflow with its message and member named for the client's dialect."""
    if error.cause is not Cause.OVERFLOW or not isinstance(error, UpstreamError):
        return error
    text = error.message if error.body is None else error.body.decode("utf-8", "replace")
    used, limit = numbers(text) or _own(exchange)
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


def _own(exchange: Exchange) -> tuple[int | None, int | None]:
    """Our count and the table's window; the upstream says it is too long, so one above the limit is the least it is."""
    count, limit = exchange.get(TokenCount), exchange.target.model.window
    if count is None or limit is None:
        return None, None
    return max(count.total, limit + 1), limit
