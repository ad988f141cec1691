"""Frames of an Anthropic stream into events."""

import json
from typing import Any

import pytest

from trimtab.dialects.base import Decoder
from trimtab.dialects.messages import MESSAGES
from trimtab.errors import Cause
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
    Usage,
)


def frame(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def every() -> Decoder:
    return MESSAGES.decoder(lambda _: True)


def start(usage: Any = None, **members: Any) -> bytes:
    return frame("message_start", message={"id": "msg_1", "model": "m", "usage": usage, **members})


def end(reason: str | None, usage: Any = None) -> bytes:
    return frame("message_delta", delta={"stop_reason": reason}, usage=usage)


def events(*frames: bytes) -> list[Event]:
    decoder = every()
    return [event for one in frames for event in decoder.decode(one)]


def opened(index: int, **block: Any) -> bytes:
    return frame("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **members: Any) -> bytes:
    return frame("content_block_delta", index=index, delta={"type": kind, **members})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, None),
        ({}, None),
        ({"input_tokens": 0, "output_tokens": 0}, None),
        ({"input_tokens": 3, "cache_read_input_tokens": None}, Usage(input=3)),
        ({"input_tokens": 1, "cache_read_input_tokens": 17}, Usage(input=1, cache_read=17)),
        ({"input_tokens": 1.0, "output_tokens": 2}, Usage(input=1, output=2)),
    ],
)
def test_the_start_says_what_is_known_of_the_prompt(given: Any, told: Usage | None) -> None:
    assert events(start(given)) == [Started("msg_1", "m", told)]


def test_a_start_that_says_little() -> None:
    assert events(start(id=None, model=None)) == [Started("", "", None)]
    assert events(frame("message_start")) == [Started("", "", None)]


@pytest.mark.parametrize(
    ("first", "last", "total"),
    [
        ({"input_tokens": 9, "output_tokens": 1}, {"output_tokens": 5}, Usage(input=9, output=5)),
        ({"input_tokens": 9}, {"input_tokens": 11, "output_tokens": 5}, Usage(input=11, output=5)),
        ({"input_tokens": 0}, {"input_tokens": 11, "output_tokens": 5}, Usage(input=11, output=5)),
        ({"input_tokens": 9}, {"input_tokens": 0, "output_tokens": 5}, Usage(input=9, output=5)),
        ({"input_tokens": 9}, {"input_tokens": None, "output_tokens": 5}, Usage(input=9, output=5)),
        ({"input_tokens": 9}, None, Usage(input=9)),
        (None, {"output_tokens": 5}, Usage(output=5)),
        (None, None, None),
        ({}, {"output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}, Usage(output=5, reasoning=2)),
        (
            {"input_tokens": 1, "cache_read_input_tokens": 17},
            {"input_tokens": 2, "cache_creation_input_tokens": 4},
            Usage(input=2, cache_read=17, cache_write=4),
        ),
    ],
)
def test_later_counters_replace_earlier_ones_field_by_field(first: Any, last: Any, total: Usage | None) -> None:
    finished = events(start(first), end("end_turn", last))[-1]
    assert finished == Finished(StopReason.END, total, None, "end_turn")


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", StopReason.END),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("max_tokens", StopReason.LENGTH),
        ("pause_turn", StopReason.PAUSE),
        ("refusal", StopReason.REFUSAL),
        ("sensitive", StopReason.REFUSAL),
        ("model_context_window_exceeded", StopReason.CONTEXT),
        ("tool_use", StopReason.END),
        ("brand_new", StopReason.END),
    ],
)
def test_the_reasons_without_a_tool_call(native: str, reason: StopReason) -> None:
    assert events(end(native)) == [Finished(reason, None, None, native)]


