"""Messages of Anthropic's dialect as blocks, and blocks as messages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trimtab.conversation import Block, Document, Image, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.parts import (
    content,
    content_change,
    encode,
    read_content,
    read_part,
    replaced,
    tool_input,
    unrenderable,
)
from trimtab.splice import decode, scan, splice


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


class _Text(msgspec.Struct):
    text: str | None = None


class _Source(msgspec.Struct):
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class _Media(msgspec.Struct):
    source: _Source | None = None


class _Kind(msgspec.Struct):
    media_type: str | None = None


class _Document(msgspec.Struct):
    source: _Kind | None = None


class _Thinking(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None


class _ToolUse(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolResult(msgspec.Struct):
    tool_use_id: str | None = None
    content: msgspec.Raw = msgspec.Raw()
    is_error: bool | None = None


def _text(raw: bytes, place: str) -> Block:
    return Text(text=decode(raw, _Text, place).text or "", raw=raw)


def _image(raw: bytes, place: str) -> Block:
    source = decode(raw, _Media, place).source or _Source()
    return Image(media_type=source.media_type or "", data=source.data or "", url=source.url or "", raw=raw)


def _document(raw: bytes, place: str) -> Block:
    source = decode(raw, _Document, place).source or _Kind()
    return Document(media_type=source.media_type or "", raw=raw)


def _thinking(raw: bytes, place: str) -> Block:
    part = decode(raw, _Thinking, place)
    return Thinking(text=part.thinking or "", signature=part.signature or "", raw=raw)


def _redacted(raw: bytes, _place: str) -> Block:
    return Thinking(redacted=True, raw=raw)


def _tool_use(raw: bytes, place: str) -> Block:
    part = decode(raw, _ToolUse, place)
    return ToolUse(id=part.id or "", name=part.name or "", input=bytes(part.input), raw=raw)


def _tool_result(raw: bytes, place: str) -> Block:
    part = decode(raw, _ToolResult, place)
    inner = read_content(bytes(part.content), f"{place}.content", read)
    return ToolResult(id=part.tool_use_id or "", content=inner, is_error=part.is_error is True, raw=raw)


_READERS: dict[str, Callable[[bytes, str], Block]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def read(raw: bytes, place: str) -> Block:
    """The block of one part."""
    return read_part(raw, place, _READERS)


def read_message(raw: bytes) -> tuple[Block, ...]:
    """The blocks of one message."""
    return read_content(bytes(decode(raw, _Message, "a message").content), "content", read)


def read_system(raw: bytes) -> tuple[Block, ...]:
    """The blocks of the member `system`."""
    return read_content(raw, "system", read)


def write_message(raw: bytes, blocks: Sequence[Block]) -> bytes:
    """The message with other blocks."""
    if tuple(blocks) == read_message(raw):
        return raw
    return _with_content(raw, blocks, {})


def _with_content(raw: bytes, blocks: Sequence[Block], members: Mapping[str, bytes | None]) -> bytes:
    scanned = scan(raw, ("content?",))
    change = content_change(scanned, blocks, PARTS)
    return splice(scanned, {**members, **change.members}, change.items)


_Writer = Callable[[Any], bytes]

_FIELDS: dict[type[Block], tuple[tuple[str, str, _Writer], ...]] = {
    Text: (("text", "text", encode),),
    Thinking: (("text", "thinking", encode), ("signature", "signature", encode)),
    ToolUse: (("id", "id", encode), ("name", "name", encode), ("input", "input", tool_input)),
    ToolResult: (("id", "tool_use_id", encode), ("is_error", "is_error", encode)),
}
"""For each field of a block the member that holds it."""


class Parts:
    """The `PartCodec` of this dialect."""

    def read(self, raw: bytes, place: str) -> Block:
        """The block of a part."""
        return read(raw, place)

    def changed(self, old: Block, new: Block) -> bytes:
        """The part of `old` with what differs in `new` written into it."""
        if old.raw[:1] == b'"':
            return content([msgspec.structs.replace(new, raw=b"")], self)
        if isinstance(new, Thinking) and new.redacted:
            return new.raw
        if isinstance(new, Image):
            return replaced(old.raw, {"source": _source(new)})
        members = {
            member: writer(getattr(new, field))
            for field, member, writer in _FIELDS.get(type(new), ())
            if getattr(new, field) != getattr(old, field)
        }
        if isinstance(new, ToolResult) and isinstance(old, ToolResult) and new.content != old.content:
            return _with_content(old.raw, new.content, members)
        return replaced(old.raw, members)

    def fresh(self, block: Block) -> bytes:
        """The JSON of a block that has none."""
        match block:
            case Text(text=text):
                return encode({"type": "text", "text": text})
            case Image():
                return b'{"type":"image","source":' + _source(block) + b"}"
            case Thinking(redacted=False):
                return encode({"type": "thinking", "thinking": block.text, "signature": block.signature})
            case ToolUse():
                given = msgspec.Raw(tool_input(block.input))
                return encode({"type": "tool_use", "id": block.id, "name": block.name, "input": given})
            case ToolResult():
                return _fresh_result(block)
        raise unrenderable(block, "messages")


PARTS = Parts()


def _source(image: Image) -> bytes:
    if image.url:
        return encode({"type": "url", "url": image.url})
    return encode({"type": "base64", "media_type": image.media_type, "data": image.data})


def _fresh_result(block: ToolResult) -> bytes:
    inner = msgspec.Raw(content(block.content, PARTS))
    flag = {"is_error": True} if block.is_error else {}
    return encode({"type": "tool_result", "tool_use_id": block.id, "content": inner, **flag})
