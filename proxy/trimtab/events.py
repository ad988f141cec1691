"""A reply as a sequence of events, the same in every dialect and the same streamed or not.

A stream is `Started`, then blocks, then exactly one `Finished` or `Failed`. A block is a run of deltas of one kind that
ends with `BlockStop`; a tool call opens with `ToolStart`. `index` counts the blocks of a reply from 0.
"""

from enum import StrEnum
from typing import TypeVar

import msgspec

from trimtab.errors import Cause

E = TypeVar("E", bound=msgspec.Struct)


class StopReason(StrEnum):
    """Why the model stopped (protocol.md 2.3); `Finished.native` keeps the upstream's own word."""

    END = "end"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    PAUSE = "pause"
    REFUSAL = "refusal"
    CONTEXT = "context"


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one reply; `input` excludes what the provider's cache gave or took (Anthropic's convention)."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int | None = None
    estimated: bool = False

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, cached or not (OpenAI's `prompt_tokens`)."""
        return self.input + self.cache_read + self.cache_write


class Event(msgspec.Struct, frozen=True):
    """One step of a reply."""


class Started(Event, frozen=True):
    """The reply has begun; `usage` is what the upstream says of the prompt so far, None when it says nothing."""

    id: str = ""
    model: str = ""
    usage: Usage | None = None


class TextDelta(Event, frozen=True):
    """More visible text."""

    text: str
    index: int = 0


class ThinkingDelta(Event, frozen=True):
    """More of the model's thought, or the signature that closes it."""

    text: str = ""
    signature: str = ""
    index: int = 0


class ToolStart(Event, frozen=True):
    """A tool call begins."""

    id: str
    name: str
    index: int = 0


class ToolDelta(Event, frozen=True):
    """A piece of the JSON text of a tool call's input."""

    json: str
    index: int = 0


class BlockStop(Event, frozen=True):
    """The block `index` is complete."""

    index: int = 0


class Finished(Event, frozen=True):
    """The reply is complete; `usage` is None only where the upstream told none."""

    reason: StopReason
    usage: Usage | None = None
    stop_sequence: str | None = None
    native: str = ""


class Failed(Event, frozen=True):
    """The upstream broke off with an error of its own."""

    message: str
    cause: Cause = Cause.UPSTREAM
    native: str = ""


class Opaque(Event, frozen=True):
    """A frame of the upstream's dialect without a meaning shared by others; shown to its own dialect only."""

    raw: bytes
    kind: str = ""
    dialect: str = ""


def replace(event: E, **changes: object) -> E:
    """Return a copy of a frozen event or option with some fields changed."""
    return msgspec.structs.replace(event, **changes)
