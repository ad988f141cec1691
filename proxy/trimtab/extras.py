"""What the proxy adds to a reply beside the upstream's own words: how full the context is, and what was saved.

Only members inside bodies and events that clients know (an unknown type of event breaks clients built on the AI SDK;
unknown members broke none of the ten agents tried). `core.extras = false` leaves replies as they come.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from trimtab.conversation import Message
from trimtab.dialects import edits, sse
from trimtab.dialects.edits import Misfit, Path
from trimtab.errors import BadRequest
from trimtab.events import Event, Finished, Started, TextDelta, ThinkingDelta, ToolDelta, Usage, replace
from trimtab.exchange import Exchange
from trimtab.facts import Condensed, Risk, TokenCount
from trimtab.models import Target

PER_TOKEN = 4
"""Characters of a reply that are taken for a token, where its upstream tells no usage at all."""

_TEXTS = (TextDelta, ThinkingDelta)  # as a union it would be made anew for each event
ENDPOINTS = {"messages": "anthropic", "chat": "openai", "responses": "openai"}


def members(exchange: Exchange, usage: Usage) -> dict[Path, Any]:
    """The added members by their path from the object that holds `usage`; `usage` is the upstream's, unscaled."""
    target = exchange.target
    window, used = target.model.window, usage.prompt
    endpoint = ENDPOINTS[target.dialect]
    share = None if not window else round(100 * used / window, 2)
    added: dict[Path, Any] = {
        ("usage", "real_input_tokens"): used,
        ("usage", "endpoint_type"): endpoint,
        ("context_info",): _context(exchange, target, usage, used, share),
    }
    if window:
        added[("usage", "context_limit")] = window
        added[("usage", "context_utilization")] = share
    return added


def _context(exchange: Exchange, target: Target, usage: Usage, used: int, share: float | None) -> dict[str, Any]:
    window, risk, condensed = target.model.window, exchange.get(Risk), exchange.get(Condensed)
    return {
        "real_input_tokens": used,
        "context_hard_limit": window,
        "endpoint_type": ENDPOINTS[target.dialect],
        "utilization_percent": share,
        "available_tokens": None if not window else max(0, window - used),
        "truncated": condensed is not None and condensed.truncated,
        "risk_level": None if risk is None else str(risk.level),
        "condensation_applied": condensed is not None,
        "tokens_saved": saved(exchange),
        "processing_time_ms": round(1000 * sum([seconds for _, seconds in exchange.timings]), 3),
        "cache_hit_ratio": round(usage.cache_read / used, 4) if used else 0.0,
        "note": "estimated by the proxy: the upstream did not tell the whole usage" if usage.estimated else None,
    }


def opened(exchange: Exchange, events: Sequence[Event]) -> Sequence[Event]:
    """The events with our count at the start of a stream, where z.ai tells zeros and chat has no place for a count."""
    count = exchange.get(TokenCount)
    if count is None or not any(isinstance(event, Started) and event.usage is None for event in events):
        return events
    guess = Usage(input=count.calibrated, output=1, estimated=True)
    return [
        replace(event, usage=guess) if isinstance(event, Started) and event.usage is None else event for event in events
    ]


