"""Replies in the forms that upstreams really use, each as a stream and as one body."""

import json
from typing import Any, NamedTuple


def dumped(value: Any) -> bytes:
    """JSON as many clients write it: with spaces, and characters as they are."""
    return json.dumps(value, ensure_ascii=False).encode()


class Sample(NamedTuple):
    """One reply, streamed and whole."""

    dialect: str
    stream: bytes
    body: bytes


def _events(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), dumped(event)) for event in events)


def _chunks(*chunks: dict[str, Any] | str) -> bytes:
    return b"".join(b"data: %s\n\n" % (c.encode() if isinstance(c, str) else dumped(c)) for c in chunks)


def _start(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _delta(index: int, kind: str, **members: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def _stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def _message(usage: dict[str, Any], **members: Any) -> dict[str, Any]:
    head = {"id": "msg_01", "type": "message", "role": "assistant", "model": "m", "content": []}
    return {**head, "stop_reason": None, "stop_sequence": None, "usage": usage, **members}


def _end(reason: str, usage: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}


_USE = {"type": "tool_use", "id": "toolu_1", "name": "read"}

ANTHROPIC = Sample(
    "messages",
    _events(
        {"type": "message_start", "message": _message({"input_tokens": 20, "cache_read_input_tokens": 5})},
        {"type": "ping"},
        _start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        _delta(0, "thinking_delta", thinking="Let me "),
        _delta(0, "thinking_delta", thinking="see é."),
        _delta(0, "signature_delta", signature="c2ln"),
        _stop(0),
        _start(1, {"type": "text", "text": ""}),
        _delta(1, "text_delta", text='I\'ll "look"'),
        _delta(1, "text_delta", text=" at it 🚢.\n"),
        _stop(1),
        _start(2, {**_USE, "input": {}}),
        _delta(2, "input_json_delta", partial_json=""),
        _delta(2, "input_json_delta", partial_json='{"path": "a'),
        _delta(2, "input_json_delta", partial_json='.txt"}'),
        _stop(2),
        *_end("tool_use", {"output_tokens": 33}),
    ),
    dumped(
        _message(
            {"input_tokens": 20, "cache_read_input_tokens": 5, "output_tokens": 33},
            stop_reason="tool_use",
            content=[
                {"type": "thinking", "thinking": "Let me see é.", "signature": "c2ln"},
                {"type": "text", "text": 'I\'ll "look" at it 🚢.\n'},
                {**_USE, "input": {"path": "a.txt"}},
            ],
        )
    ),
)

# All stops at the end, the empty signature behind the deltas of later blocks, usage in two parts.
LLAMA = Sample(
    "messages",
    _events(
        {
            "type": "message_start",
            "message": _message(
                {"cache_read_input_tokens": 17, "input_tokens": 1, "output_tokens": 0}, id="chatcmpl-x"
            ),
        },
        _start(0, {"type": "thinking", "thinking": ""}),
        _delta(0, "thinking_delta", thinking="hmm"),
        _start(1, {"type": "text", "text": ""}),
        _delta(1, "text_delta", text="so"),
        _start(2, {"type": "tool_use", "id": "x9", "name": "read"}),
        _delta(2, "input_json_delta", partial_json='{"path": "a"}'),
        _delta(0, "signature_delta", signature=""),
        _stop(0),
        _stop(1),
        _stop(2),
        *_end("tool_use", {"output_tokens": 9}),
    ),
    dumped(
        _message(
            {"cache_read_input_tokens": 17, "input_tokens": 1, "output_tokens": 9},
            id="chatcmpl-x",
            stop_reason="tool_use",
            content=[
                {"type": "thinking", "thinking": "hmm", "signature": ""},
                {"type": "text", "text": "so"},
                {"type": "tool_use", "id": "x9", "name": "read", "input": {"path": "a"}},
            ],
        )
    ),
)

# Zeros at the start, true numbers at the end only, no event lines for once.
ZAI_MESSAGES = Sample(
    "messages",
    _chunks(
        {
            "type": "message_start",
            "message": _message({"input_tokens": 0, "output_tokens": 0}, id="20251013104553", model="glm-4.6"),
        },
        {"type": "ping"},
        _start(0, {"type": "text", "text": ""}),
        _delta(0, "text_delta", text="ok"),
        _stop(0),
        *_end("end_turn", {"input_tokens": 9, "output_tokens": 14, "cache_read_input_tokens": 100}),
    ),
    dumped(
        _message(
            {"input_tokens": 9, "output_tokens": 14, "cache_read_input_tokens": 100},
            id="20251013104553",
            model="glm-4.6",
            stop_reason="end_turn",
            content=[{"type": "text", "text": "ok"}],
        )
    ),
)


def _chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **members}


def _call(index: int, arguments: str, **members: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **members, "function": {"arguments": arguments}}]}


