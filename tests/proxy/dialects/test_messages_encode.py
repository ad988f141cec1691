"""Events into frames; whole streams stand in test_messages.py."""

from typing import Any

import msgspec
import pytest

from trimtab.dialects.messages_encode import PING, MessagesEncoder, end, failure, frame, message, signature
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


def encode(*events: Event) -> list[Any]:
    """The data of the frames."""
    encoder = MessagesEncoder("m", lambda: "0" * 24)
    frames = b"".join(encoder.encode([event]) for event in events).split(b"\n\n")[:-1]
    return [msgspec.json.decode(frame.partition(b"data: ")[2]) for frame in frames]


def kinds(*events: Event) -> list[str]:
    return [data["type"].removeprefix("content_block_") for data in encode(*events)]


def test_a_stream_begins_once_whoever_comes_first() -> None:
    assert kinds(TextDelta("a")) == ["message_start", "ping", "start", "delta"]
    assert kinds(Started("x"), Started("y"), TextDelta("a")) == ["message_start", "ping", "start", "delta"]
    assert kinds(Finished(StopReason.END)) == ["message_start", "ping", "message_delta", "message_stop"]


def test_a_block_is_closed_before_the_next_and_before_the_end() -> None:
    told = encode(TextDelta("a", 4), ToolStart("c", "f", 9), ToolDelta("{}", 9), Finished(StopReason.TOOL_USE))
    blocks = [(data["type"], data["index"]) for data in told if "index" in data]
    assert blocks == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
    ]


def test_nothing_follows_an_end_or_a_failure() -> None:
    assert kinds(Finished(StopReason.END), TextDelta("late"))[-1] == "message_stop"
    [told] = encode(Failed("busy", Cause.OVERLOADED), TextDelta("late"), Finished(StopReason.END))
    assert told["error"] == {"type": "overloaded_error", "message": "busy"}


def test_a_thought_without_a_signature_gets_ours_and_one_with_it_keeps_it() -> None:
    def signed(*events: Event) -> list[str]:
        deltas = [data["delta"] for data in encode(*events) if data["type"] == "content_block_delta"]
        return [delta["signature"] for delta in deltas if delta["type"] == "signature_delta"]

    assert signed(ThinkingDelta("h"), ThinkingDelta("m"), BlockStop(0)) == [signature("hm")]
    assert signed(ThinkingDelta("hm", "theirs"), BlockStop(0)) == ["theirs"]
    assert signature("a") != signature("b")
    assert signature("").startswith("p1.")


def test_a_signature_that_comes_too_late_opens_no_block() -> None:
    events = (ThinkingDelta("hm", "", 0), BlockStop(0), TextDelta("a", 1))
    assert kinds(*events, ThinkingDelta("", "late", 0)) == kinds(*events)


@pytest.mark.parametrize("raw", [b"event: x\ndata: {\n\n", b"event: x\ndata: 5\n\n", b"no frame"])
def test_frames_of_a_block_that_cannot_be_read_are_not_shown(raw: bytes) -> None:
    encoder = MessagesEncoder("m", lambda: "0")
    assert encoder.encode([Opaque(raw, "content_block_delta", "messages")]) == b""


def test_members_that_the_specification_requires() -> None:
    told = message({"id": "msg_1"}, [], Finished(StopReason.STOP_SEQUENCE, None, "X"), Usage(input=1))
    assert (told["stop_reason"], told["stop_sequence"], told["usage"]["input_tokens"]) == ("stop_sequence", "X", 1)
    assert end(None) == {"stop_reason": None, "stop_sequence": None, "stop_details": None, "container": None}
    assert msgspec.json.decode(failure("api_error", "oh", ""))["request_id"] is None
    assert frame("ping") == PING
