"""The content of a message, as two dialects share it: parts into blocks, and changed blocks back into their JSON."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from trimtab.conversation import Block, Document, Image, Opaque, Text
from trimtab.errors import BadRequest
from trimtab.splice import Scanned, decode, scan, splice

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,")
LONGEST_HEAD = 1000
"""Characters of a data URL before its data; the type and some parameters stand there."""


class Typed(msgspec.Struct):
    """The member that tells what a part is."""

    type: str | None = None


class PartCodec(Protocol):
    """What a dialect knows of a single part."""

    def read(self, raw: bytes, place: str) -> Block:
        """The block of a part."""

    def fresh(self, block: Block) -> bytes:
        """The JSON of a block that has none."""

    def changed(self, old: Block, new: Block) -> bytes:
        """The part of `old` with what differs in `new` written into it."""


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return msgspec.json.encode(value)


def tool_input(text: bytes) -> bytes:
    """A tool's input as the JSON object that some dialects demand; what is none is wrapped, not lost."""
    if not text.strip():
        return b"{}"
    try:
        if isinstance(msgspec.json.decode(text), dict):
            return text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return encode({"_raw": text.decode("utf-8", "replace")})


def data_url(url: str) -> Image:
    """An image by its address; a base64 data URL is taken apart."""
    head = _DATA_URL.match(url, 0, LONGEST_HEAD)
    if head is None:
        return Image(url=url)
    return Image(media_type=head.group(1), data=url[head.end() :])


def read_content(value: bytes, place: str, read: Callable[[bytes, str], Block]) -> tuple[Block, ...]:
    """The blocks of a string or a list of parts; no block for null, an absent member or an empty string."""
    first = value[:1]
    if first == b'"':
        text = decode(value, str, place)
        return (Text(text=text),) if text else ()
    if first == b"[":
        parts = decode(value, list[msgspec.Raw], place)
        return tuple(read(bytes(part), f"{place}[{index}]") for index, part in enumerate(parts))
    if value in (b"", b"null"):
        return ()
    raise BadRequest(f"{place} is neither a string nor a list: send text, or a list of parts", param=place)


def read_part(raw: bytes, place: str, readers: Mapping[str, Callable[[bytes, str], Block]]) -> Block:
    """The block of one part; a bare string is text, a type not in `readers` is opaque."""
    if raw[:1] == b'"':
        return Text(text=decode(raw, str, place), raw=raw)
    if raw[:1] != b"{":
        raise BadRequest(f"{place} is no object: send a part with a 'type'", param=place)
    kind = decode(raw, Typed, place).type or ""
    reader = readers.get(kind)
    return Opaque(raw=raw, kind=kind) if reader is None else reader(raw, place)


def write(block: Block, codec: PartCodec) -> bytes:
    """The JSON of a block: its own bytes where it is unchanged, else those with the change spliced in."""
    if not block.raw:
        return codec.fresh(block)
    old = codec.read(block.raw, "a part")
    if old == block or isinstance(block, Opaque | Document):
        return block.raw
    if type(old) is not type(block):
        return codec.fresh(msgspec.structs.replace(block, raw=b""))
    return codec.changed(old, block)


class Change(NamedTuple):
    """Arguments for `splice`: new members, and new items of arrays."""

    members: dict[str, bytes | None]
    items: dict[str, Sequence[bytes]]


def content_change(scanned: Scanned, blocks: Sequence[Block], codec: PartCodec) -> Change:
    """The change that puts `blocks` into the member `content`, which stays a string where it can."""
    if "content" in scanned.items:
        return Change({}, {"content": [write(block, codec) for block in blocks]})
    return Change({"content": content(blocks, codec)}, {})


def content(blocks: Sequence[Block], codec: PartCodec) -> bytes:
    """Content of our own making: a string for one new text, else a list."""
    match blocks:
        case []:
            return b'""'
        case [Text(raw=b"", text=text)]:
            return encode(text)
    return b"[" + b",".join(write(block, codec) for block in blocks) + b"]"


def replaced(raw: bytes, members: Mapping[str, bytes | None]) -> bytes:
    """A JSON object with some members replaced or added."""
    return splice(scan(raw, ()), members, {})


def unrenderable(block: Block, dialect: str) -> ValueError:
    """The fault of a stage that asks for what a dialect cannot say."""
    return ValueError(f"a new {type(block).__name__} has no form in the dialect '{dialect}'")
