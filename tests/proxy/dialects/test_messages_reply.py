"""Whole replies; more of them stand in test_messages.py."""

from typing import Any

import msgspec
import pytest

from trimtab.dialects.messages_encode import signature
from trimtab.dialects.messages_reply import fold, patch, unfold
from trimtab.errors import UpstreamError
from trimtab.events import (
    BlockStop,
    Event,
    Finished,
    Opaque,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    Usage,
    replace,
)

END = Finished(StopReason.END, Usage(input=3, output=1))


def body(*content: Any, stop: str | None = "end_turn", **members: Any) -> bytes:
    return msgspec.json.encode({"id": "msg_1", "model": "m", "content": content, "stop_reason": stop, **members})


def blocks(*events: Event) -> Any:
    return msgspec.json.decode(fold([*events, END], "m", lambda: "0" * 24))["content"]


def test_a_tools_input_keeps_its_bytes() -> None:
    raw = b'{"content":[{"type":"tool_use","id":"t","name":"f","input":{ "a": 1.0 }}],"stop_reason":"tool_use"}'
    assert unfold(raw)[1:-1] == [ToolStart("t", "f", 0), ToolDelta('{ "a": 1.0 }', 0), BlockStop(0)]


def test_how_a_reply_ended() -> None:
    for stop, content, reason in (
        ("end_turn", {"type": "tool_use", "id": "t", "name": "f"}, StopReason.TOOL_USE),
        ("tool_use", {"type": "text", "text": "a"}, StopReason.END),
        (None, {"type": "text", "text": "a"}, StopReason.END),
        ("max_tokens", {"type": "text", "text": "a"}, StopReason.LENGTH),
    ):
        *_, finished = unfold(body(content, stop=stop))
        assert isinstance(finished, Finished)
        assert finished.reason == reason
    with pytest.raises(UpstreamError, match="network_error"):
        unfold(body(stop="network_error"))


def test_a_block_of_the_wrong_shape_passes_as_it_is() -> None:
    odd = {"type": "text", "text": 5}
    _, block, _ = unfold(body(odd))
    assert isinstance(block, Opaque)
    assert block.raw == msgspec.json.encode(odd)
    assert blocks(block) == [odd]


def test_empty_blocks_are_left_out_since_they_could_not_come_back() -> None:
    assert blocks(TextDelta("", 0), ThinkingDelta("", "", 1)) == []
    assert blocks(TextDelta("a", 0)) == [{"type": "text", "text": "a", "citations": None}]


def test_a_thought_is_signed_by_its_model_or_by_us() -> None:
    [ours] = blocks(ThinkingDelta("hm", "", 0))
    [theirs] = blocks(ThinkingDelta("", "theirs", 0))
    assert (ours["signature"], theirs["signature"], theirs["thinking"]) == (signature("hm"), "theirs", "")


def test_arguments_that_are_no_object_are_wrapped() -> None:
    [call] = blocks(ToolStart("t", "f", 0), ToolDelta("[1]", 0))
    assert call["input"] == {"_raw": "[1]"}


def test_usage_of_the_start_stands_where_the_end_tells_none() -> None:
    told = fold([Started("x", "m", Usage(input=9)), Finished(StopReason.END)], "m", lambda: "0" * 24)
    assert msgspec.json.decode(told)["usage"]["input_tokens"] == 9


def test_a_patch_writes_into_the_block_and_leaves_the_rest() -> None:
    raw = b'{ "x":1.0,"content":[ {"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3} }'
    before = unfold(raw)
    after = [replace(event, text="ho") if isinstance(event, TextDelta) else event for event in before]
    assert patch(raw, before, after) == raw.replace(b'"hi"', b'"ho"')
    moved = [replace(event, index=1) if isinstance(event, TextDelta) else event for event in before]
    assert patch(raw, before, moved) is None
    usage = Usage(input=6)
    told = [replace(event, usage=usage) if isinstance(event, Finished) else event for event in before]
    assert b'"input_tokens":6' in (patch(raw, before, told) or b"")
