"""What of a request a model reads as tokens: texts, pictures, pages, and the framing around them.

Base64 is never counted by its letters.
"""

import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from trimtab.api import (
    Block,
    DialectName,
    Document,
    Framing,
    Image,
    Message,
    Opaque,
    Picture,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    framing,
    picture_of,
    size_of,
)

PAGE = 2_000
"""Tokens of a page of a PDF; Anthropic tells 1,500 to 3,000."""

_PAGES = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_BASE64 = re.compile(r'"(?:data:[^"]{0,100},)?[A-Za-z0-9+/=_-]{1024,}"')
_PDF = re.compile(r"data:application/pdf[^,]{0,100},")


class Pages(NamedTuple):
    """A file that a model reads page by page."""

    data: str = ""

    def tokens(self) -> int:
        """A page is told by its object; a file whose objects are packed, or out of reach, is taken for one page."""
        try:
            found = len(_PAGES.findall(binascii.a2b_base64(self.data)))
        except ValueError:
            found = 0
        return PAGE * max(1, found)


Part = str | int | Picture | Pages
"""A text, tokens of framing, an image, or a file."""


def of_message(message: Message) -> Iterator[Part]:
    """The parts of a message, its frame among them."""
    frame = framing(message.codec.name)
    yield frame.message
    yield from _parts(message.blocks, frame)


def _parts(blocks: Iterable[Block], frame: Framing) -> Iterator[Part]:
    for block in blocks:
        match block:
            case Text() | Thinking():
                yield block.text
            case ToolUse():
                yield frame.call
                yield block.name
                yield block.input.decode(errors="replace")
            case ToolResult():
                yield frame.call
                yield from _parts(block.content, frame)
            case Image():
                yield picture_of(block)
            case Document():
                yield from _document(block)
            case Opaque():
                yield _BASE64.sub('""', block.raw.decode(errors="replace"))


def of_tools(raw: bytes, dialect: DialectName) -> Iterator[Part]:
    """The parts of the member `tools`: each as templates write it (`tojson`, hence the spaces), without cache marks."""
    offered = msgspec.json.decode(raw, type=list[Any] | None) or ()
    frame = framing(dialect)
    if offered:
        yield frame.offer
    for tool in offered:
        yield frame.tool
        shown = {name: value for name, value in tool.items() if name != "cache_control"} if _is_object(tool) else tool
        yield json.dumps(shown, ensure_ascii=False)


def of_system(raw: bytes) -> Iterator[Part]:
    """The parts of the member `system`: a string, or a list of text blocks."""
    value = msgspec.json.decode(raw)
    for block in value if isinstance(value, list) else [value]:
        text = block.get("text") if _is_object(block) else block
        if isinstance(text, str):
            yield text


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


class _Source(msgspec.Struct):
    type: str = ""
    media_type: str | None = None
    data: str | None = None
    content: Any = None


class _File(msgspec.Struct):
    file_data: str | None = None


class _Document(msgspec.Struct):
    source: _Source | None = None
    file: _File | None = None
    file_data: str | None = None
    title: str | None = None
    context: str | None = None


def _document(block: Document) -> Iterator[Part]:
    try:
        document = msgspec.json.decode(block.raw, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        yield Pages()
        return
    yield from filter(None, (document.title, document.context))
    source = document.source or _Source()
    if source.type == "content":
        yield from _content(source.content)
    elif source.type == "text" or (source.media_type or "").startswith("text/"):
        yield source.data or ""
    else:
        yield Pages(
            source.data
            or _PDF.sub("", (document.file and document.file.file_data) or document.file_data or "", count=1)
        )


def _content(value: Any) -> Iterator[Part]:
    for block in value if isinstance(value, list) else [value]:
        if isinstance(block, str):
            yield block
        elif _is_object(block) and isinstance(block.get("text"), str):
            yield block["text"]
        elif _is_object(block) and _is_object(source := block.get("source")):
            data = source.get("data")
            yield Picture(*(size_of(data) or (0, 0))) if isinstance(data, str) else Picture()
