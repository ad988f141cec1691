"""The words for the end of a reply."""

import pytest

from trimtab.dialects import stops
from trimtab.events import StopReason, Usage


def test_every_reason_has_a_word_in_both_dialects() -> None:
    assert set(stops.CHAT) == set(stops.MESSAGES) == set(StopReason)


@pytest.mark.parametrize("reason", StopReason)
def test_a_word_of_the_messages_dialect_means_what_it_meant(reason: StopReason) -> None:
    assert stops.reason(stops.MESSAGES[reason], called=reason is StopReason.TOOL_USE) == reason


@pytest.mark.parametrize(
    ("native", "called", "expected"),
    [
        ("stop", False, StopReason.END),
        ("stop", True, StopReason.TOOL_USE),
        ("a new word", False, StopReason.END),
        ("a new word", True, StopReason.TOOL_USE),
        ("tool_calls", False, StopReason.END),
        ("function_call", True, StopReason.TOOL_USE),
        ("length", True, StopReason.LENGTH),
        ("sensitive", False, StopReason.REFUSAL),
    ],
)
def test_whether_there_is_a_call_outweighs_the_word(native: str, *, called: bool, expected: StopReason) -> None:
    assert stops.reason(native, called=called) == expected


def test_some_ends_are_failures() -> None:
    for native in stops.BROKEN:
        failed = stops.broken(native)
        assert failed is not None
        assert (failed.native, native in failed.message) == (native, True)
        assert native not in stops.OWN
    assert stops.broken("stop") is None


def test_usage_of_zeros_says_nothing() -> None:
    assert (stops.said(None), stops.said(Usage()), stops.said(Usage(reasoning=0))) == (None, None, None)
    for told in (Usage(cache_read=1), Usage(output=1)):
        assert stops.said(told) == told


@pytest.mark.parametrize(
    ("native", "called", "chat", "messages"),
    [
        ("stop", False, None, "end_turn"),
        ("stop", True, "tool_calls", "tool_use"),
        ("end_turn", True, "tool_calls", "tool_use"),
        ("tool_calls", False, None, "end_turn"),
        ("sensitive", False, "content_filter", "refusal"),
        ("model_context_window_exceeded", False, "length", None),
        ("function_call", True, None, None),
        ("brand_new", False, None, None),
        ("", False, None, None),
    ],
)
def test_the_right_word_in_the_place_of_a_wrong_one(
    native: str, called: bool, chat: str | None, messages: str | None
) -> None:
    assert stops.fitting(native, stops.CHAT, called=called) == chat
    assert stops.fitting(native, stops.MESSAGES, called=called) == messages


def test_a_word_inside_a_text_stays() -> None:
    raw = b'{"content":"\\"finish_reason\\":\\"stop\\"","finish_reason" : "stop"}'
    assert stops.reworded(raw, "length") == raw[:-7] + b'"length"}'
