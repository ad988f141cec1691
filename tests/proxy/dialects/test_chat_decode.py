"""Chunks of an OpenAI stream into events."""

import json
from typing import Any

import pytest

from trimtab.dialects.base import Decoder
from trimtab.dialects.chat import Chat
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

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 30, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 20}}
TOLD = Usage(input=10, cache_read=20, output=4)


def every(wanted: bool = True) -> Decoder:
    return Chat(lambda: "made").decoder(lambda _: wanted)


def wire(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Any, finish: str | None = None, **members: Any) -> bytes:
    return wire(
        {"id": "i", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **members}
    )


def call(index: int | None, arguments: str | None = None, **members: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": members.pop("name")} if "name" in members else {})}
    return {"index": index, "function": function, **members}


def events(*frames: bytes, end: bool = True) -> list[Event]:
    decoder = every()
    found = [event for frame in frames for event in decoder.decode(frame)]
    assert found[:1] == [Started("i", "m", None)]
    return found[1:] + ([*decoder.finish()] if end else [])


def calls(*pieces: dict[str, Any]) -> list[Event]:
    return events(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls"), DONE)


def test_usage_comes_behind_the_finish() -> None:
    decoder = every()
    decoder.decode(chunk({"content": "a"}))
    assert decoder.decode(chunk({}, "stop", usage=None)) == []
    assert decoder.complete
    told = decoder.decode(wire({"id": "i", "choices": [], "usage": USAGE}))
    assert [*told] == [BlockStop(0), Finished(StopReason.END, TOLD, None, "stop")]
    assert decoder.decode(DONE) == ()
    assert decoder.finish() == ()


def test_usage_comes_with_the_finish() -> None:
    assert events(chunk({"content": "a"}), chunk({}, "length", usage=USAGE))[-1] == Finished(
        StopReason.LENGTH, TOLD, None, "length"
    )


def test_usage_may_stand_in_the_choice() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
    assert events(chunk({}), wire({"choices": [choice]}))[-1] == Finished(StopReason.END, TOLD, None, "stop")


def test_without_usage_the_end_is_done_or_the_end_of_the_stream() -> None:
    finished = Finished(StopReason.END, None, None, "stop")
    assert events(chunk({}), chunk({}, "stop"), DONE, end=False) == [finished]
    assert events(chunk({}), chunk({}, "stop"), end=False) == []
    assert events(chunk({}), chunk({}, "stop")) == [finished]


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    decoder = every()
    decoder.decode(chunk({"content": "a"}))
    assert decoder.finish() == ()
    assert not decoder.complete


def test_done_alone_ends_what_has_begun() -> None:
    decoder = every()
    decoder.decode(chunk({"content": "a"}))
    assert [*decoder.decode(DONE)] == [BlockStop(0), Finished(StopReason.END, None, None, "")]
    assert decoder.complete
    empty = every()
    assert [type(event) for event in empty.decode(DONE)] == [Failed]
    assert not empty.complete


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", StopReason.END),
        ("length", StopReason.LENGTH),
        ("content_filter", StopReason.REFUSAL),
        ("sensitive", StopReason.REFUSAL),
        ("model_context_window_exceeded", StopReason.CONTEXT),
        ("tool_calls", StopReason.END),
        ("brand_new", StopReason.END),
    ],
)
def test_the_reasons_without_a_tool_call(native: str, reason: StopReason) -> None:
    assert events(chunk({}), chunk({}, native))[-1] == Finished(reason, None, None, native)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_tool_call_outweighs_the_word_for_the_end(wanted: bool) -> None:
    decoder = every(wanted)
    for frame in (chunk({}), chunk({"tool_calls": [call(0, "{}", id="c", name="n")]}), chunk({}, "stop")):
        decoder.decode(frame)
    assert decoder.finish()[-1] == Finished(StopReason.TOOL_USE, None, None, "stop")


@pytest.mark.parametrize("native", ["network_error", "insufficient_system_resource"])
def test_an_error_in_the_guise_of_an_end(native: str) -> None:
    decoder = every()
    decoder.decode(chunk({"content": "a"}))
    assert decoder.decode(chunk({}, native)) == (Failed(f"the upstream broke off: {native}", Cause.UPSTREAM, native),)
    assert not decoder.complete
    assert decoder.decode(DONE) == ()


def test_a_finish_on_every_chunk_is_one_end() -> None:
    found = events(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, "stop"), DONE)
    assert found == [TextDelta("a"), TextDelta("b"), BlockStop(0), Finished(StopReason.END, None, None, "stop")]


