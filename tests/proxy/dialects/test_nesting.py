"""Blocks that an upstream mixes come one behind the other."""

import pytest

from trimtab.dialects.nesting import BlockEvent, Nesting, whole
from trimtab.events import BlockStop, TextDelta, ThinkingDelta, ToolDelta, ToolStart


def told(*events: BlockEvent, end: bool = True) -> list[BlockEvent]:
    nesting = Nesting()
    found = [out for event in events for out in nesting.feed(event)]
    return found + (list(nesting.end()) if end else [])


def test_a_block_is_closed_before_the_next_begins() -> None:
    assert told(TextDelta("a", 0), ThinkingDelta("b", "", 1), BlockStop(0), BlockStop(1)) == [
        TextDelta("a", 0),
        BlockStop(0),
        ThinkingDelta("b", "", 1),
        BlockStop(1),
    ]


def test_a_call_waits_for_the_whole_of_the_one_before() -> None:
    first = (ToolStart("a", "x", 0), ToolDelta('{"p":', 0))
    second = (ToolStart("b", "y", 1), ToolDelta("{}", 1))
    assert told(*first, *second, ToolDelta("1}", 0), BlockStop(0), BlockStop(1)) == [
        *first,
        ToolDelta("1}", 0),
        BlockStop(0),
        *second,
        BlockStop(1),
    ]


def test_a_call_that_is_not_whole_stays_open_until_the_reply_goes_on() -> None:
    half = (ToolStart("a", "x", 0), ToolDelta('{"p":', 0))
    nesting = Nesting()
    assert [out for event in (*half, BlockStop(0)) for out in nesting.feed(event)] == list(half)
    assert nesting.half()
    assert list(nesting.feed(TextDelta("b", 1))) == [BlockStop(0), TextDelta("b", 1)]
    assert not nesting.half()


def test_half_a_call_that_waits_is_half_a_call() -> None:
    nesting = Nesting()
    for event in (
        ToolStart("a", "x", 0),
        ToolDelta("[", 0),
        ToolStart("b", "y", 1),
        ToolDelta("{", 1),
        ToolDelta("]", 0),
    ):
        list(nesting.feed(event))
    assert nesting.half()
    assert list(nesting.end()) == [BlockStop(0), ToolStart("b", "y", 1), ToolDelta("{", 1), BlockStop(1)]


def test_what_belongs_to_no_block_is_left_out() -> None:
    assert told(ToolDelta("{}", 0), TextDelta("", 1), ThinkingDelta("", "late", 2), BlockStop(7)) == []


@pytest.mark.parametrize(
    ("text", "is_whole"), [("", True), (" ", True), ("{}", True), ('{"a"', False), ("[" * 9999, False)]
)
def test_what_is_whole(text: str, *, is_whole: bool) -> None:
    assert whole(text) is is_whole
