"""The dialect `messages` as a whole: bodies of our own, replies, errors."""

import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from trimtab.conversation import Image, Text
from trimtab.dialects.base import Prompt
from trimtab.dialects.messages import MESSAGES, Messages
from trimtab.dialects.messages_encode import OWN_SIGNATURE, signature
from trimtab.dialects.sse import Framer, parse
from trimtab.errors import BadRequest, Cause, ProxyError, Refused, UpstreamError
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
    replace,
)
from trimtab.memo import MessageTable

FIXED = Messages(lambda: "made")
TOLD = Usage(input=3, cache_read=4, cache_write=5, output=6, reasoning=1)
REPLY: list[Event] = [
    Started("msg_1", "theirs", Usage(input=3, cache_read=4)),
    ThinkingDelta("hm", "", 0),
    BlockStop(0),
    TextDelta("é", 1),
    BlockStop(1),
    ToolStart("c1", "read", 2),
    ToolDelta('{"a":', 2),
    ToolDelta("1}", 2),
    BlockStop(2),
    Finished(StopReason.TOOL_USE, TOLD),
]


def frames(*events: Event) -> list[tuple[str, dict[str, Any]]]:
    found = [parse(frame) for frame in Framer().feed(FIXED.encoder("m", usage=False).encode(events))]
    return [(event.decode(), json.loads(data or b"")) for event, data in found]


def blocks(*events: Event) -> list[str]:
    """What a stream shows of its blocks, briefly."""
    shown = []
    for event, data in frames(Started(), *events)[2:]:
        if event == "content_block_start":
            shown.append(f"{data['index']}+{data['content_block']['type']}")
        elif event == "content_block_delta":
            piece = next(value for name, value in data["delta"].items() if name != "type")
            shown.append(f"{data['index']}:{piece}")
        elif event == "content_block_stop":
            shown.append(f"{data['index']}-")
    return shown


def test_tools_are_named() -> None:
    assert MESSAGES.tool(b'{"name":"read"}').name == "read"
    for odd in (b"{}", b"3", b'{"name":null}', b'{"name":3}'):
        assert MESSAGES.tool(odd).name == ""


def test_system_stands_apart() -> None:
    part = b'{"type":"text","text":"b"}'
    body = b'{"model":"m","messages":[],"system":[' + part + b"]}"
    assert MESSAGES.parse(body, MessageTable(100)).system == (Text(text="b", raw=part),)
    assert MESSAGES.parse(b'{"model":"m","messages":[]}', MessageTable(100)).system == ()


def test_a_body_of_our_own() -> None:
    prompt = Prompt(system="s", content=(Text(text="é"),), max_tokens=9, temperature=0.5)
    assert json.loads(MESSAGES.compose("m", prompt)) == {
        "model": "m",
        "max_tokens": 9,
        "system": "s",
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "é"}],
    }
    body = json.loads(MESSAGES.compose("m", Prompt(content=(Text(text="?"), Image(url="http://x")))))
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image"]
    assert body.keys() == {"model", "max_tokens", "messages"}


def test_a_stream() -> None:
    said = frames(*REPLY)
    assert [event for event, _ in said if "block" not in event] == [
        "message_start",
        "ping",
        "message_delta",
        "message_stop",
    ]
    start = said[0][1]["message"]
    assert (start["id"], start["model"], start["content"]) == ("msg_1", "m", [])
    assert (start["usage"]["input_tokens"], start["usage"]["cache_read_input_tokens"]) == (3, 4)
    assert said[-2][1]["usage"] == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 4,
        "output_tokens": 6,
        "output_tokens_details": {"thinking_tokens": 1},
        "server_tool_use": None,
    }
    adapter = TypeAdapter[Any](RawMessageStreamEvent)
    for event, data in said:
        if event != "ping":
            adapter.validate_python(data)


def test_a_thought_is_signed() -> None:
    assert signature("hm").startswith(OWN_SIGNATURE)
    assert blocks(ThinkingDelta("h"), ThinkingDelta("m"), BlockStop()) == [
        "0+thinking",
        "0:h",
        "0:m",
        f"0:{signature('hm')}",
        "0-",
    ]
    assert blocks(ThinkingDelta("h"), ThinkingDelta("", "sig"), BlockStop())[2:] == ["0:sig", "0-"]