def test_the_stop_sequence_is_told() -> None:
    wire = frame("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "END"})
    assert events(wire) == [Finished(StopReason.STOP_SEQUENCE, None, "END", "stop_sequence")]


def test_a_tool_call_outweighs_the_word_for_the_end() -> None:
    use = opened(0, type="tool_use", id="t", name="n")
    assert events(use, end("end_turn"))[-1] == Finished(StopReason.TOOL_USE, None, None, "end_turn")
    assert events(use, end("max_tokens"))[-1] == Finished(StopReason.LENGTH, None, None, "max_tokens")


def test_an_error_in_the_guise_of_an_end() -> None:
    assert events(end("network_error"), frame("message_stop")) == [
        Failed("the upstream broke off: network_error", Cause.UPSTREAM, "network_error")
    ]


def test_only_the_upstreams_own_end_is_an_end() -> None:
    decoder = every()
    decoder.decode(start())
    assert [*decoder.decode(end("end_turn"))] != []
    before = decoder.complete
    assert decoder.decode(frame("message_stop")) == ()
    assert (before, decoder.complete) == (False, True)
    assert decoder.decode(delta(0, "text_delta", text="late")) == ()
    assert decoder.finish() == ()


def test_an_end_without_reason_still_finishes_once() -> None:
    decoder = every()
    assert [type(event) for event in decoder.decode(end(None, {"output_tokens": 3}))] == [Opaque]
    assert decoder.decode(frame("message_stop")) == (Finished(StopReason.END, Usage(output=3), None, ""),)
    assert decoder.complete


def test_an_end_and_nothing_before_it_is_no_reply() -> None:
    decoder = every()
    assert decoder.decode(frame("message_stop")) == (Failed("the upstream ended its stream without a reply"),)
    assert (decoder.complete, decoder.closed) == (False, True)
    for before in (start(), opened(0, type="text", text=""), end("end_turn")):
        assert isinstance(events(before, frame("message_stop"))[-1], Finished)


def test_blocks_are_numbered_in_the_order_of_their_start() -> None:
    found = events(
        opened(3, type="text", text=""),
        opened(7, type="tool_use", id="t", name="n", input={}),
        delta(7, "input_json_delta", partial_json="{}"),
        delta(3, "text_delta", text="a"),
        frame("content_block_stop", index=3),
        opened(3, type="thinking", thinking="x", signature=None),
    )
    assert found == [
        TextDelta("", 0),
        ToolStart("t", "n", 1),
        ToolDelta("{}", 1),
        TextDelta("a", 0),
        BlockStop(0),
        ThinkingDelta("x", "", 2),
    ]


def test_an_input_given_at_the_start_is_not_lost_nor_doubled() -> None:
    use = opened(0, type="tool_use", id="t", name="n", input={"a": 1})
    stop = frame("content_block_stop", index=0)
    assert events(use, stop)[1:] == [ToolDelta('{"a": 1}', 0), BlockStop(0)]
    assert events(use, delta(0, "input_json_delta", partial_json='{"b":2}'), stop)[1:] == [
        ToolDelta('{"b":2}', 0),
        BlockStop(0),
    ]


def test_unknown_blocks_and_deltas_are_opaque() -> None:
    frames = [
        opened(0, type="server_tool_use", text=3),
        delta(0, "input_json_delta", partial_json="{}"),
        frame("content_block_stop", index=0),
        opened(1, type="text", text=""),
        delta(1, "citations_delta", citation={}),
        frame("ping"),
        frame("new_event", delta=3),
        b": comment\n\n",
    ]
    found = events(*frames)
    assert found[3] == TextDelta("", 1)
    assert [(event.raw, event.dialect) for event in found if isinstance(event, Opaque)] == [
        (wire, "messages") for wire in frames if wire is not frames[3]
    ]


@pytest.mark.parametrize(
    ("wire", "failed"),
    [
        (
            frame("error", error={"type": "overloaded_error", "message": "Overloaded"}),
            Failed("Overloaded", Cause.OVERLOADED, "overloaded_error"),
        ),
        (b'data: {"error":{"code":"1302","message":"slow"}}\n\n', Failed("slow", Cause.RATE_LIMIT, "1302")),
        (
            b'event: error\ndata: {"error":{"code":500,"type":"server_error","message":"x"}}\n\n',
            Failed("x", Cause.UPSTREAM, "500"),
        ),
        (frame("error", error="boom"), Failed("boom", Cause.UPSTREAM, "")),
        (
            frame("error", error={"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"}),
            Failed("prompt is too long: 9 tokens > 8", Cause.OVERFLOW, "invalid_request_error"),
        ),
        (
            frame("error", error={"message": "bad key sk-abc-12345678"}),
            Failed("bad key ***", Cause.UPSTREAM, ""),
        ),
        (b"event: message_start\ndata: {broken\n\n", Failed("the upstream sent an event that is not valid JSON")),
    ],
)
def test_failures(wire: bytes, failed: Failed) -> None:
    decoder = every()
    assert decoder.decode(wire) == (failed,)
    assert decoder.decode(end("end_turn")) == ()
    assert not decoder.complete


def test_what_nobody_wants_is_not_decoded() -> None:
    decoder = MESSAGES.decoder(lambda _: False)
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta",broken}\n\n'
    assert decoder.decode(broken) == ()
    assert decoder.decode(broken.replace(b"event: content_block_delta\n", b"")) == ()
    assert decoder.decode(frame("ping")) == ()
    assert [type(event) for event in decoder.decode(broken[:-3] + b"\n\n")] == [Failed]


def test_those_who_want_tool_calls_only_do_not_pay_for_text() -> None:
    decoder = MESSAGES.decoder(lambda kind: kind is ToolStart)
    assert decoder.decode(b"event: content_block_delta\ndata: {broken}\n\n") == ()
    assert decoder.decode(opened(0, type="tool_use", id="t", name="n")) == (ToolStart("t", "n", 0),)
