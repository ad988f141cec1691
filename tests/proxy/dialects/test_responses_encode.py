"""Events into the stream of a Responses client."""

from typing import Any

import pytest

from responding import check, kinds, replying, told
from trimtab.dialects.responses_blob import Sealed, unseal
from trimtab.errors import UpstreamError
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

END = Finished(StopReason.END, Usage(input=3, output=2), None, "stop")
CALL = (ToolStart("call_1", "read", 0), ToolDelta('{"p":1}', 0), BlockStop(0))
HALF = (ToolStart("call_1", "read", 0), ToolDelta('{"p":', 0), BlockStop(0))


def stream(*events: Event, **members: Any) -> list[dict[str, Any]]:
    return told(replying(**members).encoder("m", usage=False).encode(events))


def test_a_text_has_the_whole_sequence() -> None:
    events = stream(Started("chatcmpl-1", "x"), TextDelta("a", 0), TextDelta("b", 0), BlockStop(0), END)
    check(events)
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[-1]["response"]["usage"]["total_tokens"] == 5


def test_a_stream_without_a_start_begins_all_the_same_and_ends_once() -> None:
    events = stream(TextDelta("a", 0), END, END, TextDelta("late", 1), Failed("late"))
    assert check(events)["status"] == "completed"


def test_items_are_numbered_without_gaps() -> None:
    events = stream(ThinkingDelta("hm", "", 0), TextDelta("", 1), ToolDelta("{}", 9), TextDelta("a", 2), *_at(3), END)
    last = check(events)
    assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call"]


def _at(index: int) -> list[Event]:
    return [ToolStart("call_1", "read", index), ToolDelta('{"p":1}', index), BlockStop(index)]


def test_a_signature_goes_into_the_sealed_copy_and_makes_no_item_of_its_own() -> None:
    events = stream(
        ThinkingDelta("hm", "", 0), ThinkingDelta("", "sig", 0), BlockStop(0), ThinkingDelta("", "late", 0), END,
        include=["reasoning.encrypted_content"],
    )  # fmt: skip
    [thought] = check(events)["output"]
    assert unseal("reasoning", thought["encrypted_content"]) == Sealed("hm", "sig")


@pytest.mark.parametrize("reason", [StopReason.LENGTH, StopReason.CONTEXT])
def test_half_a_call_is_never_done(reason: StopReason) -> None:
    events = stream(TextDelta("a", 5), *HALF, Finished(reason, None, None, "length"))
    assert kinds(events)[-1] == "incomplete"
    assert [event["item"]["type"] for event in events if event["type"].endswith("item.done")] == ["message"]
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["message"]
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_text_that_was_cut_off_says_so() -> None:
    last = check(stream(TextDelta("a", 0), Finished(StopReason.LENGTH, None, None, "length")))
    assert (last["status"], last["output"][0]["status"]) == ("incomplete", "incomplete")


def test_bad_json_of_the_models_own_is_for_the_client_to_judge() -> None:
    last = check(stream(*HALF, Finished(StopReason.TOOL_USE, None, None, "tool_calls")))
    assert last["output"][0]["arguments"] == '{"p":'


@pytest.mark.parametrize("events", [HALF, ()])
def test_an_end_without_a_reason_is_none_inside_a_call_or_without_a_reply(events: tuple[Event, ...]) -> None:
    dialect = replying()
    encoder = dialect.encoder("m", usage=False)
    before = encoder.encode([Started(), ThinkingDelta("hm", "", 7), BlockStop(7), *events] if events else [Started()])
    with pytest.raises(UpstreamError) as caught:
        encoder.encode([Finished(StopReason.END)])
    found = told(before + dialect.error_frame(caught.value, "req_1"))
    assert kinds(found)[-1] == "failed"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert "function_call" not in [event["item"]["type"] for event in found if event["type"].endswith("item.done")]


def test_what_came_in_one_piece_with_such_an_end_is_told_before_the_failure() -> None:
    dialect = replying()
    encoder = dialect.encoder("m", usage=False)
    with pytest.raises(UpstreamError) as caught:
        encoder.encode([Started(), TextDelta("a", 4), BlockStop(4), *HALF, Finished(StopReason.END)])
    found = told(dialect.error_frame(caught.value, "req_1"))
    assert check(found, schema=False)["output"][0]["content"][0]["text"] == "a"


def test_a_failure_ends_the_stream_and_closes_nothing() -> None:
    events = stream(Started(), *CALL, TextDelta("a", 1), Failed("broke off"))
    assert kinds(events)[-2:] == ["output_text.delta", "failed"]
    last = events[-1]["response"]
    assert (last["status"], last["error"]) == ("failed", {"code": "server_error", "message": "broke off"})
    assert [item["type"] for item in last["output"]] == ["function_call"]


def test_an_item_of_our_own_is_told_as_it_is_and_a_foreign_frame_is_not() -> None:
    item = b'{"type":"compaction","id":"cmp_1","encrypted_content":"x"}'
    events = stream(Opaque(b"data: {}\n\n", "x", "chat"), Opaque(item, "compaction", "responses"), END)
    assert kinds(events) == ["created", "in_progress", "output_item.added", "output_item.done", "completed"]
    assert check(events)["output"][0]["id"] == "cmp_1"