def test_blocks_that_overlap_are_put_one_behind_the_other() -> None:
    shown = blocks(
        ThinkingDelta("h", "", 0),
        TextDelta("t", 1),
        ToolStart("c", "n", 2),
        ToolDelta("{}", 2),
        ToolStart("d", "n", 3),
        ThinkingDelta("", "", 0),
        ThinkingDelta("", "late", 0),
        BlockStop(0),
        BlockStop(1),
        BlockStop(2),
        BlockStop(3),
    )
    assert shown == [
        "0+thinking",
        "0:h",
        f"0:{signature('h')}",
        "0-",
        "1+text",
        "1:t",
        "1-",
        "2+tool_use",
        "2:{}",
        "2-",
        "3+tool_use",
        "3-",
    ]


def test_a_call_whose_pieces_are_mixed_with_anothers_waits_its_turn() -> None:
    shown = blocks(
        ToolStart("c", "n", 0),
        ToolDelta('{"a"', 0),
        ToolStart("d", "n", 1),
        ToolDelta('{"b"', 1),
        ToolDelta(":1}", 0),
        ToolDelta(":2}", 1),
        BlockStop(1),
        TextDelta("end", 2),
        Finished(StopReason.TOOL_USE),
    )
    assert shown == [
        "0+tool_use",
        '0:{"a"',
        "0::1}",
        "0-",
        "1+tool_use",
        '1:{"b"',
        "1::2}",
        "1-",
        "2+text",
        "2:end",
        "2-",
    ]


def test_gaps_in_the_numbers_are_closed() -> None:
    assert blocks(TextDelta("a", 4), BlockStop(4), TextDelta("b", 9), BlockStop(9)) == [
        "0+text",
        "0:a",
        "0-",
        "1+text",
        "1:b",
        "1-",
    ]


def test_pieces_of_a_call_that_is_over_or_never_began_are_not_shown() -> None:
    assert blocks(ToolDelta("{}", 3), BlockStop(3)) == []
    closed = (ToolStart("c", "n", 0), ToolDelta("{}", 0), BlockStop(0))
    assert blocks(*closed, ToolDelta("x", 0)) == blocks(*closed)


def test_ids_that_fit_stay() -> None:
    assert frames(Started("msg_7"))[0][1]["message"]["id"] == "msg_7"
    assert frames(Started("chatcmpl-7"))[0][1]["message"]["id"] == "msg_made"
    assert frames(TextDelta("a"))[0][1]["message"]["id"] == "msg_made"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StopReason.END, "end_turn"),
        (StopReason.STOP_SEQUENCE, "stop_sequence"),
        (StopReason.LENGTH, "max_tokens"),
        (StopReason.TOOL_USE, "tool_use"),
        (StopReason.PAUSE, "pause_turn"),
        (StopReason.REFUSAL, "refusal"),
        (StopReason.CONTEXT, "model_context_window_exceeded"),
    ],
)
def test_reasons(reason: StopReason, word: str) -> None:
    delta = frames(Started(), Finished(reason, stop_sequence="END"))[-2][1]["delta"]
    assert delta == {"stop_reason": word, "stop_sequence": "END", "stop_details": None, "container": None}


def opaque(kind: str, **members: Any) -> Opaque:
    data = json.dumps({"type": kind, **members})
    return Opaque(f"event: {kind}\ndata: {data}\n\n".encode(), kind, "messages")


