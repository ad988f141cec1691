"""Read requests of both dialects as the sequence of pieces that a model would see.

A piece is counted as servers were measured to count it (framing.py): its texts, each for itself, and what stands around
them. Ids are shown, since a provider's cache tells them apart, and not counted.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from trimtab.framing import framing

from .faults import Fault

IMAGE_TOKENS = 1_000
QUOTED = 80
# In a piece an image stands as its hash between two private characters; a cut may leave only the start of that.
_IMAGE = re.compile("\ue000[0-9a-f]*(?:\ue001|$)")
_OFFERED = "tool definition"
_CHAT, _BLOCKS = framing("chat"), framing("messages")
_BINARY = {"image", "image_url", "input_image", "document", "file", "input_audio"}
_Content = str | list[msgspec.Raw] | None


class Request(msgspec.Struct):
    """The members of a request that the echo obeys, those of both dialects together."""

    model: str
    messages: list[msgspec.Raw]
    system: msgspec.Raw = msgspec.Raw()
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    reasoning_effort: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool that the request offers."""

    name: str
    parameters: dict[str, Any]


class Piece(msgspec.Struct, frozen=True):
    """A tool, the system prompt or a message: its text as the model sees it, and what was learned from it."""

    text: str
    digest: bytes
    tokens: int
    images: int
    role: str
    results: int = 0
    said: str = ""
    tool: Tool | None = None


class _Part(NamedTuple):
    """A stretch of a piece: how it looks, the texts of it that count, and tokens that it counts apart from them."""

    shown: str
    spoken: tuple[str, ...] = ()
    frame: int = 0
    images: int = 0


class _Input(msgspec.Struct):
    input: msgspec.Raw


class _Inside(msgspec.Struct):
    content: _Content = None


class _Message(msgspec.Struct):
    role: str
    content: _Content = None
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


def total(pieces: Sequence[Piece]) -> int:
    """Count the tokens of a prompt."""
    return _CHAT.opening + prefix(pieces)


def prefix(pieces: Sequence[Piece]) -> int:
    """Count the tokens of a prompt up to the reply's opening, hence of any start of it."""
    offer = _CHAT.offer if pieces and pieces[0].text.startswith(f"<|{_OFFERED}|>") else 0
    return offer + sum(piece.tokens for piece in pieces)


def parse(body: bytes) -> Request:
    """Read a request body."""
    try:
        request = msgspec.json.decode(body, type=Request)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Fault(400, f"the body is not a valid request: {error}") from None
    if not request.messages:
        raise Fault(400, "messages: at least one message is required")
    return request


class Reader:
    """Turn requests into pieces; a piece is recognised by its bytes, so a long session costs its new messages."""

    def __init__(self, count: Callable[[str], int], limit: int) -> None:
        self._count = count
        self._limit = limit
        self._known: OrderedDict[bytes, Piece] = OrderedDict()

    def read(self, request: Request) -> list[Piece]:
        """List the pieces of a prompt in the order in which a provider serialises them."""
        system = [request.system] if bytes(request.system) not in (b"", b"null", b"[]", b'""') else []
        return [
            *self._pieces(b"t", self._tool, request.tools or ()),
            *self._pieces(b"s", self._system, system),
            *self._pieces(b"m", self._message, request.messages),
        ]

    def measure(self, text: str) -> int:
        """Count the tokens of a piece's text, or of the start of one."""
        bare, images = _IMAGE.subn("", text)
        return self._count(bare) + IMAGE_TOKENS * images

    def _pieces(self, kind: bytes, make: Callable[[msgspec.Raw], Piece], raws: Iterable[msgspec.Raw]) -> list[Piece]:
        return [self._piece(kind, make, raw) for raw in raws]

    def _piece(self, kind: bytes, make: Callable[[msgspec.Raw], Piece], raw: msgspec.Raw) -> Piece:
        key = kind + sha256(raw).digest()
        piece = self._known.get(key)
        if piece is None:
            try:
                piece = self._known[key] = make(raw)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise Fault(400, f"a part of the request is not valid: {error}") from None
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return piece

    def _tool(self, raw: msgspec.Raw) -> Piece:
        tool = msgspec.json.decode(raw, type=dict[str, Any])
        inner = tool.get("function", tool)
        inner = inner if isinstance(inner, dict) else {}
        name = inner.get("name")
        schema = inner.get("parameters", inner.get("input_schema"))
        offered = Tool(name, schema if isinstance(schema, dict) else {}) if isinstance(name, str) else None
        frame = _CHAT if "function" in tool else _BLOCKS
        # As templates write it, hence the spaces.
        text = json.dumps(_unmarked(tool), ensure_ascii=False)
        return self._made(_OFFERED, [_Part(text, (text,), frame.tool)], tool=offered)

    def _system(self, raw: msgspec.Raw) -> Piece:
        return self._made("system", _parts(msgspec.json.decode(raw, type=_Content)))

    def _message(self, raw: msgspec.Raw) -> Piece:
        message = msgspec.json.decode(raw, type=_Message)
        parts = _parts(message.content)
        if message.reasoning_content:
            parts = [_thought(message.reasoning_content), *parts]
        parts += map(_chat_call, message.tool_calls or ())
        header = " ".join(filter(None, (message.role, message.name, message.tool_call_id)))
        frame = _CHAT.message + (_CHAT.call if message.role == "tool" else 0)
        return self._made(header, parts, frame, role=message.role, results=_results(message), said=_said(message))

    def _made(
        self,
        header: str,
        parts: Sequence[_Part],
        frame: int = 0,
        role: str = "",
        results: int = 0,
        said: str = "",
        tool: Tool | None = None,
    ) -> Piece:
        text = "\n".join([f"<|{header}|>", *(part.shown for part in parts), ""])
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        images = sum(part.images for part in parts)
        tokens = frame + IMAGE_TOKENS * images + sum(part.frame + sum(map(self._count, part.spoken)) for part in parts)
        return Piece(text, digest, tokens, images, role, results, said, tool)


