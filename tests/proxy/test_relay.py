"""The way back of a reply, in memory."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trimtab import relay
from trimtab.dialects.base import Dialect
from trimtab.dialects.chat import Chat
from trimtab.dialects.messages import Messages
from trimtab.errors import Cause, StageFailed, UpstreamError
from trimtab.events import (
    BlockStop,
    Event,
    Failed,
    Finished,
    Opaque,
    Started,
    StopReason,
    TextDelta,
    ToolDelta,
    Usage,
    replace,
)
from trimtab.exchange import Exchange
from trimtab.hookspecs import Stage, StageOptions, hookimpl
from trimtab.pipeline import Listener
from trimtab.relay import Relay
from trimtab.testing import StageBench

# Ids and times of our own making are the same at every run.
CHAT, MESSAGES = Chat(lambda: "id", lambda: 0.0), Messages(lambda: "id")
DIALECTS: dict[str, Dialect] = {"chat": CHAT, "messages": MESSAGES}


def sse(*values: Any) -> bytes:
    """Frames, with the spaces that some servers write."""
    return b"".join(
        (f"event: {value['type']}\n".encode() if "type" in value else b"")
        + b"data: "
        + json.dumps(value).encode()
        + b"\n\n"
        for value in values
    )


def chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "up-1", "model": "glm", "x_trace": {"b": 1.50}, "choices": [choice], **members}


CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}, "x": 1}
CHAT_STREAM = (
    b": hello\n\n"
    + sse(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "one \u00e9"}),
    )
    + b": still here\n\n"
    + sse(chunk({"content": " two"}), chunk({}, "stop"), {"id": "up-1", "choices": [], "usage": CHAT_USAGE})
    + b"data: [DONE]\n\n"
)
START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "model": "glm",
        "content": [],
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 1},
    },
}
MESSAGES_STREAM = sse(
    {"type": "ping"},
    START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one \u00e9"}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " two"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "read", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7, "x_own": 3}},
    {"type": "message_stop"},
)
STREAMS = {"chat": CHAT_STREAM, "messages": MESSAGES_STREAM}
USAGE = {
    "chat": Usage(input=40, cache_read=60, output=7),
    "messages": Usage(input=40, cache_read=60, output=7),
}

Hook = Callable[[Event], Iterable[Event]]


class Changes(Stage[StageOptions]):
    """Passes events through a function."""

    name = "changes"

    def __init__(self, hook: Hook, *wants: type[Event]) -> None:
        super().__init__(StageOptions())
        self.hook = hook
        self.wants = frozenset(wants)  # type: ignore[misc]

    @hookimpl
    def event(self, exchange: Exchange, event: Event) -> Iterable[Event]:
        return self.hook(event)


class Way:
    """An exchange, its relay, and what the client got."""

    def __init__(
        self,
        name: str,
        *stages: Changes,
        sends: dict[str, Any] | None = None,
        upstream: str = "",
        stop: tuple[str, ...] = (),
    ) -> None:
        body = {"model": "glm", "stream": True, "messages": [{"role": "user", "content": "hi"}], **(sends or {})}
        self.pipeline = (bench := StageBench(*stages)).pipeline
        self.exchange = bench.exchange(body, dialect=name)
        self.exchange.stop_words = stop
        self.upstream, self.client = DIALECTS[upstream or name], DIALECTS[name]
        self.begin()

    def begin(self) -> "Way":
        """From the start, with the exchange as it stands."""
        self.relay = Relay(self.exchange, self.listener, self.upstream, self.client)
        self.got = b""
        return self

    @property
    def listener(self) -> Listener:
        return self.pipeline.listener(self.exchange)

    def feed(self, *chunks: bytes) -> "Way":
        for piece in chunks:
            self.got += self.relay.feed(piece)
        return self

    def finish(self) -> bytes:
        self.got += self.relay.finish()
        return self.got

    @property
    def data(self) -> list[Any]:
        lines = [line[6:] for line in self.got.decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def same(event: Event) -> Iterable[Event]:
    return (event,)


def shout(event: Event) -> Iterable[Event]:
    assert isinstance(event, TextDelta)
    return (replace(event, text=event.text.upper()),)


def double(event: Event) -> Iterable[Event]:
    """Twice the usage that is there."""
    assert isinstance(event, Started | Finished)
    if event.usage is None:
        return (event,)
    return (replace(event, usage=replace(event.usage, input=event.usage.input * 2, output=event.usage.output * 2)),)


BOTH = pytest.mark.parametrize("name", ["chat", "messages"])
EVERY = (Started, TextDelta, BlockStop, ToolDelta, Finished, Failed, Opaque)


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


ERROR = {"chat": sse({"error": {"code": "1302", "type": "rate_limit_error", "message": "too fast"}})}
ERROR["messages"] = sse({"type": "error", "error": {"type": "rate_limit_error", "message": "too fast"}})


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


def first(name: str, frames: int) -> bytes:
    """The first frames of a stream."""
    return b"\n\n".join(STREAMS[name].split(b"\n\n")[:frames]) + b"\n\n"


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


def split(event: Event) -> Iterable[Event]:
    """Each text as two."""
    assert isinstance(event, TextDelta)
    half = len(event.text) // 2
    return (replace(event, text=event.text[:half]), replace(event, text=event.text[half:]))


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


CHAT_BODY = json.dumps(
    {
        "id": "up-1",
        "model": "glm",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "stop"}],
        "usage": CHAT_USAGE,
        "x_own": [1.50],
    },
    indent=1,
).encode()
MESSAGES_BODY = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "one"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 7},
        "x_own": [1.50],
    },
    indent=1,
).encode()
BODIES = {"chat": CHAT_BODY, "messages": MESSAGES_BODY}


def whole(
    name: str, body: bytes, *stages: Changes, client: str = "", sends: dict[str, Any] | None = None
) -> tuple[bytes, Exchange]:
    way = Way(client or name, *stages, sends=sends)
    made = relay.whole(way.exchange, way.listener, DIALECTS[name], DIALECTS[client or name], body)
    return made, way.exchange


@BOTH
@pytest.mark.parametrize("stages", [[], [Changes(same, *EVERY)]])
def test_a_whole_reply_that_nobody_changed_leaves_as_it_came(name: str, stages: list[Changes]) -> None:
    body, exchange = whole(name, BODIES[name], *stages)
    assert body == BODIES[name]
    assert exchange.outcome.usage == USAGE[name]


@BOTH
def test_a_whole_reply_is_patched_in_place(name: str) -> None:
    body, exchange = whole(name, BODIES[name], Changes(shout, TextDelta))
    assert body == BODIES[name].replace(b'"one"', b'"ONE"')
    body, exchange = whole(name, BODIES[name], Changes(double, Finished))
    assert exchange.outcome.usage == USAGE[name]
    assert json.loads(body)["x_own"] == [1.5]
    assert body != BODIES[name]


@BOTH
def test_a_whole_reply_with_other_events_is_made_anew(name: str) -> None:
    body, _ = whole(name, BODIES[name], Changes(split, TextDelta))
    made = json.loads(body)
    said = made["choices"][0]["message"]["content"] if name == "chat" else made["content"][0]["text"]
    assert (said, made["model"]) == ("one", "glm")
    assert whole(name, body)[1].outcome.usage == USAGE[name]


def test_a_whole_reply_in_another_dialect() -> None:
    body, _ = whole("chat", CHAT_BODY, client="messages")
    made = json.loads(body)
    assert (made["model"], made["content"][0]["text"], made["usage"]["input_tokens"]) == ("glm", "one", 40)


def test_what_of_a_reply_another_dialect_cannot_show_is_named() -> None:
    noted = {"role": "assistant", "content": "one", "annotations": [{"type": "url_citation"}]}
    body = json.dumps({**json.loads(CHAT_BODY), "choices": [{"message": noted, "finish_reason": "stop"}]}).encode()
    _, exchange = whole("chat", body, client="messages")
    assert exchange.dropped == ["reply.annotations"]
    assert whole("chat", body)[1].dropped == []
    way = Way("messages", upstream="chat").feed(sse(chunk(noted), chunk({}, "stop"), "[DONE]"))
    assert way.exchange.dropped == ["reply.annotations"]
    gathered = Way("messages").exchange
    relay.gather(gathered, CHAT, sse(chunk(noted), chunk({}, "stop")))
    assert gathered.dropped == ["reply.annotations"]
    assert Way("chat").feed(sse(chunk(noted))).exchange.dropped == []


@BOTH
def test_a_whole_reply_that_is_none(name: str) -> None:
    for body in (b"<html>", b"[]", b"{}", b'{"error":{"message":"too fast","type":"rate_limit_error"}}'):
        with pytest.raises(UpstreamError):
            whole(name, body)


@BOTH
def test_a_stream_that_came_whole_is_gathered(name: str) -> None:
    exchange = Way(name).exchange
    events = relay.gather(exchange, DIALECTS[name], STREAMS[name])
    assert isinstance(events[0] if name == "chat" else events[1], Started | Opaque)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "one \u00e9 two"
    assert exchange.outcome.usage == USAGE[name]
    with pytest.raises(UpstreamError, match="broke off"):
        relay.gather(exchange, DIALECTS[name], first(name, 4))
    with pytest.raises(UpstreamError, match="too fast"):
        relay.gather(exchange, DIALECTS[name], first(name, 4) + ERROR[name])
    assert relay.gather(exchange, DIALECTS[name], STREAMS[name][:-2]) == events


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