SERVER = [
    opaque("content_block_start", index=1, content_block={"type": "server_tool_use", "id": "s", "input": {}}),
    opaque("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"q":1}'}),
    opaque("content_block_stop", index=1),
]


def test_unknown_frames_of_this_dialect_are_shown() -> None:
    ping = opaque("ping")
    encoder = FIXED.encoder("m", usage=False)
    assert encoder.encode([ping]) == ping.raw
    assert encoder.encode([Opaque(b": x\n\n", "comment", "chat")]) == b""
    assert blocks(TextDelta("a", 0), BlockStop(0), *SERVER, TextDelta("b", 2), BlockStop(2)) == [
        "0+text",
        "0:a",
        "0-",
        "1+server_tool_use",
        '1:{"q":1}',
        "1-",
        "2+text",
        "2:b",
        "2-",
    ]


def test_unknown_blocks_get_our_numbers() -> None:
    assert blocks(*SERVER, TextDelta("b", 2))[:4] == ["0+server_tool_use", '0:{"q":1}', "0-", "1+text"]
    citation = opaque("content_block_delta", index=0, delta={"type": "citations_delta", "citation": "c"})
    assert blocks(TextDelta("a", 0), citation, BlockStop(0)) == ["0+text", "0:a", "0:c", "0-"]
    assert blocks(citation) == []
    whole = Opaque(b'{"type":"redacted_thinking","data":"x"}', "redacted_thinking", "messages")
    assert blocks(whole, TextDelta("a", 1)) == ["0+redacted_thinking", "0-", "1+text", "1:a"]
    assert blocks(Opaque(b"broken\n\n", "content_block_stop", "messages")) == []


def test_a_whole_reply() -> None:
    body = json.loads(FIXED.fold(REPLY, "m"))
    Message.model_validate(body)
    assert body["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": signature("hm")},
        {"type": "text", "text": "é", "citations": None},
        {"type": "tool_use", "id": "c1", "name": "read", "input": {"a": 1}, "caller": {"type": "direct"}},
    ]
    assert (body["stop_reason"], body["model"], body["usage"]["output_tokens"]) == ("tool_use", "m", 6)


def test_a_reply_with_odd_blocks() -> None:
    events = [*SERVER, TextDelta("", 2), ThinkingDelta("", "", 3), ToolStart("c", "n", 4), ToolDelta("{broken", 4)]
    body = json.loads(FIXED.fold([*events, opaque("ping"), Finished(StopReason.TOOL_USE)], "m"))
    assert body["content"] == [
        {"type": "server_tool_use", "id": "s", "input": {"q": 1}},
        {"type": "tool_use", "id": "c", "name": "n", "input": {"_raw": "{broken"}, "caller": {"type": "direct"}},
    ]
    foreign = Opaque(b'{"type":"x"}', "x", "chat")
    assert json.loads(FIXED.fold([foreign, Finished(StopReason.END)], "m"))["content"] == []


def test_unknown_blocks_survive_unfolding_and_folding() -> None:
    block = {"type": "web_search_tool_result", "text": 3, "content": []}
    body = json.dumps({"id": "msg_1", "content": [block], "stop_reason": "end_turn"}).encode()
    events = MESSAGES.unfold(body)
    assert [type(event) for event in events] == [Started, Opaque, Finished]
    assert json.loads(MESSAGES.fold(events, "m"))["content"] == [block]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>", Cause.UPSTREAM),
        (b'{"id":"x"}', Cause.UPSTREAM),
        (b'{"content":3}', Cause.UPSTREAM),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', Cause.OVERLOADED),
        (b'{"content":[],"stop_reason":"network_error"}', Cause.UPSTREAM),
    ],
)
def test_a_body_that_is_no_reply(body: bytes, cause: Cause) -> None:
    with pytest.raises(UpstreamError) as caught:
        MESSAGES.unfold(body)
    assert caught.value.cause is cause


def test_our_own_count_is_written_into_a_start_that_says_nothing() -> None:
    lead = b'event: message_start\ndata: {"type":"message_start","message":{"id":"a","usage":{"input_tokens":'
    raw = lead + b'0,"x":1}}}\n\n'
    before = [Started("a")]
    patched = MESSAGES.patch(raw, before, [replace(before[0], usage=Usage(input=9))])
    assert patched is not None
    assert patched.startswith(lead + b'9,"x":1')
    assert [*MESSAGES.decoder(lambda _: True).decode(patched)] == [Started("a", "", Usage(input=9))]


def test_a_patch_keeps_everything_else() -> None:
    raw = (
        b'event: message_delta\r\ndata:{"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        b'"usage":{"output_tokens":5, "x":1.0}}\r\n\r\n'
    )
    before = Finished(StopReason.END, Usage(output=5), None, "end_turn")
    assert MESSAGES.patch(raw, [before], [replace(before, usage=Usage(output=50))]) == raw.replace(b"5,", b"50,")
    after = replace(before, reason=StopReason.LENGTH, stop_sequence="x")
    assert MESSAGES.patch(raw, [before], [after]) == raw.replace(b'"end_turn"', b'"max_tokens","stop_sequence":"x"')


