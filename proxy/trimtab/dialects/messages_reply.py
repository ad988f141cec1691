"""Whole replies of Anthropic's dialect: into events, out of events, and with changed events written into them."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimtab.dialects import edits, loose, stops
from trimtab.dialects.edits import Misfit, Path, changed_text
from trimtab.dialects.gather import Piece, gather
from trimtab.dialects.ids import Token, fitting
from trimtab.dialects.messages_encode import ID, head, message, signature
from trimtab.dialects.messages_wire import Body, Part, numbers, usage_of
from trimtab.dialects.parts import tool_input
from trimtab.dialects.problems import no_reply
from trimtab.errors import UpstreamError
from trimtab.events import (
    BlockStop,
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
)


def unfold(body: bytes) -> list[Event]:
    """The events of a whole reply. Raises UpstreamError when it is none."""
    try:
        reply = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise no_reply(body) from None
    if reply.content is None:
        raise no_reply(body)
    native = reply.stop_reason or ""
    if failed := stops.broken(native):
        raise UpstreamError(failed.message, cause=failed.cause)
    events: list[Event] = [Started(reply.id or "", reply.model or "")]
    for index, raw in enumerate(reply.content):
        events += _block(bytes(raw), index)
    called = any(isinstance(event, ToolStart) for event in events)
    reason = stops.reason(native, called=called) if native else StopReason.END
    return [*events, Finished(reason, stops.said(usage_of(reply.usage)), reply.stop_sequence, native)]


def _read(body: bytes) -> Body:
    try:
        return msgspec.json.decode(body, type=Body)
    except msgspec.ValidationError:
        return loose.body(body)


def _block(raw: bytes, index: int) -> list[Event]:
    try:
        part = msgspec.json.decode(raw, type=Part)
    except msgspec.ValidationError:
        part = Part()
    match part.type:
        case "text":
            return [TextDelta(part.text or "", index), BlockStop(index)]
        case "thinking":
            return [ThinkingDelta(part.thinking or "", part.signature or "", index), BlockStop(index)]
        case "tool_use":
            start = ToolStart(part.id or "", part.name or "", index)
            return [start, ToolDelta(bytes(part.input).decode(), index), BlockStop(index)]
    return [Opaque(raw, part.type, "messages")]


def fold(events: Iterable[Event], model: str, token: Token) -> bytes:
    """The whole reply for a sequence of events. Raises UpstreamError when that failed or never ended."""
    reply = gather(events)
    blocks = [block for piece in reply.pieces if (block := _folded(piece)) is not None]
    named = head(fitting(reply.started.id, ID, token), model)
    usage = reply.finished.usage or reply.started.usage
    return msgspec.json.encode(message(named, blocks, reply.finished, usage))


def _folded(piece: Piece) -> Any:
    """A block; none for an empty one, which the API would refuse when it comes back."""
    if piece.kind is TextDelta:
        return {"type": "text", "text": piece.text, "citations": None} if piece.text else None
    if piece.kind is ThinkingDelta:
        if not piece.text and not piece.signature:
            return None
        signed = piece.signature or signature(piece.text)
        return {"type": "thinking", "thinking": piece.text, "signature": signed}
    if piece.kind is ToolStart:
        given = msgspec.Raw(tool_input(piece.text.encode()))
        use = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": given}
        return {**use, "caller": {"type": "direct"}}
    return _unknown(piece.frames)


def _unknown(frames: Sequence[Opaque]) -> Any:
    """A block nobody knows, from its own frames."""
    if frames[0].dialect != "messages":
        return None
    if frames[0].raw[:1] == b"{":
        return msgspec.Raw(frames[0].raw)
    try:
        block = edits.at(edits.decoded(frames[0].raw), ("content_block",))
        deltas = [edits.at(edits.decoded(frame.raw), ("delta", "partial_json")) for frame in frames[1:]]
    except Misfit:
        return None
    given = "".join(delta for delta in deltas if isinstance(delta, str))
    return {**block, "input": msgspec.Raw(tool_input(given.encode()))} if given else block


def patch(raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
    """A frame or body with changed events written into it; None when that cannot be."""
    return edits.patch(raw, before, after, _places)


def _places(old: Event, new: Event, value: Any) -> dict[Path, bytes]:
    whole = isinstance(value.get("content"), list)
    match old, new:
        case Started(), Started():
            return _started(old, new, value, whole=whole)
        case Finished(), Finished():
            return _finished(old, new, value, whole=whole)
        case Failed(), Failed():
            return changed_text(value, ("error", "message"), old.message, new.message)
        case Opaque(), Opaque():
            raise Misfit
    index: int = getattr(old, "index", 0)
    moved = getattr(new, "index", 0) != index
    if whole:
        if moved:
            raise Misfit
        return _block_places(old, new, value, ("content", index))
    root: Path = ("content_block",) if value.get("type") == "content_block_start" else ("delta",)
    changes = _block_places(old, new, value, root)
    return changes | ({("index",): str(getattr(new, "index", 0)).encode()} if moved else {})


def _block_places(old: Event, new: Event, value: Any, root: Path) -> dict[Path, bytes]:
    match old, new:
        case TextDelta(), TextDelta():
            return changed_text(value, (*root, "text"), old.text, new.text)
        case ThinkingDelta(), ThinkingDelta():
            text = changed_text(value, (*root, "thinking"), old.text, new.text)
            return text | changed_text(value, (*root, "signature"), old.signature, new.signature)
        case ToolStart(), ToolStart():
            named = changed_text(value, (*root, "name"), old.name, new.name)
            return named | changed_text(value, (*root, "id"), old.id, new.id)
        case (ToolDelta(), ToolDelta()) if old.json != new.json:
            if root[0] == "content":
                return {(*root, "input"): tool_input(new.json.encode())}
            return changed_text(value, (*root, "partial_json"), old.json, new.json)
    return {}


def _started(old: Started, new: Started, value: Any, *, whole: bool) -> dict[Path, bytes]:
    root: Path = () if whole else ("message",)
    changes = changed_text(value, (*root, "id"), old.id, new.id)
    changes |= changed_text(value, (*root, "model"), old.model, new.model)
    # A whole body has one usage, and that is told by Finished.
    if not whole and old.usage != new.usage:
        changes |= edits.under((*root, "usage"), edits.changed_numbers(numbers(old.usage), numbers(new.usage)))
    return changes


def _finished(old: Finished, new: Finished, value: Any, *, whole: bool) -> dict[Path, bytes]:
    root: Path = () if whole else ("delta",)
    if not isinstance(edits.at(value, root), dict) or (new.usage is None and old.usage is not None):
        raise Misfit
    changes: dict[Path, bytes] = {}
    if old.reason != new.reason:
        changes[*root, "stop_reason"] = msgspec.json.encode(stops.MESSAGES[new.reason])
    if old.stop_sequence != new.stop_sequence:
        changes[*root, "stop_sequence"] = msgspec.json.encode(new.stop_sequence)
    told = edits.changed_numbers(numbers(old.usage), numbers(new.usage))
    return changes | edits.under(("usage",), told)
