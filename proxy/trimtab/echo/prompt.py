"""Read requests of both dialects as the sequence of pieces that a model would see."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from .faults import Fault

IMAGE_TOKENS = 1_000
QUOTED = 80
# In a piece an image stands as its hash between two private characters; a cut may leave only the start of that.
_IMAGE = re.compile("\ue000[0-9a-f]*(?:\ue001|$)")
_BINARY = {"image", "image_url", "input_image", "document", "file", "input_audio"}
_Content = str | list[dict[str, Any]] | None


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


class _Message(msgspec.Struct):
    role: str
    content: _Content = None
    name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


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
        return self._made("tool definition", [_json(tool)], tool=offered)

    def _system(self, raw: msgspec.Raw) -> Piece:
        return self._made("system", _parts(msgspec.json.decode(raw, type=_Content)))

    def _message(self, raw: msgspec.Raw) -> Piece:
        message = msgspec.json.decode(raw, type=_Message)
        parts = _parts(message.content)
        if message.reasoning_content:
            parts = [f"<think>{message.reasoning_content}", *parts]
        parts += map(_chat_call, message.tool_calls or ())
        header = " ".join(filter(None, (message.role, message.name, message.tool_call_id)))
        return self._made(header, parts, role=message.role, results=_results(message), said=_said(message))

    def _made(
        self,
        header: str,
        parts: Sequence[str],
        role: str = "",
        results: int = 0,
        said: str = "",
        tool: Tool | None = None,
    ) -> Piece:
        text = "\n".join([f"<|{header}|>", *parts, ""])
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        return Piece(text, digest, self.measure(text), len(_IMAGE.findall(text)), role, results, said, tool)


def _parts(content: _Content) -> list[str]:
    # A string is the same as one block of text, to every provider.
    return [content] if isinstance(content, str) else [_part(block) for block in content or ()]


def _part(block: dict[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)} | {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return text
        case {"type": "thinking", "thinking": str(text)}:
            return f"<think>{text}"
        case {"type": "tool_use", "id": str(ident), "name": str(name), "input": value}:
            return _call(ident, name, msgspec.json.encode(value).decode())
        case {"type": "tool_result", "tool_use_id": str(ident)}:
            parts = _parts(msgspec.convert(block.get("content"), _Content))
            return "\n".join([f"<result {ident}{' error' * bool(block.get('is_error'))}>", *parts])
        case {"type": str(kind)} if kind in _BINARY:
            return f"\ue000{sha256(_json(block).encode()).hexdigest()[:32]}\ue001"
    return _json(block)


def _chat_call(call: dict[str, Any]) -> str:
    match call:
        case {"id": str(ident), "function": {"name": str(name), "arguments": str(arguments)}}:
            return _call(ident, name, arguments)
    return _json(call)


def _call(ident: str, name: str, arguments: str) -> str:
    return f"<call {ident} {name}>{arguments}"


def _json(value: dict[str, Any]) -> str:
    # Cache marks steer the provider and are no part of what the model sees.
    return msgspec.json.encode({key: item for key, item in value.items() if key != "cache_control"}).decode()


def _results(message: _Message) -> int:
    if message.role in ("tool", "function"):
        return 1
    blocks = message.content if isinstance(message.content, list) else ()
    return sum(block.get("type") == "tool_result" for block in blocks)


def _said(message: _Message) -> str:
    if message.role != "user" or message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content[:QUOTED]
    texts = [block.get("text") for block in message.content if block.get("type") == "text"]
    return next((text[:QUOTED] for text in reversed(texts) if isinstance(text, str)), "")