def test_a_delta_of_everything_is_taken_apart_in_order() -> None:
    delta = {"tool_calls": [call(0, "{}", id="c", name="n")], "content": "t", "reasoning": "r", "refusal": None}
    assert events(chunk(delta), chunk({}, "tool_calls")) == [
        ThinkingDelta("r", "", 0),
        BlockStop(0),
        TextDelta("t", 1),
        BlockStop(1),
        ToolStart("c", "n", 2),
        ToolDelta("{}", 2),
        BlockStop(2),
        Finished(StopReason.TOOL_USE, None, None, "tool_calls"),
    ]


def test_a_refusal_is_visible_text() -> None:
    assert events(chunk({"refusal": "no"}), chunk({}, "content_filter"))[0] == TextDelta("no")


def test_the_name_may_repeat_or_be_null() -> None:
    found = calls(
        call(0, "", id="c", name="read"),
        call(0, '{"a"', id="c", name="read"),
        call(0, ":1", id=None, name=None),
        call(0, "}", id="", name=""),
    )
    assert found[:-1] == [ToolStart("c", "read"), ToolDelta('{"a"'), ToolDelta(":1"), ToolDelta("}"), BlockStop(0)]


def test_a_call_starts_when_id_and_name_are_known() -> None:
    found = calls(call(0, '{"a"', name="read"), call(0, ":1", id="c"), call(0, "}"))
    assert found[:-1] == [ToolStart("c", "read"), ToolDelta('{"a":1'), ToolDelta("}"), BlockStop(0)]


def test_a_call_without_id_gets_one() -> None:
    assert calls(call(0, "{}", name="read"))[:-1] == [ToolStart("call_made", "read"), ToolDelta("{}"), BlockStop(0)]


def test_calls_without_numbers_are_told_by_their_ids() -> None:
    found = calls(
        call(None, '{"a":', id="c", name="read"),
        call(None, "1}"),
        call(None, "{}", id="d", name="list"),
        call(None, "", id="c"),
    )
    assert found[:-1] == [
        ToolStart("c", "read", 0),
        ToolDelta('{"a":', 0),
        ToolDelta("1}", 0),
        BlockStop(0),
        ToolStart("d", "list", 1),
        ToolDelta("{}", 1),
        BlockStop(1),
    ]


def test_calls_of_one_number_are_told_by_their_ids() -> None:
    found = calls(call(0, "{}", id="c", name="read"), call(0, "{}", id="d", name="read"))
    assert [event for event in found if isinstance(event, ToolStart)] == [
        ToolStart("c", "read", 0),
        ToolStart("d", "read", 1),
    ]


def test_pieces_of_two_calls_may_be_mixed() -> None:
    found = calls(
        call(0, '{"a"', id="c", name="read"), call(1, '{"b"', id="d", name="list"), call(0, ":1}"), call(1, ":2}")
    )
    assert found[:-1] == [
        ToolStart("c", "read", 0),
        ToolDelta('{"a"', 0),
        ToolStart("d", "list", 1),
        ToolDelta('{"b"', 1),
        ToolDelta(":1}", 0),
        ToolDelta(":2}", 1),
        BlockStop(0),
        BlockStop(1),
    ]


def test_white_space_between_calls_opens_no_text() -> None:
    found = events(
        chunk({"tool_calls": [call(0, "{}", id="c", name="read")]}),
        chunk({"content": "\n"}),
        chunk({"tool_calls": [call(1, "{}", id="d", name="read")]}),
        chunk({"content": "done"}),
        chunk({}, "stop"),
    )
    assert [type(event) for event in found].count(TextDelta) == 1