def ended(exchange: Exchange, events: Sequence[Event], characters: int) -> Sequence[Event]:
    """The events with an estimate at the end of what the upstream did not tell, of the reply by its characters."""
    lacking = [event for event in events if isinstance(event, Finished) and _silent(event.usage, characters)]
    count, told = exchange.get(TokenCount), exchange.outcome.usage
    if not lacking or (count is None and told is None):
        return events
    guess = told or Usage()
    if not guess.prompt and count is not None:
        guess = replace(guess, input=count.calibrated, estimated=True)
    if not guess.output and characters:
        guess = replace(guess, output=-(-characters // PER_TOKEN), estimated=True)
    exchange.outcome.usage = guess
    return [replace(event, usage=guess) if isinstance(event, Finished) else event for event in events]


def _silent(usage: Usage | None, characters: int) -> bool:
    """Whether a usage says nothing of the prompt, or of a reply that there was: some upstreams tell zero for either."""
    return usage is None or not usage.prompt or (characters > 0 and not usage.output)


def size(event: Event) -> int:
    """Characters of a reply that an event brings."""
    if isinstance(event, _TEXTS):
        return len(event.text)
    return len(event.json) if isinstance(event, ToolDelta) else 0


def added(exchange: Exchange, events: Sequence[Event]) -> dict[Path, Any]:
    """What belongs into the frame or body of these events: nothing unless they tell a usage."""
    found: dict[Path, Any] = {}
    for event in events:
        if isinstance(event, Started) and event.usage is not None and event.usage.estimated:
            found[("message", "usage", "estimated")] = True
        elif isinstance(event, Finished) and event.usage is not None:
            found |= members(exchange, exchange.outcome.usage or event.usage)
    return found


def saved(exchange: Exchange) -> int:
    """Tokens that the stages' edits took away: the bytes they removed, at this prompt's own tokens per byte."""
    if not exchange.edits:
        return 0
    count = exchange.get(TokenCount)
    removed = sum([_size(edit.before) - _size(edit.after) for edit in exchange.edits if edit.index is not None])
    if count is None or removed <= 0:
        return 0
    left = sum([len(message.raw) for message in exchange.conversation.messages])
    return round(removed * sum(count.messages) / left) if left else 0


def _size(part: Message | bytes | None) -> int:
    return len(part.raw) if isinstance(part, Message) else 0


def annotate(raw: bytes, added: dict[Path, Any]) -> bytes:
    """Frames, or a body, with the members added wherever they tell a usage; as they were where they tell none."""
    if raw.lstrip()[:1] == b"{":
        return _annotated(raw, added)
    framer = sse.Framer()
    frames = [_annotated(frame, added) if b'"usage"' in frame else frame for frame in framer.feed(raw)]
    return b"".join(frames) + framer.rest


def _annotated(raw: bytes, added: dict[Path, Any]) -> bytes:
    try:
        return _appended(raw, added) or _edited(raw, added)
    except (Misfit, BadRequest):
        return raw


class _Telling(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()


_TELLING = msgspec.json.Decoder(_Telling)
_USAGE = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*')


def _appended(raw: bytes, added: dict[Path, Any]) -> bytes:
    """The short way: new members of an outermost `usage`, and beside it; empty where it is not as plain as that."""
    start, end = edits.data_span(raw)
    body = raw[start:end]
    try:
        usage = bytes(_TELLING.decode(body).usage)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return b""
    at = body.find(b'"usage"')
    key = _USAGE.match(body, at) if usage[:1] == b"{" and b'"' in usage and body[-1:] == b"}" else None
    if key is None or not body.startswith(usage, key.end()) or body.find(b'"usage"', key.end()) >= 0:
        return b""
    inner, outer = {}, {}
    for path, value in added.items():
        if _quoted(path[-1]) in body:
            return b""
        if len(path) == 1:
            outer[path[0]] = value
        elif path[0] == "usage" and len(path) == 2:
            inner[path[1]] = value
        else:
            return b""
    behind = key.end() + len(usage)
    return b"".join((raw[:start], _with(body[:behind], inner), _with(body[behind:], outer), raw[end:]))


@cache
def _quoted(name: str | int) -> bytes:
    """A member's name as it stands in JSON; those that are added are few."""
    return f'"{name}"'.encode()


def _with(text: bytes, members: dict[Any, Any]) -> bytes:
    """The end of an object that is not empty, with members behind the others."""
    return text[:-1] + b"," + encode(members)[1:-1] + b"}" if members else text


def _edited(raw: bytes, added: dict[Path, Any]) -> bytes:
    value = edits.decoded(raw)
    fitting = {
        path: encode(member)
        for path, member in _placed(value, added).items()
        if isinstance(edits.at(value, (path[0], "usage") if path[0] in _HOLDERS else ("usage",)), dict)
    }
    return edits.edit_frame(raw, fitting)


_HOLDERS = ("message", "response")
"""Members of a frame that hold a whole reply, and its usage."""


def _placed(value: Any, added: dict[Path, Any]) -> dict[Path, Any]:
    """The members where they belong in a frame: those of a Responses stream stand inside the response."""
    if not (isinstance(value, dict) and isinstance(value.get("response"), dict)):
        return added
    return {("response", *path): member for path, member in added.items()}


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)
