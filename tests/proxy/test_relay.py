"""The way back of a reply that streams, in memory."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from replying import (
    BODIES,
    BOTH,
    CHAT,
    CHAT_STREAM,
    CHAT_USAGE,
    DIALECTS,
    ERROR,
    EVERY,
    MESSAGES,
    MESSAGES_STREAM,
    START,
    STREAMS,
    USAGE,
    Changes,
    Way,
    chunk,
    double,
    first,
    same,
    shout,
    split,
    sse,
    whole,
)
from trimtab.errors import Cause, StageFailed, UpstreamError
from trimtab.events import (
    Event,
    Finished,
    Opaque,
    Started,
    StopReason,
    TextDelta,
    Usage,
)


@BOTH
@pytest.mark.parametrize("stages", [[], [Changes(same, *EVERY)], [Changes(same, Finished)], [Changes(same, Opaque)]])
def test_what_no_stage_changed_leaves_as_it_came(name: str, stages: list[Changes]) -> None:
    assert Way(name, *stages).feed(STREAMS[name]).finish() == STREAMS[name]


@BOTH
@pytest.mark.parametrize(
    "stage", [None, Changes(shout, TextDelta), Changes(double, Started, Finished), Changes(lambda _: (), TextDelta)]
)
def test_it_does_not_matter_how_the_bytes_were_split(name: str, stage: Changes | None) -> None:
    stream, way = STREAMS[name], Way(name, *([stage] if stage else []))
    whole = way.feed(stream).finish()
    for cut in range(len(stream) + 1):
        assert way.begin().feed(stream[:cut], stream[cut:]).finish() == whole
    single = (stream[place : place + 1] for place in range(len(stream)))
    assert way.begin().feed(*single).finish() == whole


@BOTH
def test_a_changed_text_is_written_in_its_place(name: str) -> None:
    stream = STREAMS[name]
    expected = stream.replace(json.dumps("one \u00e9").encode(), '"ONE \u00c9"'.encode()).replace(b" two", b" TWO")
    assert Way(name, Changes(shout, TextDelta)).feed(stream).finish() == expected


def test_changed_usage_keeps_what_stands_beside_it() -> None:
    got = Way("chat", Changes(double, Started, Finished)).feed(CHAT_STREAM).finish()
    told = CHAT_USAGE | {"prompt_tokens": 140, "completion_tokens": 14}
    # A counter that was not told is added behind the others, since the sum is part of what changed.
    assert Way("chat").feed(got).data[-2]["usage"] == {**told, "total_tokens": 154}
    assert got.split(b'"usage"')[0] == CHAT_STREAM.split(b'"usage"')[0]


def test_changed_usage_of_messages_in_both_of_its_frames() -> None:
    way = Way("messages", Changes(double, Started, Finished))
    way.feed(MESSAGES_STREAM).finish()
    start, delta = way.data[1]["message"]["usage"], way.data[-2]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"], start["output_tokens"]) == (80, 60, 2)
    assert (delta["input_tokens"], delta["output_tokens"], delta["x_own"]) == (80, 14, 3)


@BOTH
@pytest.mark.parametrize("stages", [[], [Changes(double, Started, Finished)]])
def test_the_usage_that_is_booked_is_the_upstreams_own(name: str, stages: list[Changes]) -> None:
    way = Way(name, *stages)
    way.feed(STREAMS[name]).finish()
    outcome = way.exchange.outcome
    reason = {"chat": StopReason.END, "messages": StopReason.TOOL_USE}[name]
    assert (outcome.usage, outcome.reason, outcome.error) == (USAGE[name], reason, None)
    assert outcome.upstream_id == {"chat": "up-1", "messages": "msg_1"}[name]


@BOTH
@pytest.mark.parametrize("before", [b"", b": wait\n\n: wait\n\n"])
@pytest.mark.parametrize("stages", [[], [Changes(same, *EVERY)]])
def test_a_failure_before_the_first_event_may_still_become_a_status(
    name: str, before: bytes, stages: list[Changes]
) -> None:
    way = Way(name, *stages)
    with pytest.raises(UpstreamError, match="too fast") as caught:
        way.feed(before, ERROR[name])
    assert (way.got, caught.value.cause) == (b"", Cause.RATE_LIMIT)


@BOTH
def test_a_failure_in_a_form_of_nobodys_is_told_in_the_clients(name: str) -> None:
    foreign = sse({"error": {"code": "1302", "message": "too fast"}})
    begun = first(name, 4)
    way = Way(name).feed(begun + foreign + STREAMS[name])
    assert way.relay.ended
    told = json.loads(way.got.removeprefix(begun).split(b"data: ")[1])
    assert told["error"]["type"] == "rate_limit_error"
    assert "too fast" in told["error"]["message"]


def test_a_failure_behind_the_finish_is_told_and_no_done_follows() -> None:
    finish = first("chat", 7)
    way = Way("chat").feed(finish + ERROR["chat"] + b"data: [DONE]\n\n")
    assert way.got == finish + ERROR["chat"]
    assert way.exchange.outcome.error is not None


@BOTH
def test_a_failure_in_the_stream_passes_and_nothing_follows(name: str) -> None:
    begun = first(name, 4)
    way = Way(name).feed(begun + ERROR[name] + STREAMS[name])
    assert way.relay.ended
    assert way.feed(STREAMS[name]).finish() == begun + ERROR[name]
    error = way.exchange.outcome.error
    assert isinstance(error, UpstreamError)
    assert (error.message, error.cause) == ("too fast", Cause.RATE_LIMIT)


@BOTH
def test_an_event_that_cannot_be_read_is_told_behind_what_came_before(name: str) -> None:
    begun = first(name, 4)
    way = Way(name).feed(begun + b'data: {"choices": [{"del\n\n' + STREAMS[name])
    told = MESSAGES if name == "messages" else CHAT
    error = UpstreamError("the upstream sent an event that is not valid JSON")
    assert way.finish() == begun + told.error_frame(error, "req_test")
    assert isinstance(way.exchange.outcome.error, UpstreamError)


@BOTH
def test_a_stage_that_fails_in_the_stream_is_told_behind_what_came_before(name: str) -> None:
    def fails(event: Event) -> Iterable[Event]:
        if isinstance(event, TextDelta) and "two" in event.text:
            raise ValueError
        return (event,)

    way = Way(name, Changes(fails, TextDelta)).feed(STREAMS[name])
    upto = STREAMS[name][: STREAMS[name].index(b" two")]
    assert way.got.startswith(upto[: upto.rindex(b"\n\n") + 2])
    assert way.finish().endswith(
        DIALECTS[name].error_frame(StageFailed("changes", "ValueError on an event"), "req_test")
    )
    assert isinstance(way.exchange.outcome.error, StageFailed)


@BOTH
def test_a_stream_that_breaks_off_gets_no_end(name: str) -> None:
    stream = STREAMS[name]
    for frames in range(2, stream.count(b"\n\n") - 3):
        way = Way(name).feed(first(name, frames))
        with pytest.raises(UpstreamError, match="broke off before its end"):
            way.finish()
        assert stream.startswith(way.got)


def test_of_a_stream_that_breaks_off_the_usage_so_far_is_booked() -> None:
    way = Way("messages").feed(first("messages", 4))
    assert way.exchange.outcome.usage == Usage(input=40, cache_read=60, output=1)


def test_half_an_event_is_none() -> None:
    begun = first("chat", 4)
    way = Way("chat").feed(begun + b'data: {"choices":[{"delta":{"content":"thr')
    with pytest.raises(UpstreamError, match="broke off"):
        way.finish()
    assert (way.got, way.exchange.outcome.error) == (begun, None)


def test_a_finish_without_done_is_an_end_and_gets_no_done() -> None:
    stream = first("chat", 7)
    assert Way("chat").feed(stream).finish() == stream
    assert Way("chat", Changes(double, Finished)).feed(stream).finish() == stream


def test_a_last_line_without_its_blank_line_is_completed() -> None:
    way = Way("chat").feed(CHAT_STREAM[:-2])
    assert way.finish() == CHAT_STREAM
    assert way.relay.ended
    stream = MESSAGES_STREAM[:-1]
    assert Way("messages").feed(stream).finish().endswith(b'data: {"type": "message_stop"}\n\n\n')


@BOTH
@pytest.mark.parametrize("stages", [[], [Changes(same, *EVERY)]])
def test_nothing_follows_the_last_word(name: str, stages: list[Changes]) -> None:
    way = Way(name, *stages).feed(STREAMS[name] + b": more\n\n", sse(chunk({"content": "more"})))
    assert way.relay.ended
    assert way.finish() == STREAMS[name]


def test_a_chat_stream_is_not_over_at_its_finish() -> None:
    way = Way("chat").feed(first("chat", 7))
    assert not way.relay.ended
    assert way.feed(CHAT_STREAM[len(first("chat", 7)) :]).relay.ended


@pytest.mark.parametrize("wants", [(), (Opaque,), EVERY])
def test_comments_before_the_first_event_wait_for_it(wants: tuple[type[Event], ...]) -> None:
    way = Way("chat", Changes(same, *wants)).feed(b": one\n\n", b": two\n\n")
    assert way.got == b""
    way.feed(sse(chunk({"content": "x"})))
    assert way.got == b": one\n\n: two\n\n" + sse(chunk({"content": "x"}))
    assert way.feed(b": three\n\n").got.endswith(b": three\n\n")


def test_done_without_a_reply_is_a_failure() -> None:
    with pytest.raises(UpstreamError, match="without a reply"):
        Way("chat").feed(b": one\n\ndata: [DONE]\n\n")


ASKED = {"stream_options": {"include_usage": True}}


def test_usage_that_only_route_asked_for_is_seen_and_not_shown() -> None:
    way = Way("chat")
    way.exchange.set_member("stream_options", {"include_usage": True}, "usage in streams")
    hiding = Way("chat", Changes(double, Finished))
    hiding.exchange.set_member("stream_options", {"include_usage": True}, "usage in streams")
    for case in (way, hiding):
        case.begin()
        hidden = sse({"id": "up-1", "choices": [], "usage": CHAT_USAGE})
        assert case.feed(CHAT_STREAM).finish() == CHAT_STREAM.replace(hidden, b"")
        assert case.exchange.outcome.usage == USAGE["chat"]


@pytest.mark.parametrize("sends", [ASKED, {}])
def test_usage_that_nobody_added_passes(sends: dict[str, Any]) -> None:
    assert Way("chat", sends=sends).feed(CHAT_STREAM).finish() == CHAT_STREAM


def test_a_stream_with_more_events_than_frames_has_one_start_and_whole_blocks() -> None:
    way = Way("messages", Changes(split, TextDelta))
    way.feed(MESSAGES_STREAM).finish()
    kinds = [value["type"] for value in way.data if value["type"] != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert (kinds.count("message_start"), kinds.count("content_block_start")) == (1, 2)
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = [value for value in way.data if value["type"] == "content_block_delta"]
    assert "".join(value["delta"].get("text", "") for value in deltas) == "one \u00e9 two"
    assert "".join(value["delta"].get("partial_json", "") for value in deltas) == '{"a":1}'
    assert [value["index"] for value in way.data if "index" in value] == sorted(
        value["index"] for value in way.data if "index" in value
    )


def test_a_chat_stream_with_more_events_than_frames_has_one_start_and_one_end() -> None:
    way = Way("chat", Changes(split, TextDelta), sends=ASKED)
    way.feed(CHAT_STREAM).finish()
    deltas = [value["choices"][0] for value in way.data[:-1] if value["choices"]]
    assert [choice["delta"].get("role") for choice in deltas].count("assistant") == 1
    assert "".join(choice["delta"].get("content") or "" for choice in deltas) == "one \u00e9 two"
    assert [choice["finish_reason"] for choice in deltas][-1] == "stop"
    assert way.data.count("[DONE]") == 1
    assert way.data[-1] == "[DONE]"
    assert way.data[-2]["usage"]["prompt_tokens"] == 100


def test_a_text_that_a_stage_drops_does_not_leave() -> None:
    way = Way("messages", Changes(lambda _: (), TextDelta))
    way.feed(MESSAGES_STREAM).finish()
    assert b"one" not in way.got
    assert [value["type"] for value in way.data].count("message_stop") == 1
    assert [value["index"] for value in way.data if value["type"] == "content_block_start"] == [0]


def test_another_dialect_is_written_by_its_encoder() -> None:
    way = Way("messages", upstream="chat")
    way.feed(CHAT_STREAM).finish()
    kinds = [value["type"] for value in way.data]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert way.data[0]["message"]["model"] == "glm"
    assert way.data[-2]["usage"]["cache_read_input_tokens"] == 60
    assert b"keep-alive" not in way.got
    assert way.relay.ended


def test_the_client_hears_its_own_name_of_the_model() -> None:
    for name, stream in STREAMS.items():
        body = json.dumps({**json.loads(BODIES[name]), "model": "glm"}).encode()
        way = Way(name, sends={"model": "mine"}).feed(stream)
        assert way.got == stream.replace(b'"model": "glm"', b'"model": "mine"')
        assert b'"mine"' in whole(name, body, sends={"model": "mine"})[0]


def test_usage_told_once_more_is_taken_and_scaled() -> None:
    more = {"prompt_tokens": 100, "completion_tokens": 9}
    late = sse(chunk({"content": "a"}), chunk({}, "stop", usage=CHAT_USAGE), chunk({}, usage=more))
    way = Way("chat", Changes(double, Started, Finished)).feed(late + b"data: [DONE]\n\n")
    assert [value["usage"]["completion_tokens"] for value in way.data[1:3]] == [14, 18]
    assert way.exchange.outcome.usage == Usage(input=100, output=9)
    way = Way("messages", upstream="chat").feed(late + b"data: [DONE]\n\n")
    assert [value["usage"]["output_tokens"] for value in way.data if value["type"] == "message_delta"] == [9]
    ends = [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    way = Way("messages").feed(sse(START, *ends))
    assert (way.got, way.exchange.outcome.usage) == (sse(START, *ends), USAGE["messages"])
    way = Way("chat", upstream="messages", sends={"stream_options": {"include_usage": True}}).feed(sse(START, *ends))
    assert [value["usage"]["completion_tokens"] for value in way.data[:-1] if value["usage"]] == [7]


def test_an_end_for_want_of_room_without_a_reply_is_an_overflow() -> None:
    finish = "model_context_window_exceeded"
    with pytest.raises(UpstreamError) as caught:
        Way("chat").feed(sse(chunk({}, finish, usage=CHAT_USAGE)))
    assert caught.value.cause is Cause.OVERFLOW
    way = Way("chat").feed(sse(chunk({"role": "assistant"}), chunk({}, finish, usage=CHAT_USAGE)))
    assert way.data[-1]["error"]["code"] == "context_length_exceeded"
    spoken = sse(chunk({"content": "one"}), chunk({}, finish, usage=CHAT_USAGE))
    assert Way("chat").feed(spoken).got == spoken.replace(finish.encode(), b"length")
    message = {"role": "assistant", "content": ""}
    silent = {"choices": [{"message": message, "finish_reason": finish}], "usage": CHAT_USAGE}
    with pytest.raises(UpstreamError):
        whole("chat", json.dumps(silent).encode())


def test_a_plain_end_behind_calls_is_told_as_calls() -> None:
    call = {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "read", "arguments": "{}"}}]}
    stream = sse(chunk(call), chunk({}, "stop", usage=CHAT_USAGE)) + b"data: [DONE]\n\n"
    assert Way("chat").feed(stream).got == stream.replace(b'"stop"', b'"tool_calls"')


def test_a_stop_word_that_the_upstream_was_not_told_ends_the_stream() -> None:
    stream = sse(chunk({"content": "one E"}), chunk({"content": "ND two"}))
    way = Way("chat", stop=("END",)).feed(stream)
    assert way.relay.ended
    assert "".join(value["choices"][0]["delta"].get("content", "") for value in way.data[:-1]) == "one "
    assert (way.data[-2]["choices"][0]["finish_reason"], way.data[-1]) == ("stop", "[DONE]")
    way = Way("messages", stop=("END",), upstream="chat").feed(stream)
    assert way.data[-2]["delta"]["stop_sequence"] == "END"
    assert way.feed(stream).data[-1] == {"type": "message_stop"}


def test_an_overflow_inside_a_stream_is_told_in_the_clients_words() -> None:
    error = {"error": {"code": "1261", "message": "Prompt exceeds max length", "type": "invalid_request_error"}}
    way = Way("chat").feed(sse(chunk({"content": "a"}), error))
    assert way.data[-1]["error"]["message"].startswith("prompt is too long")
    assert way.data[-1]["error"]["param"] == "messages"
