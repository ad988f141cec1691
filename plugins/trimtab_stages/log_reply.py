"""A reply put together from its events, for the upstream log."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimtab.api import (
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
)


class Block(msgspec.Struct, omit_defaults=True):
    """One block of a reply."""

    type: str
    id: str = ""
    name: str = ""
    text: str = ""
    signature: str = ""
    input: str = ""
    """The JSON text of a tool call as the model wrote it, valid or not."""


class Reply(msgspec.Struct, omit_defaults=True):
    """A whole reply; `usage` is the upstream's own."""

    id: str = ""
    model: str = ""
    content: list[Block] = []
    reason: str = ""
    native: str = ""
    usage: Any = None
    error: str = ""


def reply_of(events: Sequence[Event]) -> Reply:
    """The reply that these events tell."""
    reply = Reply(content=list(_blocks(events)))
    for event in events:
        if isinstance(event, Started):
            reply.id, reply.model = event.id or "", event.model or ""
            reply.usage = event.usage
        elif isinstance(event, Finished):
            reply.reason, reply.native = event.reason, event.native
            reply.usage = event.usage or reply.usage
        elif isinstance(event, Failed):
            reply.error = f"{event.cause}: {event.message}"
    return reply


def _blocks(events: Iterable[Event]) -> Iterable[Block]:
    blocks: dict[tuple[int, str], Block] = {}
    parts: dict[tuple[int, str], list[str]] = {}
    for event in events:
        if isinstance(event, ToolStart):
            blocks[event.index, "tool_use"] = Block("tool_use", id=event.id, name=event.name)
        elif isinstance(event, ToolDelta):
            _more(blocks, parts, event.index, "tool_use", event.json)
        elif isinstance(event, TextDelta):
            _more(blocks, parts, event.index, "text", event.text)
        elif isinstance(event, ThinkingDelta):
            _more(blocks, parts, event.index, "thinking", event.text).signature += event.signature
    for key, block in blocks.items():
        joined = "".join(parts.get(key, ()))
        if block.type == "tool_use":
            block.input = joined
        else:
            block.text = joined
    return blocks.values()


def _more(
    blocks: dict[tuple[int, str], Block], parts: dict[tuple[int, str], list[str]], index: int, kind: str, text: str
) -> Block:
    block = blocks.setdefault((index, kind), Block(kind))
    parts.setdefault((index, kind), []).append(text)
    return block
