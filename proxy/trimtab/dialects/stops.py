"""The words for the end of a reply, in every dialect (protocol.md 2.3 as data)."""

import re
from collections.abc import Mapping

from trimtab.errors import Cause
from trimtab.events import Failed, StopReason, Usage

OWN = {
    "end_turn": StopReason.END,
    "stop": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "length": StopReason.LENGTH,
    "tool_use": StopReason.TOOL_USE,
    "tool_calls": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "content_filter": StopReason.REFUSAL,
    "sensitive": StopReason.REFUSAL,
    "model_context_window_exceeded": StopReason.CONTEXT,
}
"""What an upstream may say, of either dialect, since gateways mix them; other words mean END."""

BROKEN = frozenset({"network_error", "insufficient_system_resource"})
"""Words that look like an end and are an error."""

MESSAGES = {
    StopReason.END: "end_turn",
    StopReason.STOP_SEQUENCE: "stop_sequence",
    StopReason.LENGTH: "max_tokens",
    StopReason.TOOL_USE: "tool_use",
    StopReason.PAUSE: "pause_turn",
    StopReason.REFUSAL: "refusal",
    StopReason.CONTEXT: "model_context_window_exceeded",
}

CHAT = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.TOOL_USE: "tool_calls",
    StopReason.PAUSE: "stop",
    StopReason.REFUSAL: "content_filter",
    StopReason.CONTEXT: "length",
}


def chat(reason: StopReason, *, legacy: bool) -> str:
    """The word of chat; clients of the time of `functions` know another one for a call."""
    return "function_call" if legacy and reason is StopReason.TOOL_USE else CHAT[reason]


def reason(native: str, *, called: bool, refused: bool = False) -> StopReason:
    """The reason behind an upstream's word; `called` says whether the reply holds a tool call, which outweighs it.

    `refused` says whether its text is a refusal, which chat tells beside a plain end.
    """
    found = OWN.get(native, StopReason.END)
    if found is StopReason.END and called:
        return StopReason.TOOL_USE
    if found is StopReason.END and refused:
        return StopReason.REFUSAL
    if found is StopReason.TOOL_USE and not called:
        return StopReason.END
    return found


def fitting(native: str, words: Mapping[StopReason, str], *, called: bool) -> str | None:
    """The word of a dialect in the place of one that its clients do not know, or of a plain end behind tool calls.

    None where the upstream's own word is right; one that nobody knows stays, too.
    """
    found = OWN.get(native)
    if found is None or native == "function_call":
        return None
    right = words[reason(native, called=called)]
    ends = found is StopReason.END and called
    return right if right != native and (ends or native not in words.values()) else None


_REASON = re.compile(rb'("(?:finish_reason|stop_reason)"\s*:\s*)"[^"\\]*"')


def reworded(raw: bytes, word: str) -> bytes:
    """A frame or body with another word for its end. No string of JSON holds a member: its quotes are escaped."""
    return _REASON.sub(rb'\1"' + word.encode() + b'"', raw)


def broken(native: str) -> Failed | None:
    """The failure that some words for an end really are."""
    if native not in BROKEN:
        return None
    return Failed(f"the upstream broke off: {native}", Cause.UPSTREAM, native)


def prompted(usage: Usage | None) -> Usage | None:
    """Usage that tells the prompt: many upstreams open a stream with `input_tokens: 0, output_tokens: 1`."""
    return usage if usage is not None and usage.prompt else None


def said(usage: Usage | None) -> Usage | None:
    """Usage that says anything: an upstream that counts only at the end sends zeros before."""
    return usage if usage is not None and (usage.prompt or usage.output) else None
