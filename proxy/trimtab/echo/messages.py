"""The echo's replies in the dialect of Anthropic Messages, with every key that its specification requires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .faults import Fault
from .nouns import Reply, cut
from .prompt import Request

_KINDS = {401: "authentication_error", 404: "not_found_error"}
_OUTPUT_LIMIT = 32_000


def thinks(request: Request) -> bool:
    """Say whether the request asks for thinking."""
    return (request.thinking or {}).get("type") in ("enabled", "adaptive")


def answer(reply: Reply) -> dict[str, Any]:
    """Render a reply that is not streamed."""
    return _message(reply, _blocks(reply), _end(reply), _usage(reply))


def events(reply: Reply, chunk: int, *, usage: bool) -> Iterator[bytes]:
    """Render a streamed reply, one event at a time; the usage is always in it."""
    # As the vendor does, the start counts one token of output; the counters of message_delta replace these.
    start = _message(reply, [], _stop(None), {**_usage(reply), "output_tokens": 1, "output_tokens_details": None})
    yield _event("message_start", message=start)
    yield _event("ping")
    for index, block in enumerate(_blocks(reply)):
        empty, deltas = _opened(block, chunk)
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    yield _event("message_delta", delta={**_end(reply), "container": None}, usage=_final_usage(reply))
    yield _event("message_stop")


def error(fault: Fault, request_id: str) -> dict[str, Any]:
    """Render an error."""
    kind = _KINDS.get(fault.status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": fault.message}, "request_id": request_id}


def overflow(tokens: int, window: int) -> str:
    """Say that a prompt is too long, in the words on which a client acts."""
    return f"prompt is too long: {tokens} tokens > {window} maximum"


def models(names: Sequence[str], window: int) -> dict[str, Any]:
    """Render the list of models."""
    return {
        "data": [_model(name, window) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _model(name: str, window: int) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": window,
        "max_tokens": _OUTPUT_LIMIT,
        "capabilities": None,
        "context_window": window,
    }


def _message(
    reply: Reply, content: list[dict[str, Any]], stop: dict[str, Any], usage: dict[str, Any]
) -> dict[str, Any]:
    head = {"id": f"msg_{reply.key[:24]}", "type": "message", "role": "assistant", "model": reply.model}
    return {**head, "content": content, **stop, "usage": usage, "container": None}


def _blocks(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.thinking is not None:
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": f"echo-{reply.key}"})
    if reply.text is not None:
        blocks.append({"type": "text", "text": reply.text, "citations": None})
    if reply.call is not None:
        use = {"type": "tool_use", "id": f"toolu_{reply.key[:24]}", "name": reply.call.name}
        blocks.append({**use, "input": msgspec.Raw(reply.call.arguments.encode()), "caller": {"type": "direct"}})
    return blocks


def _opened(block: dict[str, Any], chunk: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Split a whole block into the empty one that opens it and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"], chunk)]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signature]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in cut(block["text"], chunk)]
    arguments = bytes(block["input"]).decode()
    pieces = ["", *cut(arguments, chunk // 4)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _end(reply: Reply) -> dict[str, Any]:
    return _stop("tool_use" if reply.call else "end_turn")


def _stop(reason: str | None) -> dict[str, Any]:
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": None}


def _final_usage(reply: Reply) -> dict[str, Any]:
    usage = _usage(reply)
    for key in ("cache_creation", "service_tier", "inference_geo"):
        del usage[key]
    return usage


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


def _event(kind: str, **members: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode({"type": kind, **members}))
