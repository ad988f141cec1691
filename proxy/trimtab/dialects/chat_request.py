"""Messages of OpenAI's Chat Completions as blocks, and blocks as messages.

The members of an assistant message become blocks in a fixed order: thought, content, refusal, tool calls, legacy call.
An Opaque whose kind begins with "/" stands in the member of that name, not in the content.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from trimtab.conversation import Block, Document, Image, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.parts import (
    Change,
    Typed,
    content,
    content_change,
    data_url,
    encode,
    read_content,
    read_part,
    replaced,
    unrenderable,
    write,
)
from trimtab.splice import Scanned, decode, scan, splice

_REASONING = ("reasoning_content", "reasoning")
_APART = ("refusal", "function_call")


class _Message(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    tool_calls: list[msgspec.Raw] | None = None
    function_call: msgspec.Raw = msgspec.Raw()
    tool_call_id: str | None = None


class _Text(msgspec.Struct):
    text: str | None = None


class _Url(msgspec.Struct):
    url: str | None = None


class _Image(msgspec.Struct):
    image_url: _Url | str | None = None


class _Data(msgspec.Struct):
    file_data: str | None = None


class _File(msgspec.Struct):
    file: _Data | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


def _text(raw: bytes, place: str) -> Block:
    return Text(text=decode(raw, _Text, place).text or "", raw=raw)


def _image(raw: bytes, place: str) -> Block:
    found = decode(raw, _Image, place).image_url
    url = found if isinstance(found, str) else (found.url if found else None)
    return msgspec.structs.replace(data_url(url or ""), raw=raw)


def _file(raw: bytes, place: str) -> Block:
    part = decode(raw, _File, place).file
    return Document(media_type=data_url((part.file_data if part else None) or "").media_type, raw=raw)


_READERS: dict[str, Callable[[bytes, str], Block]] = {"text": _text, "image_url": _image, "file": _file}


def _call(raw: bytes, place: str) -> Block:
    if decode(raw, Typed, place).type not in (None, "function"):
        return Opaque(raw=raw, kind="/tool_calls")
    call = decode(raw, _Call, place)
    function = call.function or _Function()
    return ToolUse(id=call.id or "", name=function.name or "", input=(function.arguments or "").encode(), raw=raw)


def read(raw: bytes, place: str) -> Block:
    """The block of one part of the content."""
    return read_part(raw, place, _READERS)


def read_message(raw: bytes) -> tuple[Block, ...]:
    """The blocks of one message."""
    message = decode(raw, _Message, "a message")
    blocks = read_content(bytes(message.content), "content", read)
    if message.role == "tool":
        return (ToolResult(id=message.tool_call_id or "", content=blocks),)
    calls = [_call(bytes(call), f"tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())]
    return (*_thought(message), *blocks, *_apart(message, "refusal"), *calls, *_apart(message, "function_call"))


def _thought(message: _Message) -> tuple[Block, ...]:
    for name in _REASONING:
        value = bytes(getattr(message, name))
        if value[:1] == b'"' and (text := decode(value, str, name)):
            return (Thinking(text=text),)
    return ()


def _apart(message: _Message, name: str) -> tuple[Block, ...]:
    value = bytes(getattr(message, name))
    return () if value in (b"", b"null", b'""') else (Opaque(raw=value, kind=f"/{name}"),)


class _Sorted(NamedTuple):
    """The blocks of a message by the member that holds them."""

    thought: list[Thinking]
    content: list[Block]
    calls: list[Block]
    apart: frozenset[str]


def _sort(blocks: Sequence[Block]) -> _Sorted:
    thought: list[Thinking] = []
    inside: list[Block] = []
    calls: list[Block] = []
    apart = set()
    for block in blocks:
        if isinstance(block, Thinking):
            thought.append(block)
        elif isinstance(block, ToolUse) or (isinstance(block, Opaque) and block.kind == "/tool_calls"):
            calls.append(block)
        elif isinstance(block, Opaque) and block.kind.startswith("/"):
            apart.add(block.kind[1:])
        else:
            inside.append(block)
    return _Sorted(thought, inside, calls, frozenset(apart))


def write_message(raw: bytes, blocks: Sequence[Block]) -> bytes:
    """The message with other blocks; each member changes only where its own blocks did."""
    old = read_message(raw)
    if tuple(blocks) == old:
        return raw
    if old and isinstance(old[0], ToolResult):
        return _write_result(raw, old[0], blocks)
    scanned = scan(raw, ("content?", "tool_calls"))
    was, now = _sort(old), _sort(blocks)
    members: dict[str, bytes | None] = {name: None for name in _APART if name in was.apart - now.apart}
    changes = [Change(members, {})]
    if now.thought != was.thought:
        changes.append(Change(_reasoning(scanned, now.thought), {}))
    if now.content != was.content:
        changes.append(_inside(scanned, now))
    if now.calls != was.calls:
        changes.append(_calls(scanned, now.calls))
    merged = Change({}, {})
    for change in changes:
        merged.members.update(change.members)
        merged.items.update(change.items)
    return splice(scanned, merged.members, merged.items)


def _reasoning(scanned: Scanned, thoughts: Sequence[Thinking]) -> dict[str, bytes | None]:
    """The text goes where the client keeps it; a second spelling of the old text must not survive."""
    text = "\n\n".join(thought.text for thought in thoughts if thought.text)
    present = [name for name in _REASONING if (scanned.value(name) or b"")[:1] == b'"']
    members: dict[str, bytes | None] = dict.fromkeys(present)
    if text:
        members[present[0] if present else _REASONING[0]] = encode(text)
    return members


def _inside(scanned: Scanned, now: _Sorted) -> Change:
    if not now.content and now.calls and "content" not in scanned.items:
        return Change({"content": b"null"}, {})
    return content_change(scanned, now.content, PARTS)


def _calls(scanned: Scanned, calls: Sequence[Block]) -> Change:
    raws = [write(call, CALLS) for call in calls]
    if not raws:
        return Change({"tool_calls": None}, {})
    if "tool_calls" in scanned.items:
        return Change({}, {"tool_calls": raws})
    return Change({"tool_calls": b"[" + b",".join(raws) + b"]"}, {})


def _write_result(raw: bytes, old: ToolResult, blocks: Sequence[Block]) -> bytes:
    if len(blocks) != 1 or not isinstance(blocks[0], ToolResult):
        raise ValueError("a message of role 'tool' holds exactly one tool result")
    new = blocks[0]
    scanned = scan(raw, ("content?",))
    change = content_change(scanned, new.content, PARTS) if new.content != old.content else Change({}, {})
    named: dict[str, bytes | None] = {"tool_call_id": encode(new.id)} if new.id != old.id else {}
    return splice(scanned, {**named, **change.members}, change.items)


class Parts:
    """The `PartCodec` for the content."""

    def read(self, raw: bytes, place: str) -> Block:
        """The block of a part."""
        return read(raw, place)

    def changed(self, old: Block, new: Block) -> bytes:
        """The part of `old` with what differs in `new` written into it."""
        if old.raw[:1] == b'"':
            return content([msgspec.structs.replace(new, raw=b"")], self)
        if isinstance(new, Image):
            return _changed_image(old.raw, new)
        return replaced(old.raw, {"text": encode(new.text)}) if isinstance(new, Text) else new.raw

    def fresh(self, block: Block) -> bytes:
        """The JSON of a block that has none."""
        match block:
            case Text(text=text):
                return encode({"type": "text", "text": text})
            case Image():
                return encode({"type": "image_url", "image_url": {"url": _url(block)}})
        raise unrenderable(block, "chat")


class Calls:
    """The `PartCodec` for the tool calls."""

    def read(self, raw: bytes, place: str) -> Block:
        """The call."""
        return _call(raw, place)

    def changed(self, old: Block, new: Block) -> bytes:
        """The call of `old` with what differs in `new` written into it."""
        if not isinstance(new, ToolUse) or not isinstance(old, ToolUse):
            return new.raw
        scanned = scan(old.raw, ())
        inner: dict[str, bytes | None] = {}
        if new.name != old.name:
            inner["name"] = encode(new.name)
        if new.input != old.input:
            inner["arguments"] = _arguments(new.input)
        members = {"function": replaced(_object(scanned, "function"), inner)}
        return splice(scanned, members | ({"id": encode(new.id)} if new.id != old.id else {}), {})

    def fresh(self, block: Block) -> bytes:
        """The JSON of a call that has none."""
        if not isinstance(block, ToolUse):
            raise unrenderable(block, "chat")
        function = {"name": block.name, "arguments": msgspec.Raw(_arguments(block.input))}
        return encode({"id": block.id, "type": "function", "function": function})


PARTS = Parts()
CALLS = Calls()


def _object(scanned: Scanned, name: str) -> bytes:
    value = scanned.value(name)
    return b"{}" if value is None or value == b"null" else value


def _arguments(text: bytes) -> bytes:
    return encode(text.decode("utf-8", "replace") or "{}")


def _url(image: Image) -> str:
    return image.url or f"data:{image.media_type};base64,{image.data}"


def _changed_image(raw: bytes, image: Image) -> bytes:
    """Only the address changes: the detail beside it stays."""
    scanned = scan(raw, ())
    holder = _object(scanned, "image_url")
    url = encode(_url(image))
    return splice(scanned, {"image_url": replaced(holder, {"url": url}) if holder[:1] == b"{" else url}, {})
