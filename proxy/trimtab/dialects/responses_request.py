"""Items of OpenAI's Responses as blocks, and blocks as items: each item of the input is one message.

A reasoning item is the assistant's thought, an item of a call the assistant's call, its output a tool's result. Items
of a kind that says nothing to a model, or that we do not know, have no role and one Opaque block.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from trimtab.conversation import Block, Document, Image, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.parts import (
    Change,
    content_change,
    data_url,
    encode,
    read_content,
    read_part,
    replaced,
    unrenderable,
    write,
)
from trimtab.dialects.responses_blob import ours, unseal
from trimtab.dialects.responses_calls import CALLS, OUTPUTS, outcome
from trimtab.errors import BadRequest
from trimtab.splice import decode, scan, splice

SUMMARY = "Summary of the conversation up to here, made when it was compacted:\n\n"
"""What stands before a summary of our own when it comes back."""

_ROLES = {
    "reasoning": "assistant",
    "web_search_call": "assistant",
    "compaction": "user",
    "compaction_summary": "user",
    **dict.fromkeys(CALLS, "assistant"),
    **dict.fromkeys(OUTPUTS, "tool"),
}


class _Kind(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None


def kind_of(raw: bytes, place: str = "an item") -> tuple[str, str]:
    """The type and role of an item; a bare string is the user's message. BadRequest where it is no item."""
    if raw[:1] == b'"':
        return "message", "user"
    if raw[:1] != b"{":
        raise BadRequest(f"{place} is no object: send an item with a 'type'", param=place)
    found = decode(raw, _Kind, place)
    if found.type in (None, "message"):
        if found.role:
            return "message", found.role
        if found.type is None and found.id:
            return "item_reference", ""
        raise BadRequest(f"{place} has no 'role': a message needs one", param=place)
    if found.type == "tool_search_call" and found.call_id is None:
        # The vendor's own search, which had no answer from the client.
        return found.type, ""
    if found.type == "tool_search_output" and found.call_id is None:
        return found.type, ""
    return str(found.type), _ROLES.get(str(found.type), "")


def read_item(raw: bytes) -> tuple[Block, ...]:
    """The blocks of one item."""
    kind, role = kind_of(raw)
    if kind == "message":
        if raw[:1] == b'"':
            return (Text(text=decode(raw, str, "input"), raw=raw),)
        return read_content(bytes(decode(raw, _Content, "a message").content), "content", read)
    item = decode(raw, dict[str, Any], "an item") if role else {}
    if kind in CALLS and role:
        name, given = CALLS[kind](item)
        return (ToolUse(id=_call_id(item), name=name, input=given, raw=raw),)
    if kind in OUTPUTS and role:
        return (ToolResult(id=_call_id(item), content=_output(raw, kind, item), is_error=_failed(item)),)
    reader = _READERS.get(kind)
    return (Opaque(raw=raw, kind=kind),) if reader is None else reader(raw, item)


class _Content(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct):
    output: msgspec.Raw = msgspec.Raw()


def _call_id(item: dict[str, Any]) -> str:
    # The output of a local shell names its call by `id` in the published form, by `call_id` in Codex's.
    return str(item.get("call_id") or item.get("id") or "")


def _failed(item: dict[str, Any]) -> bool:
    return item.get("type") == "apply_patch_call_output" and item.get("status") == "failed"


def _output(raw: bytes, kind: str, item: dict[str, Any]) -> tuple[Block, ...]:
    value = bytes(decode(raw, _Output, "an item").output)
    if kind == "tool_search_output":
        return (Text(text=outcome(kind, item)),)
    if kind == "shell_call_output" or value in (b"", b"null"):
        text = outcome(kind, item)
        return (Text(text=text),) if text else ()
    if value[:1] == b'"':
        text = decode(value, str, "output")
        return _unwrapped(text) or ((Text(text=text, raw=value),) if text else ())
    return read_content(value, "output", read)


def _unwrapped(text: str) -> tuple[Block, ...]:
    """The parts in a text that is a list of them: some clients put pictures there as JSON in a string."""
    if not text.startswith("[") or '"input_image"' not in text:
        return ()
    try:
        found = msgspec.json.decode(text, type=list[_Part])
        if not found or any(part.type not in _PARTS for part in found):
            return ()
        return read_content(text.encode(), "output", read)
    except (msgspec.DecodeError, RecursionError, BadRequest):
        # The client sent a text, and a text it is.
        return ()


def _reasoning(raw: bytes, item: dict[str, Any]) -> tuple[Block, ...]:
    sealed = unseal("reasoning", item.get("encrypted_content"))
    if sealed is not None:
        return (Thinking(text=sealed.text, signature=sealed.signature, raw=raw),)
    for member in ("content", "summary"):
        parts = item.get(member)
        texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        whole = "\n\n".join(text for text in texts if isinstance(text, str) and text)
        if whole:
            return (Thinking(text=whole, raw=raw),)
    return (Thinking(redacted=True, raw=raw),)


def _compaction(raw: bytes, item: dict[str, Any]) -> tuple[Block, ...]:
    blob = item.get("encrypted_content")
    sealed = unseal("compaction", blob)
    if sealed is None and ours(blob):
        # All that it stands for would be lost in silence.
        told = "a compaction item of this proxy is damaged (its checksum does not fit) or of another version"
        raise BadRequest(f"{told}: send it as it came, or begin a new session", param="input")
    return (Opaque(raw=raw, kind="compaction") if sealed is None else Text(text=SUMMARY + sealed.text),)


