"""A request as the pieces that a provider's cache compares, each counted once."""

import binascii
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from trimtab.caches import Piece, piece
from trimtab.conversation import Block, Conversation, Image, Message, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.errors import BadRequest

FRAMING = 4
"""Tokens that stand around a message."""
IMAGE = 1500
"""Tokens of a picture, about; its size is known to the stage that counts, not here."""
_MARK = b'"cache_control"'
_NOTE = "offline.pieces"


class Measured(NamedTuple):
    """A request in pieces."""

    pieces: tuple[Piece, ...]
    stable: int
    """How many pieces stand before its last turn of the user: the next request must begin with them too."""

    @property
    def tokens(self) -> int:
        """Tokens of the whole request."""
        return sum(each.tokens for each in self.pieces)


def measured(conversation: Conversation) -> Measured:
    """The pieces of a request in the order in which a provider reads them: tools, system, messages."""
    pieces = list(_head(conversation))
    stable = len(pieces)
    for message in conversation.messages:
        pieces += of_message(message)
        if message.role == "assistant":
            stable = len(pieces)
    return Measured(tuple(pieces), stable)


def of_message(message: Message) -> tuple[Piece, ...]:
    """The pieces of a message, one per block; made once."""
    known: tuple[Piece, ...] | None = message.notes.get(_NOTE)
    if known is None:
        blocks = _blocks(message)
        marks = [_marked(block) for block in blocks]
        if _MARK in message.raw and not any(marks):
            # A mark on the message itself covers all of it.
            marks[-1:] = [True] * bool(blocks)
        known = message.notes[_NOTE] = tuple(
            piece(text_of(block), 0 if number else FRAMING, marked=mark)
            for number, (block, mark) in enumerate(zip(blocks, marks, strict=True))
        )
    return known


def _marked(block: Block) -> bool:
    return _MARK in block.raw or (isinstance(block, ToolResult) and any(map(_marked, block.content)))


def _blocks(message: Message) -> tuple[Block, ...]:
    try:
        return message.blocks
    except BadRequest:
        # It passes to its own dialect as it is; here it is one piece.
        return (Opaque(raw=message.raw),)


def _head(conversation: Conversation) -> Iterator[Piece]:
    tools = conversation.head.raw("tools")
    if tools:
        yield _tools(tools)
    for block in conversation.system:
        yield _counted(text_of(block), marked=_MARK in block.raw)


@lru_cache(maxsize=64)
def _tools(raw: bytes) -> Piece:
    return piece(raw.decode(errors="replace"), marked=_MARK in raw)


@lru_cache(maxsize=1024)
def _counted(text: str, *, marked: bool) -> Piece:
    return piece(text, marked=marked)


def text_of(block: Block) -> str:
    """A block as a model reads it: its text; of a picture a stand-in of its size, different for each."""
    match block:
        case Text() | Thinking():
            return block.text
        case ToolUse():
            return f"{block.name} {block.input.decode(errors='replace')}"
        case ToolResult():
            return "\n".join(map(text_of, block.content))
        case Image():
            return " x" * IMAGE + sha256((block.data or block.url).encode()).hexdigest()
    return _bare(block.raw)


def _bare(raw: bytes) -> str:
    """JSON without cache marks, which move and are no part of what a model reads, and with base64 as its digest."""
    try:
        return msgspec.json.encode(_unmarked(msgspec.json.decode(raw))).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode(errors="replace")


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unmarked(item) for name, item in value.items() if name != "cache_control"}
    if isinstance(value, list):
        return [_unmarked(item) for item in value]
    return sha256(value.encode()).hexdigest() if isinstance(value, str) and _binary(value) else value


def _binary(text: str) -> bool:
    if len(text) < 4096:
        return False
    try:
        return bool(binascii.a2b_base64(text.rpartition(",")[2][:4096], strict_mode=True))
    except ValueError:
        return False
