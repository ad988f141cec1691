"""Messages of Chat Completions as pieces of Anthropic's dialect."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from trimtab.conversation import Block, Document, Image, Message, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.messages_encode import signature
from trimtab.dialects.parts import tool_input
from trimtab.translate.media import messages_document, messages_image
from trimtab.translate.names import call_id, tool_name
from trimtab.translate.piece import Kind, Piece, decoded, gone, left_out, lost, members, misplaced, text, unknown

_SYSTEM = ("system", "developer")
_MARK = "cache_control"
_MESSAGE = frozenset({"role", "content", _MARK})
_MEMBERS = {
    "assistant": _MESSAGE
    | {"reasoning_content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "annotations"},
    "tool": _MESSAGE | {"tool_call_id"},
    "function": _MESSAGE | {"name"},
}
_KNOWN: dict[type[Block], frozenset[str]] = {
    Text: frozenset({"type", "text", _MARK}),
    Image: frozenset({"type", "image_url", _MARK}),
    Document: frozenset({"type", "file", _MARK}),
    ToolUse: frozenset({"id", "type", "function", "index", _MARK}),
}
_LEGACY = "fn_"
"""How the id of a legacy call begins, which has none of its own."""


def make(message: Message) -> Iterator[Piece]:
    """The pieces of one message; a mark on the message itself goes to its last piece."""
    found = members(message.raw)
    role = "system" if message.role in _SYSTEM else "assistant" if message.role == "assistant" else "user"
    for name in unknown(found, _MEMBERS.get(message.role, _MESSAGE)):
        yield lost(role, name)
    pieces = list(_pieces(message, role, found))
    mark = _mark(found)
    if mark and pieces:
        pieces[-1] = msgspec.structs.replace(pieces[-1], mark=mark)
    if role == "system" and not pieces:
        # An empty one still belongs to those that open the conversation.
        yield text(role, "")
    yield from pieces


def _pieces(message: Message, role: str, found: Mapping[str, msgspec.Raw]) -> Iterator[Piece]:
    if message.role == "function":
        name = f"{_LEGACY}{decoded(found['name'])}" if "name" in found else _LEGACY
        yield from _result(ToolResult(id=name, content=message.blocks))
        return
    if role == "assistant" and not any(isinstance(block, Thinking) for block in message.blocks):
        yield from _details(found)
    for block in message.blocks:
        yield from _block(role, block)


def _details(found: Mapping[str, msgspec.Raw]) -> Iterable[Piece]:
    """The thought of a client that keeps it in `reasoning_details` only."""
    details = decoded(found["reasoning_details"]) if "reasoning_details" in found else None
    if not isinstance(details, list):
        return ()
    texts = [item.get("text") or item.get("summary") for item in details if isinstance(item, dict)]
    whole = "".join(said for said in texts if isinstance(said, str))
    return thought(Thinking(text=whole)) if whole else ()


def _block(role: str, block: Block) -> Iterator[Piece]:
    found = members(block.raw) if type(block) in _KNOWN else {}
    for name in unknown(found, _KNOWN.get(type(block), frozenset())):
        yield lost(role, name)
    mark = _mark(found)
    maker = _MAKERS.get((role == "assistant", type(block)))
    made: Iterable[Piece]
    if isinstance(block, Text):
        made = (_text(role, block.text),)
    elif isinstance(block, Opaque):
        made = _opaque(role, block)
    elif maker is not None:
        made = maker(block)
    else:
        made = (misplaced(role, block),)
    for piece in made:
        yield msgspec.structs.replace(piece, mark=mark) if mark and piece.kind is not Kind.LOST else piece


def _mark(found: Mapping[str, msgspec.Raw]) -> bytes:
    mark = bytes(found.get(_MARK, b""))
    return mark if mark[:1] == b"{" else b""


def _text(role: str, value: str) -> Piece:
    """A text; one of white space alone would be refused."""
    return text(role, "" if value.isspace() else value)


def _image(block: Any) -> Iterable[Piece]:
    body = messages_image(block)
    if body is None:
        yield from left_out("user", "image")
        return
    yield Piece("user", Kind.IMAGE, body)
    holder = decoded(block.raw).get("image_url")
    if isinstance(holder, dict) and holder.get("detail") not in (None, "auto"):
        yield lost("user", "detail")


def _document(block: Any) -> Iterable[Piece]:
    return messages_document(block.raw)


def thought(block: Any) -> Iterable[Piece]:
    """A thought, with the signature that its upstream gave it, or one of our own."""
    told = {"type": "thinking", "thinking": block.text, "signature": block.signature or signature(block.text)}
    return (Piece("assistant", Kind.THOUGHT, msgspec.json.encode(told), said=block.signature),)


def call(block: Any) -> Iterable[Piece]:
    """A call."""
    use = {"name": tool_name(block.name, "messages"), "input": msgspec.Raw(tool_input(block.input))}
    body = b'",' + msgspec.json.encode(use)[1:]
    return (Piece("assistant", Kind.CALL, body, id=call_id(block.id, "messages"), said=block.id),)


def _result(block: Any) -> Iterator[Piece]:
    return result(block, (piece for inner in block.content for piece in _block("user", inner)))


def result(block: ToolResult, content: Iterable[Piece]) -> Iterator[Piece]:
    """A result, its content given in pieces."""
    parts: list[bytes] = []
    mark, said = b"", None
    for piece in content:
        mark = piece.mark or mark
        if piece.kind is Kind.LOST:
            yield piece
        elif piece.kind is not Kind.TEXT:
            parts.append(piece.body)
        elif piece.body:
            said = piece
            parts.append(b'{"type":"text","text":"' + piece.body + b'"}')
    body = b"[" + b",".join(parts) + b"]"
    if said is not None and len(parts) == 1:
        body = b'"' + said.body + b'"'
    elif not parts:
        body = b'""'
    yield Piece("user", Kind.RESULT, body, id=call_id(block.id, "messages"), said=block.id, mark=mark)


def _opaque(role: str, block: Opaque) -> Iterable[Piece]:
    """A refusal is a text and a legacy call a call; what else we do not know is not for others."""
    value = None if block.kind not in ("/refusal", "refusal", "/function_call") else decoded(block.raw)
    refusal = value.get("refusal") if block.kind == "refusal" and isinstance(value, dict) else value
    if block.kind.endswith("refusal") and isinstance(refusal, str):
        return (_text(role, refusal),)
    if block.kind == "/function_call" and isinstance(value, dict):
        name = str(value.get("name") or "")
        return call(ToolUse(id=_LEGACY + name, name=name, input=str(value.get("arguments") or "").encode()))
    kind = block.kind.lstrip("/") or "part"
    return (gone(role, kind),) if role == "assistant" else left_out(role, kind)


_MAKERS: dict[tuple[bool, type[Block]], Callable[[Any], Iterable[Piece]]] = {
    (False, Image): _image,
    (False, Document): _document,
    (False, ToolResult): _result,
    (True, Thinking): thought,
    (True, ToolUse): call,
}
"""By whether the assistant says it."""
