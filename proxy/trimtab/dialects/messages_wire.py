"""The shapes of Anthropic's replies, as far as we read them; whatever is missing or null is None."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trimtab.dialects.chat_wire import Number, tokens
from trimtab.dialects.edits import Path
from trimtab.events import Usage


class Details(msgspec.Struct):
    """Of the output."""

    thinking_tokens: Number = None


class Counters(msgspec.Struct):
    """The usage of a reply, or the part of it that one frame tells."""

    input_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None
    output_tokens: Number = None
    output_tokens_details: Details | None = None


class Part(msgspec.Struct):
    """A block of a reply; a streamed one is empty at its start."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Delta(msgspec.Struct):
    """What a frame adds to a block, or to the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Body(msgspec.Struct):
    """A message; `content` only where the reply is not streamed."""

    id: str | None = None
    type: str | None = None
    model: str | None = None
    usage: Counters | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Frame(msgspec.Struct):
    """The data of one frame."""

    type: str = ""
    index: int = 0
    message: Body | None = None
    content_block: msgspec.Raw = msgspec.Raw()
    delta: Delta | None = None
    usage: Counters | None = None
    error: Any = None


_PROMPT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def merged(old: Counters | None, new: Counters | None) -> Counters | None:
    """Counters with those of a later frame in their place: they are cumulative, so nothing is added.

    A prompt that falls back to nothing says nothing: then the earlier numbers of the prompt stay.
    """
    if old is None or new is None:
        return old if new is None else new
    stays = _prompt(new) == 0 < _prompt(old)
    taken = {
        name: getattr(old, name) if getattr(new, name) is None or (stays and name in _PROMPT) else getattr(new, name)
        for name in Counters.__struct_fields__
    }
    return Counters(**taken)


def _prompt(counters: Counters) -> int:
    return sum(tokens(getattr(counters, name)) for name in _PROMPT)


def usage_of(counters: Counters | None) -> Usage | None:
    """The usage behind the counters, None when there are none."""
    if counters is None:
        return None
    details = counters.output_tokens_details
    thinking = details.thinking_tokens if details else None
    return Usage(
        input=tokens(counters.input_tokens),
        cache_read=tokens(counters.cache_read_input_tokens),
        cache_write=tokens(counters.cache_creation_input_tokens),
        output=tokens(counters.output_tokens),
        reasoning=None if thinking is None else tokens(thinking),
    )


def numbers(usage: Usage | None) -> Mapping[Path, int]:
    """The counters of a usage, by their place in the member `usage`."""
    if usage is None:
        return {}
    found: dict[Path, int] = {
        ("input_tokens",): usage.input,
        ("cache_read_input_tokens",): usage.cache_read,
        ("cache_creation_input_tokens",): usage.cache_write,
        ("output_tokens",): usage.output,
    }
    if usage.reasoning is not None:
        found["output_tokens_details", "thinking_tokens"] = usage.reasoning
    return found


def delta_usage(usage: Usage | None) -> dict[str, Any]:
    """The usage of a last frame, with every member that the specification requires."""
    told = usage or Usage()
    return {
        "input_tokens": told.input,
        "cache_creation_input_tokens": told.cache_write,
        "cache_read_input_tokens": told.cache_read,
        "output_tokens": told.output,
        "output_tokens_details": None if told.reasoning is None else {"thinking_tokens": told.reasoning},
        "server_tool_use": None,
    }


def full_usage(usage: Usage | None) -> dict[str, Any]:
    """The usage of a message, with every member that the specification requires."""
    written = 0 if usage is None else usage.cache_write
    creation = {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0}
    return {**delta_usage(usage), "cache_creation": creation, "service_tier": "standard", "inference_geo": None}