def _parts(content: _Content) -> list[_Part]:
    # A string is the same as one block of text, to every provider.
    return [_text(content)] if isinstance(content, str) else [_part(raw) for raw in content or ()]


def _block(raw: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])


def _text(text: str) -> _Part:
    return _Part(text, (text,))


def _thought(text: str) -> _Part:
    return _Part(f"<think>{text}", (text,))


def _part(raw: msgspec.Raw) -> _Part:
    block = _block(raw)
    match block:
        case {"type": "text", "text": str(text)} | {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return _text(text)
        case {"type": "thinking", "thinking": str(text)}:
            return _thought(text)
        case {"type": "tool_use", "id": str(ident), "name": str(name), "input": _}:
            given = msgspec.json.decode(raw, type=_Input).input
            return _call(ident, name, bytes(given).decode(), _BLOCKS.call)
        case {"type": "tool_result", "tool_use_id": str(ident)}:
            inside = msgspec.json.decode(raw, type=_Inside).content
            return _result(ident, bool(block.get("is_error")), _parts(inside))
        case {"type": str(kind)} if kind in _BINARY:
            return _Part(f"\ue000{sha256(_json(block).encode()).hexdigest()[:32]}\ue001", images=1)
    return _text(_json(block))


def _result(ident: str, failed: bool, parts: Sequence[_Part]) -> _Part:
    shown = "\n".join([f"<result {ident}{' error' * failed}>", *(part.shown for part in parts)])
    spoken = tuple(text for part in parts for text in part.spoken)
    frame = _BLOCKS.call + sum(part.frame for part in parts)
    return _Part(shown, spoken, frame, sum(part.images for part in parts))


def _chat_call(call: dict[str, Any]) -> _Part:
    match call:
        case {"id": str(ident), "function": {"name": str(name), "arguments": str(arguments)}}:
            return _call(ident, name, arguments, _CHAT.call)
    return _text(_json(call))


def _call(ident: str, name: str, arguments: str, frame: int) -> _Part:
    return _Part(f"<call {ident} {name}>{arguments}", (name, arguments), frame)


def _unmarked(value: dict[str, Any]) -> dict[str, Any]:
    # Cache marks steer the provider and are no part of what the model sees.
    return {key: item for key, item in value.items() if key != "cache_control"}


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(_unmarked(value)).decode()


def _results(message: _Message) -> int:
    if message.role in ("tool", "function"):
        return 1
    blocks = map(_block, message.content) if isinstance(message.content, list) else ()
    return sum(block.get("type") == "tool_result" for block in blocks)


def _said(message: _Message) -> str:
    if message.role != "user" or message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content[:QUOTED]
    texts = [block.get("text") for block in map(_block, message.content) if block.get("type") == "text"]
    return next((text[:QUOTED] for text in reversed(texts) if isinstance(text, str)), "")
