"""Whole replies; more of them stand in test_chat.py."""

from typing import Any

import msgspec
import pytest

from trimtab.dialects.chat_reply import fold, patch
from trimtab.dialects.chat_reply import unfold as unfold_
from trimtab.errors import UpstreamError
from trimtab.events import (
    BlockStop,
    Event,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    Usage,
    replace,
)


def body(message: Any, finish: str | None = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return msgspec.json.encode({"id": "c", "model": "m", "choices": [choice], **members})


def unfold(raw: bytes) -> list[Event]:
    return unfold_(raw, lambda: "new")


def folded(events: list[Event]) -> Any:
    return msgspec.json.decode(fold(events, "m", lambda: "0" * 24, lambda: 7.5))


def test_thought_text_refusal_and_calls_are_blocks_in_this_order() -> None:
    call = {"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}
    told = {"tool_calls": [call], "refusal": "no", "content": "hi", "reasoning": "hm"}
    _, *events, finished = unfold(body(told, "tool_calls"))
    assert events == [
        ThinkingDelta("hm", "", 0), BlockStop(0), TextDelta("hi", 1), BlockStop(1), TextDelta("no", 2), BlockStop(2),
        ToolStart("c1", "f", 3), ToolDelta('{"a":1}', 3), BlockStop(3),
    ]  # fmt: skip
    assert isinstance(finished, Finished)
    assert finished.reason == StopReason.TOOL_USE


def test_a_call_outweighs_the_word_and_the_word_alone_is_no_call() -> None:
    call = {"function": {"name": "f"}}
    for message, word, reason in (
        ({"tool_calls": [call]}, "stop", StopReason.TOOL_USE),
        ({"content": "x"}, "tool_calls", StopReason.END),
        ({"content": "x"}, None, StopReason.END),
    ):
        *_, finished = unfold(body(message, word))
        assert isinstance(finished, Finished)
        assert finished.reason == reason
    assert ToolStart("call_new", "f", 0) in unfold(body({"tool_calls": [call]}))
    assert ToolDelta("{}", 0) in unfold(body({"tool_calls": [call]}))


def test_only_the_first_alternative_is_read() -> None:
    second = {"index": 1, "message": {"content": "b"}, "finish_reason": "stop"}
    first = {"index": 0, "message": {"content": "a"}, "finish_reason": "length"}
    events = unfold(msgspec.json.encode({"choices": [second, first]}))
    assert TextDelta("a", 0) in events


def test_without_an_alternative_of_number_0_the_first_one_is_read_and_written() -> None:
    odd = {"index": 76, "message": {"content": "b"}, "finish_reason": "stop"}
    raw = msgspec.json.encode({"choices": [odd, odd | {"index": 77, "message": {"content": "c"}}]})
    events = unfold(raw)
    assert TextDelta("b", 0) in events
    changed = [replace(event, text="d") if isinstance(event, TextDelta) else event for event in events]
    assert patch(raw, events, changed) == raw.replace(b'"b"', b'"d"')
    with pytest.raises(UpstreamError):
        unfold(msgspec.json.encode({"choices": []}))


def test_a_word_that_is_an_error_is_one() -> None:
    with pytest.raises(UpstreamError, match="network_error"):
        unfold(body({"content": "half"}, "network_error"))


def test_zeros_are_no_usage() -> None:
    *_, finished = unfold(body({"content": "a"}, usage={"prompt_tokens": 0, "completion_tokens": 0}))
    assert isinstance(finished, Finished)
    assert finished.usage is None


def test_content_is_null_only_beside_calls() -> None:
    end = Finished(StopReason.END, Usage(input=1, output=2))
    assert folded([end])["choices"][0]["message"]["content"] == ""
    called = folded([Started("x"), ToolStart("c", "f", 0), end])
    message = called["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert (called["created"], called["usage"]["total_tokens"]) == (7, 3)
    assert "usage" not in folded([Finished(StopReason.END)])


def test_folding_what_was_unfolded_says_the_same() -> None:
    raw = body({"content": "hi", "reasoning_content": "hm"}, usage={"prompt_tokens": 3, "completion_tokens": 1})
    again = msgspec.json.encode(folded(unfold(raw)))
    assert unfold(again)[1:] == unfold(raw)[1:]


def test_a_patch_writes_into_the_text_and_leaves_the_rest() -> None:
    raw = b'{ "x":1.0, "choices":[{"index":0, "message":{"content":"hi"},"finish_reason":"stop"}] }'
    before = unfold(raw)
    after = [replace(event, text="ho") if isinstance(event, TextDelta) else event for event in before]
    assert patch(raw, before, after) == raw.replace(b'"hi"', b'"ho"')
    assert patch(raw, before, before) == raw
    assert patch(raw, before, before[:-1]) is None


def test_who_offered_functions_gets_one_function_call() -> None:
    calls = [ToolStart("a", "read", 0), ToolDelta("{}", 0), BlockStop(0), ToolStart("b", "list", 1), BlockStop(1)]
    events = [Started(), *calls, Finished(StopReason.TOOL_USE)]
    found = msgspec.json.decode(fold(events, "m", lambda: "t", lambda: 1.0, legacy=True))["choices"][0]
    assert found["finish_reason"] == "function_call"
    assert found["message"]["function_call"] == {"name": "read", "arguments": "{}"}
    assert "tool_calls" not in found["message"]
