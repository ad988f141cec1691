"""A whole reply out of its events."""

import pytest

from trimtab.dialects.gather import gather
from trimtab.errors import Cause, UpstreamError
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
)

END = Finished(StopReason.END)


def pieces(*events: Event) -> list[tuple[str, str]]:
    return [(piece.kind.__name__, piece.text) for piece in gather([*events, END]).pieces]


def test_pieces_of_a_block_belong_together_even_when_blocks_are_mixed() -> None:
    events = (ToolStart("1", "f", 0), ToolStart("2", "g", 1), ToolDelta("{", 0), ToolDelta("[", 1), ToolDelta("}", 0))
    assert pieces(*events) == [("ToolStart", "{}"), ("ToolStart", "[")]


def test_another_kind_under_the_same_number_is_another_block() -> None:
    assert pieces(ThinkingDelta("hm", "", 0), TextDelta("a", 0), TextDelta("b", 0), BlockStop(0)) == [
        ("ThinkingDelta", "hm"),
        ("TextDelta", "ab"),
    ]


def test_the_last_signature_stays() -> None:
    events = [ThinkingDelta("hm", "one"), ThinkingDelta("", "two"), ThinkingDelta("!", ""), END]
    [piece] = gather(events).pieces
    assert (piece.text, piece.signature) == ("hm!", "two")


def test_the_text_of_all_blocks_of_a_kind() -> None:
    reply = gather([Started("id"), TextDelta("a", 0), ThinkingDelta("x", "", 1), TextDelta("b", 2), END])
    assert (reply.started.id, reply.text(TextDelta), reply.text(ThinkingDelta)) == ("id", "ab", "x")


def test_frames_of_unknown_blocks_belong_to_the_last_one() -> None:
    start, more = Opaque(b"event: 1", "content_block_start"), Opaque(b"event: 2", "content_block_delta")
    whole, other = Opaque(b'{"type":"x"}', "x"), Opaque(b": c", "comment")
    reply = gather([more, start, more, whole, other, END])
    assert [piece.frames for piece in reply.pieces] == [[start, more], [whole]]


def test_two_replies_share_nothing() -> None:
    assert gather([TextDelta("a"), END]).pieces is not gather([END]).pieces
    assert gather([END]).pieces == []


def test_a_reply_that_did_not_end_is_none() -> None:
    with pytest.raises(UpstreamError, match="broke off before the end"):
        gather([Started(), TextDelta("a")])
    with pytest.raises(UpstreamError, match="busy") as raised:
        gather([TextDelta("a"), Failed("busy", Cause.OVERLOADED), END])
    assert raised.value.cause == Cause.OVERLOADED