def _opened(index: int, id_: str, name: str, arguments: str = "") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": function}]}


def _completion(message: dict[str, Any], finish: str, usage: dict[str, Any], **members: Any) -> bytes:
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return dumped({**whole, "choices": [choice], "usage": usage, **members})


_USAGE = {
    "prompt_tokens": 25,
    "completion_tokens": 33,
    "total_tokens": 58,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 4},
}


def _used(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


OPENAI = Sample(
    "chat",
    _chunks(
        _chunk({"role": "assistant", "content": ""}, usage=None),
        _chunk({"reasoning_content": "hm"}, usage=None),
        _chunk({"content": 'I\'ll "look"'}, usage=None),
        _chunk({"content": " 🚢"}, usage=None),
        _chunk(_opened(0, "c1", "read"), usage=None),
        _chunk(_call(0, '{"path": '), usage=None),
        _chunk(_call(0, '"a"}'), usage=None),
        _chunk(_opened(1, "c2", "list", '{"all": true}'), usage=None),
        _chunk({}, "tool_calls", usage=None),
        {**_chunk({}), "choices": [], "usage": _USAGE},
        "[DONE]",
    ),
    _completion(
        {
            "content": 'I\'ll "look" 🚢',
            "reasoning_content": "hm",
            "tool_calls": [_used("c1", "read", '{"path": "a"}'), _used("c2", "list", '{"all": true}')],
        },
        "tool_calls",
        _USAGE,
    ),
)

# No `object`, usage in the chunk that finishes, tool arguments split inside words, "stop" though a tool was called.
ZAI_CHAT = Sample(
    "chat",
    _chunks(
        {"id": "2025", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]},
        {"id": "2025", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"reasoning_content": "a"}}]},
        {"id": "2025", "created": 1, "model": "m", "choices": [{"index": 0, "delta": _opened(0, "c1", "read")}]},
        {"id": "2025", "created": 1, "model": "m", "choices": [{"index": 0, "delta": _call(0, '{"pa', id="c1")}]},
        {"id": "2025", "created": 1, "model": "m", "choices": [{"index": 0, "delta": _call(0, 'th":1}', id=None)}]},
        {
            "id": "2025",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": ""}}],
            "usage": _USAGE,
        },
        "[DONE]",
    ),
    _completion(
        {"content": None, "reasoning_content": "a", "tool_calls": [_used("c1", "read", '{"path":1}')]},
        "stop",
        _USAGE,
        id="2025",
    ),
)

# Two calls at once, their pieces mixed, and an end without [DONE].
MIXED = Sample(
    "chat",
    _chunks(
        _chunk({"role": "assistant", "content": None}),
        _chunk(_opened(0, "c1", "read", '{"a"')),
        _chunk(_opened(1, "c2", "list", '{"b"')),
        _chunk(_call(0, ":1}")),
        _chunk(_call(1, ":2}")),
        _chunk({}, "tool_calls", usage=_USAGE),
    ),
    _completion(
        {"content": None, "tool_calls": [_used("c1", "read", '{"a":1}'), _used("c2", "list", '{"b":2}')]},
        "tool_calls",
        _USAGE,
    ),
)

REPLIES = {
    "anthropic": ANTHROPIC,
    "llama": LLAMA,
    "zai-messages": ZAI_MESSAGES,
    "openai": OPENAI,
    "zai-chat": ZAI_CHAT,
    "mixed": MIXED,
}