def _search(raw: bytes, item: dict[str, Any]) -> tuple[Block, ...]:
    action = item.get("action")
    query = action.get("query") if isinstance(action, dict) else None
    return (Text(text=f"[searched the web: {query}]"),) if query else (Opaque(raw=raw, kind="web_search_call"),)


_READERS: dict[str, Callable[[bytes, dict[str, Any]], tuple[Block, ...]]] = {
    "reasoning": _reasoning,
    "compaction": _compaction,
    "compaction_summary": _compaction,
    "web_search_call": _search,
}


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | dict[str, Any] | None = None
    file_data: str | None = None
    filename: str | None = None


def _text(raw: bytes, place: str) -> Block:
    part = decode(raw, _Part, place)
    return Text(text=part.text or part.refusal or "", raw=raw)


def _image(raw: bytes, place: str) -> Block:
    found = decode(raw, _Part, place).image_url
    url = found.get("url") if isinstance(found, dict) else found
    return msgspec.structs.replace(data_url(url if isinstance(url, str) else ""), raw=raw)


def _file(raw: bytes, place: str) -> Block:
    return Document(media_type=data_url(decode(raw, _Part, place).file_data or "").media_type, raw=raw)


_PARTS: dict[str | None, Callable[[bytes, str], Block]] = {
    **dict.fromkeys(("input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"), _text),
    "input_image": _image,
    "input_file": _file,
}


def read(raw: bytes, place: str) -> Block:
    """The block of one part of a content."""
    return read_part(raw, place, {str(kind): reader for kind, reader in _PARTS.items()})


class Parts:
    """The `PartCodec` for a content; `said` is the type of a new text."""

    def __init__(self, said: str) -> None:
        self._said = said

    def read(self, raw: bytes, place: str) -> Block:
        """The block of a part."""
        return read(raw, place)

    def changed(self, old: Block, new: Block) -> bytes:
        """The part of `old` with what differs in `new` written into it."""
        if isinstance(new, Image):
            return replaced(old.raw, {"image_url": encode(_url(new))})
        if not isinstance(new, Text):
            return new.raw
        if old.raw[:1] == b'"':
            return encode(new.text)
        member = "refusal" if decode(old.raw, _Part, "a part").type == "refusal" else "text"
        return replaced(old.raw, {member: encode(new.text)})

    def fresh(self, block: Block) -> bytes:
        """The JSON of a block that has none."""
        match block:
            case Text(text=text) if self._said == "output_text":
                return encode({"type": "output_text", "text": text, "annotations": []})
            case Text(text=text):
                return encode({"type": "input_text", "text": text})
            case Image():
                return encode({"type": "input_image", "image_url": _url(block), "detail": "auto"})
        raise unrenderable(block, "responses")


def _url(image: Image) -> str:
    return image.url or f"data:{image.media_type};base64,{image.data}"


INPUT, SPOKEN = Parts("input_text"), Parts("output_text")


def write_item(raw: bytes, blocks: Sequence[Block]) -> bytes:
    """The item with other blocks; each member changes only where its own blocks did."""
    old = read_item(raw)
    if tuple(blocks) == old:
        return raw
    kind, role = kind_of(raw)
    if kind == "message":
        if raw[:1] == b'"':
            return _spoken(raw, blocks)
        scanned = scan(raw, ("content?",))
        change = content_change(scanned, blocks, SPOKEN if role == "assistant" else INPUT)
        return splice(scanned, change.members, change.items)
    if kind in OUTPUTS and len(blocks) == 1 and isinstance(blocks[0], ToolResult):
        return _write_output(raw, kind, blocks[0])
    raise ValueError(f"an item of type '{kind}' cannot be changed")


def _spoken(raw: bytes, blocks: Sequence[Block]) -> bytes:
    """The user's bare string: still one where it can be, else a message."""
    if len(blocks) == 1 and isinstance(blocks[0], Text):
        return encode(blocks[0].text)
    parts = b",".join(_part(block) for block in blocks)
    return b'{"type":"message","role":"user","content":[' + parts + b"]}"


def _write_output(raw: bytes, kind: str, new: ToolResult) -> bytes:
    scanned = scan(raw, ("output?",))
    if kind == "shell_call_output":
        text = "\n".join(block.text for block in new.content if isinstance(block, Text))
        told = [{"stdout": text, "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
        return splice(scanned, {"output": encode(told)}, {})
    if "output" in scanned.items:
        return splice(scanned, {}, {"output": [write(block, INPUT) for block in new.content]})
    change = Change({"output": _value(new.content)}, {})
    return splice(scanned, change.members, {})


def _value(blocks: Sequence[Block]) -> bytes:
    """An output of our own making: a string for one text, else a list of parts."""
    match blocks:
        case []:
            return b'""'
        case [Text(text=text, raw=raw)]:
            return write(blocks[0], INPUT) if raw[:1] == b'"' else encode(text)
    return b"[" + b",".join(_part(block) for block in blocks) + b"]"


def _part(block: Block) -> bytes:
    """A block as a part of a list, where a bare string is none."""
    return write(msgspec.structs.replace(block, raw=b"") if block.raw[:1] == b'"' else block, INPUT)
