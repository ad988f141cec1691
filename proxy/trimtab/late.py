"""An upstream that says "too long" only when it is asked: what it told, in each of its forms (context.md 0, finding 8).

A refusal with code 1261, `Prompt exceeds max length` or `tokens in request more than max tokens allowed` has the cause
OVERFLOW already (`dialects/problems.py`). Here are the numbers in it, and the answer that ends before it began. An
overflow that is accepted in silence is told by no upstream: condense goes by its own count.
"""

from trimtab.dialects.base import Dialect
from trimtab.errors import Cause, ProxyError, UpstreamError
from trimtab.events import Finished, StopReason, TextDelta, ThinkingDelta, ToolStart
from trimtab.facts import Overflowed
from trimtab.overflow import completion, numbers

_WORD = b"model_context_window_exceeded"


def told(error: ProxyError) -> Overflowed | None:
    """What an error says of an overflow; None for any other error."""
    if error.cause is not Cause.OVERFLOW or not isinstance(error, UpstreamError):
        return None
    text = error.message if error.body is None else error.body.decode("utf-8", "replace")
    used, limit = numbers(text) or (None, None)
    # A limit counts for the prompt and the answer together; only the prompt is ours to shorten.
    return Overflowed(used=None if used is None else used - completion(text), limit=limit)


def check(body: bytes, upstream: Dialect) -> None:
    """Raise UpstreamError where a whole answer ends for want of room without having said anything."""
    if _WORD not in body:
        return
    events = upstream.unfold(body)
    said = any(isinstance(event, (TextDelta, ThinkingDelta, ToolStart)) for event in events)
    if not said and any(isinstance(event, Finished) and event.reason is StopReason.CONTEXT for event in events):
        raise UpstreamError("the prompt is too long for the model: its answer is empty", cause=Cause.OVERFLOW)