def test_other_alternatives_are_left_alone() -> None:
    second = wire({"choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    assert events(chunk({}), second) == []


def test_a_lone_alternative_of_another_number_is_read() -> None:
    odd = {"index": 76, "delta": {"content": "x"}, "finish_reason": None}
    found = events(*(wire({"id": "i", "model": "m", "choices": [choice]}) for choice in (odd, odd)), chunk({}, "stop"))
    assert found == [TextDelta("x", 0), TextDelta("x", 0)]
    last = wire({"choices": [{"index": 76, "delta": {}, "finish_reason": "stop"}]})
    found = events(wire({"id": "i", "model": "m", "choices": [odd]}), last, DONE)
    assert found == [TextDelta("x", 0), BlockStop(0), Finished(StopReason.END, None, None, "stop")]


def test_of_several_answers_the_first_is_read_and_all_must_end() -> None:
    def said(number: int, text: str, finish: str | None = None) -> bytes:
        choice = {"index": number, "delta": {"content": text}, "finish_reason": finish}
        return wire({"id": "i", "model": "m", "choices": [choice]})

    decoder = Chat().decoder(lambda kind: True)
    decoder.answers = 2
    found = [event for frame in (said(1, "b"), said(0, "a", "stop")) for event in decoder.decode(frame)]
    assert found == [Started("i", "m"), TextDelta("a", 0)]
    assert (decoder.complete, decoder.finish()) == (False, ())
    decoder.decode(said(1, "", "stop"))
    assert decoder.complete
    assert decoder.finish() == [BlockStop(0), Finished(StopReason.END, None, None, "stop")]


def test_opaque_frames() -> None:
    frames = [b": OPENROUTER PROCESSING\n\n", wire({"choices": [], "extra": 1}), wire({"choices": 3})]
    assert events(chunk({}), *frames) == [
        Opaque(frames[0], "comment", "chat"),
        Opaque(frames[1], "unknown", "chat"),
        Opaque(frames[2], "unknown", "chat"),
    ]


@pytest.mark.parametrize(
    ("frame", "failed"),
    [
        (wire({"error": {"code": "1302", "message": "slow"}}), Failed("slow", Cause.RATE_LIMIT, "1302")),
        (
            b'event: error\ndata: {"code":"1305","message":"busy"}\n\n',
            Failed("busy", Cause.OVERLOADED, "1305"),
        ),
        (
            wire({"error": {"message": "m", "type": "server_error", "code": None}}),
            Failed("m", Cause.UPSTREAM, "server_error"),
        ),
        (wire({"error": "boom"}), Failed("boom", Cause.UPSTREAM, "")),
        (b"data: {broken\n\n", Failed("the upstream sent an event that is not valid JSON")),
        (b"data: \xff\n\n", Failed("the upstream sent an event that is not valid JSON")),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_failures(frame: bytes, failed: Failed, wanted: bool) -> None:
    decoder = every(wanted)
    decoder.decode(chunk({"content": "a"}))
    assert decoder.decode(frame) == (failed,)
    assert decoder.decode(chunk({}, "stop")) == ()


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
@pytest.mark.parametrize("empty", [None, ""])
def test_nothing_notable_is_missed_in_chunks_that_nobody_wants(separators: tuple[str, str], empty: str | None) -> None:
    def said(delta: Any, finish: str | None = empty, usage: Any = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        value = {"id": "i", "model": "m", "choices": choices, "usage": usage}
        return b"data: " + json.dumps(value, separators=separators).encode() + b"\n\n"

    decoder = every(wanted=False)
    assert decoder.decode(said({"role": "assistant", "content": ""})) == [Started("i", "m")]
    for text in ("a", 'b"c', '"usage":{', '\\"', "", "x"):
        assert decoder.decode(said({"content": text, "tool_calls": []})) == ()
        assert decoder.decode(said({"content": text})) == ()
        assert decoder.decode(said({"reasoning_content": text})) == ()
    assert decoder.decode(said({"content": "z"}, "length")) == []
    assert decoder.complete
    assert decoder.decode(said({"content": "z"}, usage=USAGE)) == (Finished(StopReason.LENGTH, TOLD, None, "length"),)


def test_skipped_chunks_are_not_even_parsed() -> None:
    decoder = every(wanted=False)
    decoder.decode(chunk({}))
    broken = b'data: {"choices":[{"delta":{"content":"a"},broken}]}\n\n'
    assert decoder.decode(broken) == ()
    assert decoder.decode(broken.replace(b'"a"', b'"b"')) == ()
    assert decoder.decode(broken.replace(b'"a"},', b'"b"},"finish_reason":"stop",'))[0] == Failed(
        "the upstream sent an event that is not valid JSON"
    )


@pytest.mark.parametrize(
    ("counters", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(input=5, output=2)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(cache_read=5)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3}},
            Usage(input=4, cache_read=2, cache_write=3),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 0}},
            Usage(input=5, output=2, reasoning=0),
        ),
        ({"prompt_tokens": 5, "prompt_tokens_details": None, "completion_tokens": None}, Usage(input=5)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
    ],
)
def test_counters(counters: dict[str, Any], usage: Usage | None) -> None:
    assert events(chunk({}), chunk({}, "stop", usage=counters))[-1] == Finished(StopReason.END, usage, None, "stop")
