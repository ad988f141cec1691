"""Messages of Anthropic's dialect as pieces of Chat Completions."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from trimtab.conversation import Block, Document, Image, Message, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.translate.media import chat_document, chat_image, plain_text
from trimtab.translate.names import call_id, tool_name
from trimtab.translate.piece import (
    Kind,
    Piece,
    gone,
    inside,
    joined,
    left_out,
    lost,
    members,
    misplaced,
    text,
    unknown,
)

_MESSAGE = frozenset({"role", "content"})
_SHARED = frozenset({"type"})
_KNOWN: dict[type[Block], frozenset[str]] = {
    Text: _SHARED | {"text"},
    Image: _SHARED | {"source"},
    Document: _SHARED | {"source", "title"},
    Thinking: _SHARED | {"thinking", "signature", "data"},
    # Our own replies carry `caller`; it says nothing.
    ToolUse: _SHARED | {"id", "name", "input", "caller"},
    ToolResult: _SHARED | {"tool_use_id", "content", "is_error"},
}
"""Members whose meaning chat can say."""

_ERROR = inside("Error: ")


def make(message: Message) -> Iterator[Piece]:
    """The pieces of one message."""
    role = message.role if message.role in ("assistant", "user") else "system"
    for name in unknown(members(message.raw), _MESSAGE):
        yield lost(role, name)
    for block in message.blocks:
        yield from _block(role, block)


def _block(role: str, block: Block) -> Iterable[Piece]:
    for name in unknown(members(block.raw), _KNOWN[type(block)]) if type(block) in _KNOWN else ():
        yield lost(role, name)
    maker = _MAKERS.get((role == "assistant", type(block)))
    if isinstance(block, Text):
        yield text(role, block.text)
    elif maker is not None:
        yield from maker(block)
    elif isinstance(block, Opaque):
        yield from _opaque(role, block)
    else:
        # A call in a user's message, say.
        yield misplaced(role, block)


def _image(block: Any) -> Iterable[Piece]:
    body = chat_image(block)
    return left_out("user", "image") if body is None else (Piece("user", Kind.IMAGE, body),)


def _document(block: Any) -> Iterable[Piece]:
    return chat_document(block.raw)


def thought(block: Any) -> Iterable[Piece]:
    """A thought; none of what is only sealed."""
    if block.redacted:
        return (lost("assistant", "redacted_thinking"),)
    return (Piece("assistant", Kind.THOUGHT, inside(block.text)),) if block.text else ()


def call(block: Any) -> Iterable[Piece]:
    """A call."""
    function = {"name": tool_name(block.name, "chat"), "arguments": block.input.decode("utf-8", "replace") or "{}"}
    body = b'","type":"function","function":' + msgspec.json.encode(function) + b"}"
    return (Piece("assistant", Kind.CALL, body, id=call_id(block.id, "chat"), said=block.id),)


def _result(block: Any) -> Iterator[Piece]:
    return result(block, (piece for inner in block.content for piece in _block("user", inner)))


def result(block: ToolResult, content: Iterable[Piece]) -> Iterator[Piece]:
    """A result, its content given in pieces."""
    texts: list[bytes] = []
    media: list[Piece] = []
    for piece in content:
        if piece.kind is Kind.LOST:
            yield piece
        elif piece.kind is Kind.TEXT:
            texts.append(piece.body)
        else:
            media.append(piece)
    body = joined([found for found in texts if found] or [b""])
    if block.is_error:
        body = _ERROR + body
    yield Piece("user", Kind.RESULT, body, id=call_id(block.id, "chat"), said=block.id, media=tuple(media))


def _opaque(role: str, block: Opaque) -> Iterable[Piece]:
    """What we do not know is not for others; of a search result the text can be told."""
    if block.kind == "search_result":
        found = msgspec.json.decode(block.raw)
        head = [str(found[name]) for name in ("title", "source") if found.get(name)]
        yield text(role, "\n".join([*head, plain_text(found.get("content"))]))
        yield lost(role, block.kind)
    elif role == "user":
        yield from left_out(role, block.kind or "block")
    else:
        yield gone(role, block.kind or "block")


_MAKERS: dict[tuple[bool, type[Block]], Callable[[Any], Iterable[Piece]]] = {
    (False, Image): _image,
    (False, Document): _document,
    (False, ToolResult): _result,
    (True, Thinking): thought,
    (True, ToolUse): call,
}
"""By whether the assistant says it."""