def test_patches_that_cannot_be() -> None:
    end = Finished(StopReason.END)
    stop = b'data: {"type":"message_stop"}\n\n'
    assert MESSAGES.patch(stop, [end], [replace(end, usage=Usage(input=1))]) is None
    held = b'data: {"type":"content_block_stop","index":0}\n\n'
    assert MESSAGES.patch(held, [ToolDelta("{}"), BlockStop()], [ToolDelta("{1}"), BlockStop()]) is None
    assert MESSAGES.patch(held, [BlockStop(0)], [BlockStop(2)]) == held.replace(b"0}", b"2}")
    assert MESSAGES.patch(held, [BlockStop(0)], []) is None
    assert MESSAGES.patch(b"data: {\ndata: }\n\n", [BlockStop(0)], [BlockStop(1)]) is None
    assert MESSAGES.patch(b": x\n\n", [SERVER[0]], [SERVER[1]]) is None
    body = b'{"content":[{"type":"text","text":"a"}],"usage":{}}'
    assert MESSAGES.patch(body, [TextDelta("a", 0)], [TextDelta("a", 1)]) is None
    assert MESSAGES.patch(body, [TextDelta("b", 0)], [TextDelta("c", 0)]) is None
    assert MESSAGES.patch(body, [Started()], [Started(usage=Usage(input=1))]) == body


def test_a_failure_can_be_patched() -> None:
    raw = b'event: error\ndata: {"type":"error","error":{"type":"x","message":"a"}}\n\n'
    assert MESSAGES.patch(raw, [Failed("a")], [Failed("b")]) == raw.replace(b'"a"', b'"b"')


def shown(error: ProxyError) -> tuple[int, dict[str, Any], dict[str, str]]:
    answer = MESSAGES.error(error, "req_1")
    body: dict[str, Any] = json.loads(answer.body)
    frame = parse(MESSAGES.error_frame(error, "req_1"))
    assert frame.event == b"error"
    assert json.loads(frame.data or b"") == body
    return answer.status, body, answer.headers


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_a_form(cause: Cause) -> None:
    status, body, headers = shown(ProxyError("why", cause=cause))
    assert status >= 400
    assert body == {"type": "error", "error": {"type": body["error"]["type"], "message": "why"}, "request_id": "req_1"}
    assert headers["request-id"] == "req_1"
    assert headers["x-should-retry"] in ("true", "false")


def test_the_words_on_which_clients_act() -> None:
    text = "prompt is too long: 9 tokens > 8 maximum"
    status, body, _ = shown(BadRequest(text, cause=Cause.OVERFLOW))
    assert (status, body["error"]) == (400, {"type": "invalid_request_error", "message": text})
    status, body, headers = shown(Refused("x", cause=Cause.OVERLOADED, headers={"retry-after": "5"}))
    assert (status, body["error"]["type"], headers["retry-after"]) == (529, "overloaded_error", "5")
    assert shown(ProxyError("x", cause=Cause.UNSUPPORTED))[0] == 501


def test_an_upstreams_own_error_passes() -> None:
    body = b'{ "type":"error","error":{"type":"weird","message":"no"},"request_id":"theirs" }'
    answer = MESSAGES.error(UpstreamError("x", status=418, body=body), "req_1")
    assert (answer.status, answer.body) == (418, body)


def test_an_error_in_the_other_form_is_told_in_ours() -> None:
    body = b'{"error":{"code":401,"type":"authentication_error","message":"Invalid API Key"}}'
    error = UpstreamError("x", cause=Cause.AUTHENTICATION, status=401, body=body)
    status, told, _ = shown(error)
    assert (status, told["error"]) == (
        401,
        {"type": "authentication_error", "message": "Invalid API Key"},
    )
    status, told, _ = shown(UpstreamError("x", cause=Cause.OVERLOADED, status=503, body=b'{"message":"busy"}'))
    assert (status, told["error"]["message"]) == (529, "busy")


def test_count() -> None:
    assert MESSAGES.count(42) == b'{"input_tokens":42}'


def test_the_ping() -> None:
    assert parse(MESSAGES.ping).event == b"ping"
