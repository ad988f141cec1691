"""Events into chunks; whole streams stand in test_chat.py."""

from collections.abc import Sequence
from typing import Any

import msgspec

from trimtab.dialects.chat_encode import DONE, ChatEncoder, failure
from trimtab.errors import Cause
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
    Usage,
)


def encode(events: Sequence[Event], *, usage: bool = False) -> list[Any]:
    """The data of the frames."""
    encoder = ChatEncoder("m", usage=usage, token=lambda: "0" * 24, now=lambda: 7.5)
    frames = encoder.encode(events).split(b"\n\n")[:-1]
    found = [frame.removeprefix(b"data: ") for frame in frames]
    return [data if data == b"[DONE]" else msgspec.json.decode(data) for data in found]


def deltas(events: Sequence[Event]) -> list[Any]:
    """What the chunks add, without the first, which names the role."""
    return [chunk["choices"][0]["delta"] for chunk in encode(events) if chunk != b"[DONE]"][1:]


def test_a_stream_begins_once_whoever_comes_first() -> None:
    for events in ([TextDelta("a")], [Started("x"), Started("y"), TextDelta("a")]):
        first, second = encode(events)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert (second["id"], second["created"], second["model"]) == (first["id"], 7, "m")


def test_empty_pieces_are_no_chunks() -> None:
    assert deltas([TextDelta(""), ThinkingDelta("", "signed"), BlockStop(0), ToolDelta("{", 3)]) == []


def test_calls_are_numbered_among_themselves() -> None:
    events = [TextDelta("a", 0), ToolStart("c1", "f", 1), ToolStart("c2", "g", 4), ToolDelta("{}", 4)]
    calls = [delta["tool_calls"][0] for delta in deltas(events) if "tool_calls" in delta]
    assert [(call["index"], call.get("id")) for call in calls] == [(0, "c1"), (1, "c2"), (1, None)]


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    for end in (BlockStop(0), Finished(StopReason.TOOL_USE)):
        call = deltas([ToolStart("c", "f", 0), end])[1]["tool_calls"][0]
        assert call == {"index": 0, "function": {"arguments": "{}"}}


def test_nothing_follows_an_end_or_a_failure() -> None:
    assert encode([Finished(StopReason.END), TextDelta("late"), Finished(StopReason.END)])[-1] == b"[DONE]"
    [told] = encode([Failed("busy", Cause.OVERLOADED), TextDelta("late"), Finished(StopReason.END)])
    assert told["error"]["message"] == "busy"


def test_usage_stands_in_a_chunk_without_choices_before_the_end() -> None:
    finished = Finished(StopReason.END, Usage(input=3, output=2))
    *chunks, last, done = encode([finished], usage=True)
    assert (last["choices"], last["usage"]["total_tokens"], done) == ([], 5, b"[DONE]")
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("usage" not in chunk for chunk in encode([finished])[:-1])
    assert encode([Finished(StopReason.END)], usage=True)[-1] == DONE[6:-2]


def test_an_error_names_its_member() -> None:
    error = msgspec.json.decode(failure(Cause.MALFORMED, "no", "model"))["error"]
    assert (error["message"], error["param"], set(error)) == ("no", "model", {"message", "type", "param", "code"})


def test_who_offered_functions_gets_one_function_call() -> None:
    encoder = ChatEncoder("m", usage=False, token=lambda: "t", now=lambda: 1.0, legacy=True)
    calls = [ToolStart("a", "read", 0), ToolDelta('{"b":1}', 0), BlockStop(0)]
    more = [ToolStart("c", "list", 1), ToolDelta("{}", 1), BlockStop(1)]
    wire = encoder.encode([Started(), *calls, *more, Finished(StopReason.TOOL_USE)])
    choices = [msgspec.json.decode(frame[6:])["choices"][0] for frame in wire.split(b"\n\n")[:-2]]
    assert [choice["delta"].get("function_call") for choice in choices] == [
        None,
        {"name": "read", "arguments": ""},
        {"arguments": '{"b":1}'},
        None,
    ]
    assert choices[-1]["finish_reason"] == "function_call"
    assert b"tool_calls" not in wire
