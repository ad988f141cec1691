"""A scripted model that answers in the dialect and the mode it is asked in, over real sockets."""

import json
from collections.abc import Sequence
from typing import Any

from wire.scripted import SSE, Link, Script, Sent

MODELS = {"messages": "glm-4.6", "chat": "glm-4.6-openai"}
"""The name that leads to an upstream of each dialect."""

Part = tuple[str, ...]
"""("think", text), ("text", text), or ("call", id, name, arguments)."""


def saying(*parts: Part, reason: str = "", usage: bool = True) -> Script:
    """Answers every request with these parts."""

    async def script(sent: Sent, link: Link) -> None:
        asked = json.loads(sent.body)
        chat = sent.path.endswith("/completions")
        why = reason or ("tool" if any(part[0] == "call" for part in parts) else "stop")
        if asked.get("stream"):
            frames = chat_frames(parts, why, usage=usage) if chat else messages_frames(parts, why)
            await streamed(link, frames)
        else:
            await link.json(json.dumps(chat_body(parts, why) if chat else messages_body(parts, why)).encode())

    return script


async def streamed(link: Link, frames: Sequence[bytes], *, whole: bool = True) -> None:
    """Send frames; without the end of the body, and the connection broken off, where it is not whole."""
    await link.raw(SSE)
    for frame in frames:
        await link.chunk(frame)
    if whole:
        await link.chunk(b"")
    else:
        link.abort()


_CHAT_WORDS = {"stop": "stop", "tool": "tool_calls", "length": "length"}
_WORDS = {"stop": "end_turn", "tool": "tool_use", "length": "max_tokens"}
_CHAT_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 7,
    "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 5},
}
_USAGE = {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 7}


def _halves(text: str) -> list[str]:
    return [piece for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if piece]


def chat_frames(parts: Sequence[Part], why: str, *, usage: bool = True, done: bool = True) -> list[bytes]:
    """A stream of chat; without a finish where `why` is empty."""
    deltas: list[dict[str, Any]] = []
    calls = 0
    for part in parts:
        match part:
            case ("call", id_, name, given):
                head = {"index": calls, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
                deltas.append({"tool_calls": [head]})
                deltas += [
                    {"tool_calls": [{"index": calls, "function": {"arguments": text}}]} for text in _halves(given)
                ]
                calls += 1
            case (kind, text):
                member = "reasoning_content" if kind == "think" else "content"
                deltas += [{member: piece} for piece in _halves(text)]
    chunks: list[Any] = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if why:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": _CHAT_WORDS[why]}]})
        chunks += [{"choices": [], "usage": _CHAT_USAGE}] if usage else []
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    frames = [b"data: %s\n\n" % json.dumps({**head, **chunk}).encode() for chunk in chunks]
    return [*frames, b"data: [DONE]\n\n"] if done else frames


def messages_frames(parts: Sequence[Part], why: str) -> list[bytes]:
    """A stream of messages; without its last events where `why` is empty."""
    start: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**start, "usage": {**_USAGE, "output_tokens": 1}}}
    ]
    for index, part in enumerate(parts):
        block, deltas = _block(part)
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    if why:
        events.append({"type": "message_delta", "delta": {"stop_reason": _WORDS[why]}, "usage": {"output_tokens": 7}})
        events.append({"type": "message_stop"})
    return [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events]


def _block(part: Part) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match part:
        case ("call", id_, name, given):
            pieces = [{"type": "input_json_delta", "partial_json": text} for text in _halves(given)]
            return {"type": "tool_use", "id": id_, "name": name, "input": {}}, pieces
        case ("think", text):
            told = [{"type": "thinking_delta", "thinking": piece} for piece in _halves(text)]
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                *told,
                {"type": "signature_delta", "signature": "c2ln"},
            ]
    return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in _halves(part[1])]


def chat_body(parts: Sequence[Part], why: str) -> dict[str, Any]:
    """A whole reply of chat."""
    text, thought = ("".join(part[1] for part in parts if part[0] == kind) for kind in ("text", "think"))
    calls = [
        {"id": part[1], "type": "function", "function": {"name": part[2], "arguments": part[3]}}
        for part in parts
        if part[0] == "call"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    message |= ({"tool_calls": calls} if calls else {}) | ({"reasoning_content": thought} if thought else {})
    choice = {"index": 0, "message": message, "finish_reason": _CHAT_WORDS[why]}
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": _CHAT_USAGE}


def messages_body(parts: Sequence[Part], why: str) -> dict[str, Any]:
    """A whole reply of messages."""
    content: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case ("call", id_, name, given):
                content.append({"type": "tool_use", "id": id_, "name": name, "input": json.loads(given or "{}")})
            case ("think", text):
                content.append({"type": "thinking", "thinking": text, "signature": "c2ln"})
            case (_, text):
                content.append({"type": "text", "text": text})
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return {**head, "stop_reason": _WORDS[why], "stop_sequence": None, "usage": _USAGE}
