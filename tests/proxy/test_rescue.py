"""What a client has seen, and how another reply goes on behind it."""

import json
from typing import Any

import pytest

from trimtab.dialects import DIALECTS
from trimtab.dialects.sse import Framer, parse
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
)
from trimtab.rescue import Hold, Shown

START = Started("msg_1", "m", Usage(input=3, output=1))
END = Finished(StopReason.END, Usage(input=3, output=2))
CALL = (ToolStart("t1", "write", 0), ToolDelta("{}", 0), BlockStop(0))


@pytest.mark.parametrize(
    ("event", "reached"),
    [
        (START, False),
        (ThinkingDelta("hm"), False),
        (ThinkingDelta("", "sig"), False),
        (BlockStop(0), False),
        (Opaque(b": wait\n\n", "comment", "messages"), False),
        (Opaque(b"{}", "ping", "messages"), False),
        (Opaque(b"{}", "content_block_start", "messages"), True),
        (TextDelta("a"), True),
        (ToolStart("t", "write"), True),
        (ToolDelta("{}"), True),
        (END, True),
    ],
)
def test_thoughts_and_pings_are_nothing_that_a_second_reply_would_repeat(event: Event, reached: bool) -> None:
    shown = Shown()
    shown.note([START, event])
    assert shown.reached is reached


def test_behind_a_stream_without_its_start_nothing_goes_on() -> None:
    for event in (ThinkingDelta("hm"), BlockStop(0)):
        shown = Shown()
        shown.note([event])
        assert shown.reached


def frames(raw: bytes) -> list[Any]:
    found = [parse(frame).data or b"" for frame in Framer().feed(raw)]
    return [json.loads(data) for data in found if data.startswith(b"{")]


def blocks(raw: bytes) -> list[tuple[str, Any]]:
    """Types of a messages stream's frames, with the block they are about."""
    return [(value["type"].removeprefix("content_block_"), value.get("index")) for value in frames(raw)]


def test_a_reply_goes_on_behind_a_thought_that_broke_off() -> None:
    shown = Shown()
    shown.note([START, ThinkingDelta("hm")])
    encoder = shown.again(DIALECTS["messages"], "m", usage=False)
    second = [Started("msg_2"), ThinkingDelta("so"), BlockStop(0), TextDelta("ok", 1), BlockStop(1), END]
    out = encoder.encode(shown.follow(second))
    assert blocks(out) == [
        ("delta", 0),  # the broken thought gets a signature of the proxy
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("delta", 1),
        ("stop", 1),
        ("start", 2),
        ("delta", 2),
        ("stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert b"msg_2" not in out


def test_a_thought_that_was_complete_is_not_closed_again() -> None:
    shown = Shown()
    shown.note([START, ThinkingDelta("hm"), BlockStop(0)])
    out = shown.again(DIALECTS["messages"], "m", usage=False).encode(shown.follow([Started("x"), TextDelta("ok"), END]))
    assert blocks(out)[:3] == [("start", 1), ("delta", 1), ("stop", 1)]


def test_a_chat_stream_goes_on_under_its_own_id() -> None:
    shown = Shown()
    shown.note([Started("chatcmpl-1", "m"), ThinkingDelta("hm")])
    out = shown.again(DIALECTS["chat"], "m", usage=False).encode(
        shown.follow([Started("chatcmpl-2"), TextDelta("ok"), END])
    )
    assert {value["id"] for value in frames(out)} == {"chatcmpl-1"}
    assert [value["choices"][0]["delta"] for value in frames(out)] == [{"content": "ok"}, {}]


def test_what_wrote_the_beginning_writes_the_rest() -> None:
    shown = Shown()
    shown.encoder = encoder = DIALECTS["messages"].encoder("m", usage=False)
    before = [Started(""), ThinkingDelta("hm")]
    opening = encoder.encode(before)
    shown.note(before)
    assert shown.again(DIALECTS["messages"], "m", usage=False) is encoder
    rest = encoder.encode(shown.follow([Started(""), TextDelta("ok"), END]))
    assert opening.count(b"message_start") == 2  # the event's name, and the type in it
    assert b"message_start" not in rest


def test_a_call_waits_until_it_is_complete() -> None:
    hold = Hold()
    assert hold.take([START], b"a") == ((START,), b"a")
    assert hold.take([CALL[0]], b"b") == ((), b"")
    assert hold
    assert hold.take([CALL[1]], b"c") == ((), b"")
    ping = Opaque(b"ping", "ping", "messages")
    assert hold.take([ping], b"p") == ([ping], b"p")
    assert hold.take([CALL[2]], b"d") == (CALL, b"bcd")
    assert not hold


def test_calls_beside_each_other_wait_for_all_of_them() -> None:
    hold = Hold()
    other = (ToolStart("t2", "read", 1), BlockStop(1))
    for event, piece in ((CALL[0], b"a"), (other[0], b"b"), (CALL[2], b"c")):
        assert hold.take([event], piece) == ((), b"")
    assert hold.take([other[1]], b"d")[1] == b"abcd"


def test_the_end_of_a_reply_completes_its_calls() -> None:
    hold = Hold()
    hold.take(CALL[:2], b"a")
    assert hold.take([END], b"b") == ((*CALL[:2], END), b"ab")


def test_a_frame_without_events_waits_behind_what_is_held() -> None:
    hold = Hold()
    hold.take(CALL[:1], b"a")
    assert hold.take((), b"finish") == ((), b"")
    assert hold.take([CALL[2], END], b"b")[1] == b"afinishb"


def test_what_is_held_can_be_let_go() -> None:
    hold = Hold()
    hold.take(CALL[:1], b"a")
    assert hold.release() == (CALL[:1], b"a")
    assert hold.release() == ((), b"")
