"""The echo's replies in the dialect of OpenAI Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .faults import Fault
from .nouns import Call, Reply, cut
from .prompt import Request

# A constant, so that the same request gets the same reply.
CREATED = 1_767_225_600
DONE = b"data: [DONE]\n\n"


def thinks(request: Request) -> bool:
    """Say whether the request asks for thinking."""
    kind = (request.thinking or {}).get("type")
    if kind is not None:
        return bool(kind == "enabled")
    return request.reasoning_effort not in (None, "none", "minimal")


def answer(reply: Reply) -> dict[str, Any]:
    """Render a reply that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.thinking is not None:
        message["reasoning_content"] = reply.thinking
    if reply.call is not None:
        message["tool_calls"] = [_call(reply, reply.call, reply.call.arguments)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_head(reply, "chat.completion"), "choices": [choice], "usage": _usage(reply)}


def events(reply: Reply, chunk: int, *, usage: bool) -> Iterator[bytes]:
    """Render a streamed reply, one event at a time."""
    head = _head(reply, "chat.completion.chunk")
    absent: dict[str, Any] = {"usage": None} if usage else {}
    for delta in _deltas(reply, chunk):
        yield _event({**head, "choices": [_choice(delta, None)], **absent})
    yield _event({**head, "choices": [_choice({}, _finish(reply))], **absent})
    if usage:
        yield _event({**head, "choices": [], "usage": _usage(reply)})
    yield DONE


def error(fault: Fault, request_id: str) -> dict[str, Any]:
    """Render an error."""
    return {
        "error": {
            "message": fault.message,
            "type": "invalid_request_error",
            "param": None,
            "code": fault.code or None,
        }
    }


def overflow(tokens: int, window: int) -> str:
    """Say that a prompt is too long, in the words on which a client acts."""
    return (
        f"This model's maximum context length is {window} tokens. "
        f"However, your messages resulted in {tokens} tokens. Please reduce the length of the messages."
    )


def models(names: Sequence[str], window: int) -> dict[str, Any]:
    """Render the list of models."""
    listed = [
        {"id": name, "object": "model", "created": CREATED, "owned_by": "trimtab", "context_window": window}
        for name in names
    ]
    return {"object": "list", "data": listed}


def _head(reply: Reply, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{reply.key[:24]}", "object": kind, "created": CREATED, "model": reply.model}


def _choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _deltas(reply: Reply, chunk: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if reply.text is None else ""}
    for piece in cut(reply.thinking or "", chunk):
        yield {"reasoning_content": piece}
    for piece in cut(reply.text or "", chunk):
        yield {"content": piece}
    if reply.call is not None:
        yield {"tool_calls": [{"index": 0, **_call(reply, reply.call, "")}]}
        for piece in cut(reply.call.arguments, chunk // 4):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _call(reply: Reply, call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": f"call_{reply.key[:24]}", "type": "function", "function": function}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.call else "stop"


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
