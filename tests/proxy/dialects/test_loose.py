import json
from typing import Any

import msgspec
import pytest

from trimtab.dialects import DIALECTS, loose
from trimtab.dialects.chat_wire import usage_of
from trimtab.errors import UpstreamError
from trimtab.events import Event, Finished, TextDelta, ThinkingDelta, ToolDelta, ToolStart, Usage

COUNTERS = [
    ({"prompt_tokens": "10", "completion_tokens": True}, Usage(input=10)),
    ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": []}, Usage(input=10, output=2)),
    ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": "x"}}, Usage(input=10)),
    ([], None),
]


def chat(message: dict[str, Any], usage: Any = None) -> bytes:
    choice = {"index": "0", "message": message, "finish_reason": "stop", "odd": {}}
    return json.dumps({"id": 7, "model": ["m"], "choices": [choice], "usage": usage}).encode()


def said(message: dict[str, Any]) -> list[Event]:
    return [event for event in DIALECTS["chat"].unfold(chat(message)) if not isinstance(event, Finished)][1:]


@pytest.mark.parametrize(("counters", "usage"), COUNTERS)
def test_counters_that_are_no_numbers_cost_neither_reply_nor_the_others(counters: Any, usage: Usage | None) -> None:
    *_, text, _, end = DIALECTS["chat"].unfold(chat({"content": "a"}, counters))
    assert isinstance(text, TextDelta)
    assert isinstance(end, Finished)
    assert end.usage == usage == usage_of(loose.chunk(chat({}, counters)).usage)


def test_a_text_may_be_a_list_of_parts_with_thoughts() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, 3]}
    found = said({"content": [thought, {"type": "text", "text": "a"}, "b", {"text": 5}], "reasoning": {"x": 1}})
    assert [event for event in found if isinstance(event, TextDelta | ThinkingDelta)] == [
        ThinkingDelta("hm", "", 0),
        TextDelta("ab", 1),
    ]


def test_arguments_may_be_an_object() -> None:
    call = {"index": "0", "id": 5, "function": {"name": "f", "arguments": {"k": [1, 2.5]}}}
    start, delta, _ = said({"content": None, "tool_calls": [call, "x"]})
    assert (start, delta) == (ToolStart("5", "f", 0), ToolDelta('{"k":[1,2.5]}', 0))
    assert loose.chunk(chat({"tool_calls": [{"function": 3}]})).choices[0].message.tool_calls[0].function.name is None  # type: ignore[index,union-attr]
    assert said({"content": "a", "tool_calls": {}})[0] == TextDelta("a", 0)


def test_frames_and_bodies_of_messages_keep_what_is_beside_a_bad_usage() -> None:
    delta = {
        "type": "message_delta",
        "index": "2",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": "5"},
    }
    frame = loose.frame(json.dumps(delta).encode())
    assert (frame.index, frame.usage and frame.usage.output_tokens) == (2, 5)
    start = {"type": "message_start", "message": {"id": "i", "model": 4, "usage": "none"}}
    message = loose.frame(json.dumps(start).encode()).message
    assert message is not None
    assert (message.id, message.model, message.usage) == ("i", "4", None)
    assert loose.body(b'{"content":[],"usage":[]}').content == []


@pytest.mark.parametrize(
    "raw", [b"[]", b'{"choices":3}', b'{"choices":[{"message":3}]}', b'{"error":"x","choices":[5]}']
)
def test_what_cannot_be_read_is_still_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        loose.chunk(raw)
    with pytest.raises(UpstreamError):
        DIALECTS["chat"].unfold(raw)
