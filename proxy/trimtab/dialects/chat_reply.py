"""Whole replies of Chat Completions: into events, out of events, and with changed events written into them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from trimtab.dialects import edits, loose, stops
from trimtab.dialects.chat_encode import ID
from trimtab.dialects.chat_wire import Choice, Chunk, Delta, Function, numbers, usage_json, usage_of
from trimtab.dialects.edits import Misfit, Path, changed_text
from trimtab.dialects.gather import Gathered, gather
from trimtab.dialects.ids import Token, fitting
from trimtab.dialects.problems import no_reply
from trimtab.errors import UpstreamError
from trimtab.events import (
    BlockStop,
    Event,
    Failed,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
)


def unfold(body: bytes, token: Token) -> list[Event]:
    """The events of a whole reply; a call without an id gets one. Raises UpstreamError when it is none."""
    try:
        reply = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise no_reply(body) from None
    choices = reply.choices or ()
    # Some servers number a lone choice otherwise than 0; the first one stands for it then.
    choice = next((choice for choice in choices if not choice.index), choices[0] if choices else None)
    if choice is None:
        raise no_reply(body)
    native = choice.finish_reason or ""
    if failed := stops.broken(native):
        raise UpstreamError(failed.message, cause=failed.cause)
    events: list[Event] = [Started(reply.id or "", reply.model or ""), *_blocks(choice, token)]
    called = any(isinstance(event, ToolStart) for event in events)
    refused = bool((choice.message or choice.delta or Delta()).refusal)
    reason = stops.reason(native, called=called, refused=refused) if native else StopReason.END
    usage = stops.said(usage_of(reply.usage)) or stops.said(usage_of(choice.usage))
    return [*events, Finished(reason, usage, None, native)]


def _read(body: bytes) -> Chunk:
    try:
        return msgspec.json.decode(body, type=Chunk)
    except msgspec.ValidationError:
        return loose.chunk(body)


def _blocks(choice: Choice, token: Token) -> list[Event]:
    message = choice.message or choice.delta or Delta()
    events: list[Event] = []
    index = 0
    if thought := message.thought:
        events += [ThinkingDelta(thought, "", index), BlockStop(index)]
        index += 1
    for text in filter(None, (message.content, message.refusal)):
        events += [TextDelta(text, index), BlockStop(index)]
        index += 1
    for call in message.calls:
        function = call.function or Function()
        start = ToolStart(call.id or f"call_{token()}", function.name or "", index)
        events += [start, ToolDelta(function.arguments or "{}", index), BlockStop(index)]
        index += 1
    return events


def fold(events: Iterable[Event], model: str, token: Token, now: Callable[[], float], *, legacy: bool = False) -> bytes:
    """The whole reply for a sequence of events; with `legacy` the first call of it is a `function_call`.

    Raises UpstreamError when the reply failed or never ended.
    """
    reply = gather(events)
    finish = stops.chat(reply.finished.reason, legacy=legacy)
    choice = {"index": 0, "message": _message(reply, legacy=legacy), "logprobs": None, "finish_reason": finish}
    usage = usage_json(reply.finished.usage or reply.started.usage)
    whole = {
        "id": fitting(reply.started.id, ID, token),
        "object": "chat.completion",
        "created": int(now()),
        "model": model,
        "choices": [choice],
    }
    return msgspec.json.encode(whole | ({} if usage is None else {"usage": usage}))


def _message(reply: Gathered, *, legacy: bool) -> dict[str, Any]:
    calls = [
        {"id": piece.id, "type": "function", "function": {"name": piece.name, "arguments": piece.text or "{}"}}
        for piece in reply.pieces
        if piece.kind is ToolStart
    ]
    text = reply.text(TextDelta)
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if thought := reply.text(ThinkingDelta):
        message["reasoning_content"] = thought
    if calls:
        message |= {"function_call": calls[0]["function"]} if legacy else {"tool_calls": calls}
    return message | {"annotations": []}


def patch(raw: bytes, before: Sequence[Event], after: Sequence[Event]) -> bytes | None:
    """A frame or body with changed events written into it; None when that cannot be."""
    calls = list(dict.fromkeys(event.index for event in before if isinstance(event, ToolStart | ToolDelta)))

    def places(old: Event, new: Event, value: Any) -> dict[Path, bytes]:
        return _places(old, new, value, calls)

    return edits.patch(raw, before, after, places)


def _places(old: Event, new: Event, value: Any, calls: Sequence[int]) -> dict[Path, bytes]:
    match old, new:
        case Started(), Started():
            # Nothing here tells of usage before the end.
            return changed_text(value, ("id",), old.id, new.id) | changed_text(value, ("model",), old.model, new.model)
        case Finished(), Finished():
            return _finished(old, new, value)
        case Failed(), Failed():
            return changed_text(value, ("error", "message"), old.message, new.message)
        case TextDelta(), TextDelta():
            return changed_text(value, (*_holder(value), "content"), old.text, new.text)
        case ThinkingDelta(), ThinkingDelta():
            root = _holder(value)
            name = "reasoning_content" if edits.at(value, (*root, "reasoning_content")) else "reasoning"
            return changed_text(value, (*root, name), old.text, new.text)
        case (ToolStart(), ToolStart()) | (ToolDelta(), ToolDelta()):
            return _called(old, new, value, calls)
        case BlockStop(), BlockStop():
            return {}
    raise Misfit


def _choice(value: Any) -> Path:
    """The path of the alternative that we read."""
    choices = value.get("choices") or ()
    for position, choice in enumerate(choices):
        if not choice.get("index"):
            return ("choices", position)
    # As `unfold` reads whole replies; a frame of another alternative has no events, and none to change.
    if choices:
        return ("choices", 0)
    raise Misfit


def _holder(value: Any) -> Path:
    root = _choice(value)
    return (*root, "delta" if isinstance(edits.at(value, (*root, "delta")), dict) else "message")


def _called(old: Event, new: Event, value: Any, calls: Sequence[int]) -> dict[Path, bytes]:
    """A change of a call; which one is known by their order, if the frame's calls are those of the events."""
    root: Path = (*_holder(value), "tool_calls")
    if len(edits.at(value, root) or ()) != len(calls):
        raise Misfit
    if isinstance(old, ToolStart) and isinstance(new, ToolStart):
        root = (*root, calls.index(old.index))
        named = changed_text(value, (*root, "function", "name"), old.name, new.name)
        return named | changed_text(value, (*root, "id"), old.id, new.id)
    if isinstance(old, ToolDelta) and isinstance(new, ToolDelta):
        path = (*root, calls.index(old.index), "function", "arguments")
        return changed_text(value, path, old.json, new.json)
    raise Misfit


def _finished(old: Finished, new: Finished, value: Any) -> dict[Path, bytes]:
    changes: dict[Path, bytes] = {}
    if stops.CHAT[old.reason] != stops.CHAT[new.reason]:
        path = (*_choice(value), "finish_reason")
        if not isinstance(edits.at(value, path), str):
            raise Misfit
        changes[path] = msgspec.json.encode(stops.CHAT[new.reason])
    if old.usage == new.usage:
        return changes
    if new.usage is None or (old.usage is not None and not isinstance(value.get("usage"), dict)):
        raise Misfit
    if not isinstance(value.get("usage"), dict | None):
        # A text in the same chunk must not be lost with it.
        return changes | {("usage",): msgspec.json.encode(usage_json(new.usage))}
    return changes | edits.under(("usage",), edits.changed_numbers(numbers(old.usage), numbers(new.usage)))
