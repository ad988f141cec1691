"""Items of Responses as pieces of Chat Completions and of Anthropic's dialect: the same reading for both.

A message, a thought, a call and its output are pieces as they are; an item that nobody says has none, and is reported
where something is lost by that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from trimtab.conversation import (
    Block,
    DialectName,
    Document,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from trimtab.dialects.responses_blob import unseal
from trimtab.dialects.responses_request import kind_of
from trimtab.translate import chat_pieces, messages_pieces
from trimtab.translate.media import chat_image, messages_document, messages_image
from trimtab.translate.piece import Kind, Maker, Piece, decoded, gone, left_out, lost, members, misplaced, text, unknown

_SAYS_NOTHING = frozenset({"type", "id", "status", "created_by", "caller", "async"})
_ITEMS: Mapping[str, frozenset[str]] = {
    "message": _SAYS_NOTHING | {"role", "content"},
    "reasoning": _SAYS_NOTHING | {"summary", "content", "encrypted_content"},
    "function_call": _SAYS_NOTHING | {"call_id", "name", "namespace", "arguments"},
    "function_call_output": _SAYS_NOTHING | {"call_id", "name", "namespace", "output"},
    "custom_tool_call": _SAYS_NOTHING | {"call_id", "name", "namespace", "input"},
    "custom_tool_call_output": _SAYS_NOTHING | {"call_id", "name", "namespace", "output"},
}
"""Members of an item whose meaning others can tell; of the other kinds all that matters is read."""
_PARTS: Mapping[type[Block], frozenset[str]] = {
    Text: frozenset({"type", "text", "refusal", "annotations", "logprobs"}),
    Image: frozenset({"type", "image_url"}),
    Document: frozenset({"type", "file_data", "filename"}),
}
_QUIET = frozenset({"additional_tools", "tool_search_call", "tool_search_output", "compaction_trigger"})
"""Kinds that nobody says and by which nothing is lost: what they declare or ask for is done elsewhere."""


def make(dialect: DialectName, message: Message) -> Iterator[Piece]:
    """The pieces of one item in a dialect."""
    kind, _ = kind_of(message.raw)
    role = "assistant" if message.role == "assistant" else "user"
    role = "system" if message.role in ("system", "developer") else role
    for name in unknown(members(message.raw), _ITEMS[kind]) if kind in _ITEMS else ():
        yield lost(role, name)
    if not message.role:
        if kind not in _QUIET:
            yield gone(role, kind)
        return
    found = False
    for block in message.blocks:
        for piece in _block(dialect, role, block):
            found = True
            yield piece
    if role == "system" and not found:
        # An empty one still belongs to those that open the conversation.
        yield text(role, "")


TO_CHAT: Maker = partial(make, "chat")
TO_MESSAGES: Maker = partial(make, "messages")


def _block(dialect: DialectName, role: str, block: Block) -> Iterator[Piece]:
    maker = _MAKERS.get((role == "assistant", type(block)))
    if isinstance(block, Text):
        yield from _unsaid(role, block)
        # One of white space alone would be refused.
        yield text(role, "" if dialect == "messages" and block.text.isspace() else block.text)
    elif isinstance(block, Opaque):
        yield from _opaque(role, block)
    elif maker is not None:
        yield from maker(dialect, block)
    else:
        yield misplaced(role, block)


def _unsaid(role: str, block: Block) -> Iterator[Piece]:
    for name in unknown(members(block.raw), _PARTS[type(block)]):
        yield lost(role, name)


def _image(dialect: DialectName, block: Any) -> Iterable[Piece]:
    detail = members(block.raw).get("detail")
    told = decoded(detail) if detail is not None else None
    body = chat_image(block) if dialect == "chat" else messages_image(block)
    if body is None:
        return left_out("user", "image")
    if told in (None, "auto"):
        return (Piece("user", Kind.IMAGE, body),)
    if dialect == "chat":
        part = decoded(body)
        part["image_url"]["detail"] = told
        return (Piece("user", Kind.IMAGE, msgspec.json.encode(part)),)
    return (Piece("user", Kind.IMAGE, body), lost("user", "detail"))


def _document(dialect: DialectName, block: Any) -> Iterable[Piece]:
    given = decoded(block.raw)
    data = given.get("file_data")
    url = given.get("file_url")
    if dialect == "messages" and not data and isinstance(url, str) and url.startswith(("http://", "https://")):
        source = {"type": "url", "url": url}
        return (Piece("user", Kind.FILE, msgspec.json.encode({"type": "document", "source": source})),)
    if not isinstance(data, str) or not data:
        # An id that only its vendor can follow, or an address where chat has no place for one.
        return left_out("user", "file")
    data = data if data.startswith("data:") else f"data:application/pdf;base64,{data}"
    part = {"type": "file", "file": {"filename": given.get("filename") or "document.pdf", "file_data": data}}
    body = msgspec.json.encode(part)
    return (Piece("user", Kind.FILE, body),) if dialect == "chat" else messages_document(body)


def _thought(dialect: DialectName, block: Any) -> Iterable[Piece]:
    item = decoded(block.raw)
    blob = item.get("encrypted_content")
    foreign = (lost("assistant", "encrypted_content"),) if blob and unseal("reasoning", blob) is None else ()
    if block.redacted or not block.text:
        return foreign
    maker = chat_pieces.thought if dialect == "chat" else messages_pieces.thought
    return (*foreign, *maker(block))


def _call(dialect: DialectName, block: Any) -> Iterable[Piece]:
    return chat_pieces.call(block) if dialect == "chat" else messages_pieces.call(block)


def _result(dialect: DialectName, block: Any) -> Iterable[Piece]:
    content = [piece for inner in block.content for piece in _block(dialect, "user", inner)]
    if dialect == "chat":
        return chat_pieces.result(block, content)
    if block.is_error:
        content[:0] = [text("user", "Error:")]
    return messages_pieces.result(block, content)


def _opaque(role: str, block: Opaque) -> Iterable[Piece]:
    """What we do not know: a text stands in its place where the user says it, elsewhere it goes; it is always told."""
    kind = block.kind or "part"
    return left_out("user", kind) if role == "user" else (gone(role, kind),)


_MAKERS: Mapping[tuple[bool, type[Block]], Callable[[DialectName, Any], Iterable[Piece]]] = {
    (False, Image): _image,
    (False, Document): _document,
    (False, ToolResult): _result,
    (True, Thinking): _thought,
    (True, ToolUse): _call,
}
"""By whether the assistant says it."""
