"""The dialect `chat` as a whole: bodies of our own, replies, errors."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from trimtab.conversation import Image, Text
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Prompt
from trimtab.dialects.chat import CHAT, Chat
from trimtab.dialects.sse import Framer, parse
from trimtab.errors import BadRequest, Cause, ProxyError, Refused, StageFailed, UpstreamError
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

FIXED = Chat(lambda: "made", lambda: 7.9)
REPLY: list[Event] = [
    Started("chatcmpl-1", "theirs"),
    ThinkingDelta("hm", "sig", 0),
    BlockStop(0),
    TextDelta("é", 1),
    BlockStop(1),
    ToolStart("c1", "read", 2),
    BlockStop(2),
    ToolStart("c2", "list", 3),
    ToolDelta("{}", 3),
    BlockStop(3),
    Finished(StopReason.TOOL_USE, Usage(input=3, cache_read=4, cache_write=5, output=6, reasoning=1)),
]


def chunks(events: list[Event], *, usage: bool) -> list[dict[str, Any]]:
    frames = Framer().feed(FIXED.encoder("m", usage=usage).encode(events))
    assert frames[-1] == b"data: [DONE]\n\n"
    return [json.loads(parse(frame).data or b"") for frame in frames[:-1]]


def test_the_dialects_by_name() -> None:
    assert DIALECTS["chat"] is CHAT
    assert [dialect.name for dialect in DIALECTS.values()] == list(DIALECTS)


def test_tools_are_named() -> None:
    assert CHAT.tool(b'{"type":"function","function":{"name":"read"}}').name == "read"
    assert CHAT.tool(b'{"name":"flat"}').name == "flat"
    for odd in (b"{}", b"3", b'{"function":{"name":null}}', b'{"function":3}'):
        assert CHAT.tool(odd).name == ""
        assert CHAT.tool(odd).raw == odd


def test_the_system_prompt_is_a_message() -> None:
    body = b'{"model":"m","system":"x","messages":[]}'
    assert CHAT.parse(body, MessageTable(100)).system == ()


def test_a_body_of_our_own() -> None:
    prompt = Prompt(system="s", content=(Text(text="é"),), max_tokens=9, temperature=0.0)
    assert json.loads(CHAT.compose("m", prompt)) == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "é"}],
        "max_tokens": 9,
        "temperature": 0.0,
    }
    image = Prompt(content=(Text(text="what?"), Image(media_type="image/png", data="aGk=")))
    body = json.loads(CHAT.compose("m", image))
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url"]
    assert "temperature" not in body


def test_a_stream() -> None:
    said = chunks(REPLY, usage=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in said[:-1]]
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "read", "arguments": ""}}
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "é"},
        {"tool_calls": [first]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{**first, "index": 1, "id": "c2", "function": {"name": "list", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in said} == {
        ("chatcmpl-1", "chat.completion.chunk", 7, "m")
    }
    assert said[-1]["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 6,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    for chunk in said:
        ChatCompletionChunk.model_validate(chunk)


def test_usage_only_for_those_who_asked() -> None:
    assert not [chunk for chunk in chunks(REPLY, usage=False) if "usage" in chunk]


def test_an_id_of_another_dialect_is_replaced() -> None:
    assert chunks([Started("msg_1"), Finished(StopReason.END)], usage=True)[0]["id"] == "chatcmpl-made"
    assert chunks([Finished(StopReason.END)], usage=True)[0]["id"] == "chatcmpl-made"
    assert CHAT.encoder("m", usage=False).encode([Started()]) != CHAT.encoder("m", usage=False).encode([Started()])


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StopReason.END, "stop"),
        (StopReason.STOP_SEQUENCE, "stop"),
        (StopReason.LENGTH, "length"),
        (StopReason.TOOL_USE, "tool_calls"),
        (StopReason.PAUSE, "stop"),
        (StopReason.REFUSAL, "content_filter"),
        (StopReason.CONTEXT, "length"),
    ],
)
def test_reasons(reason: StopReason, word: str) -> None:
    assert chunks([Started(), Finished(reason)], usage=False)[-1]["choices"][0]["finish_reason"] == word


def test_only_frames_of_this_dialect_are_shown() -> None:
    encoder = FIXED.encoder("m", usage=False)
    assert encoder.encode([Opaque(b": hi\n\n", "comment", "chat"), Opaque(b"event: ping\n\n", "ping", "messages")]) == (
        b": hi\n\n"
    )
    assert encoder.encode([ToolDelta("{}", 9), BlockStop(9)]).count(b"data:") == 1


def test_a_whole_reply() -> None:
    body = json.loads(FIXED.fold(REPLY, "m"))
    ChatCompletion.model_validate(body)
    choice = body["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "é"
    assert choice["message"]["reasoning_content"] == "hm"
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ["{}", "{}"]
    assert body["usage"]["total_tokens"] == 18


def test_a_reply_without_text() -> None:
    empty = json.loads(FIXED.fold([Started(), Finished(StopReason.END)], "m"))
    assert empty["choices"][0]["message"]["content"] == ""
    assert "usage" not in empty
    called = json.loads(FIXED.fold([ToolStart("c", "n"), Finished(StopReason.TOOL_USE)], "m"))
    assert called["choices"][0]["message"]["content"] is None


def test_a_reply_that_failed_or_broke_off_is_none() -> None:
    with pytest.raises(UpstreamError, match="busy") as caught:
        FIXED.fold([Started(), Failed("busy", Cause.OVERLOADED)], "m")
    assert caught.value.cause is Cause.OVERLOADED
    with pytest.raises(UpstreamError, match="broke off"):
        FIXED.fold([Started(), TextDelta("a")], "m")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"<html>", Cause.UPSTREAM),
        (b"[]", Cause.UPSTREAM),
        (b'{"id":"x"}', Cause.UPSTREAM),
        (b'{"choices":[]}', Cause.UPSTREAM),
        (b'{"error":{"code":"1261","message":"Prompt exceeds max length"}}', Cause.OVERFLOW),
        (b'{"choices":[{"message":{},"finish_reason":"network_error"}]}', Cause.UPSTREAM),
    ],
)
def test_a_body_that_is_no_reply(body: bytes, cause: Cause) -> None:
    with pytest.raises(UpstreamError) as caught:
        CHAT.unfold(body)
    assert caught.value.cause is cause


def test_an_odd_reply_is_still_read() -> None:
    chat, calls = Chat(lambda: "new"), b'[{"function":{"name":"n"}}]'
    assert chat.unfold(b'{"choices":[{"message":{"content":null,"tool_calls":%b}}]}' % calls) == [
        Started(),
        ToolStart("call_new", "n", 0),
        ToolDelta("{}", 0),
        BlockStop(0),
        Finished(StopReason.END),
    ]


def test_patches_that_cannot_be() -> None:
    done = b"data: [DONE]\n\n"
    end = Finished(StopReason.END)
    assert CHAT.patch(done, [end], [end]) == done
    assert CHAT.patch(done, [end], [replace(end, usage=Usage(input=1))]) is None
    chunk = b'data: {"choices":[{"index":0,"delta":{"refusal":"no"}}]}\n\n'
    assert CHAT.patch(chunk, [TextDelta("no")], [TextDelta("yes")]) is None
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert CHAT.patch(usage, [end], [replace(end, reason=StopReason.LENGTH)]) is None
    assert CHAT.patch(usage, [replace(end, usage=Usage(input=1))], [end]) is None
    opaque = Opaque(b": a\n\n", "comment", "chat")
    assert CHAT.patch(opaque.raw, [opaque], [replace(opaque, raw=b": b\n\n")]) is None
    two = b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"a"}},{}]}}]}\n\n'
    assert CHAT.patch(two, [ToolDelta("a", 3)], [ToolDelta("b", 3)]) is None


def test_a_patch_keeps_everything_else() -> None:
    raw = b'event: x\r\ndata: {"usage" : {"prompt_tokens": 30, "x":1.0},"choices":[{"finish_reason":"stop"}] }\r\n\r\n'
    before = Finished(StopReason.END, Usage(input=30), None, "stop")
    after = replace(before, usage=Usage(input=10, cache_read=20, output=2), reason=StopReason.LENGTH)
    assert CHAT.patch(raw, [before], [after]) == (
        b'event: x\r\ndata: {"usage" : {"prompt_tokens": 30, "x":1.0,"completion_tokens":2,"total_tokens":32,'
        b'"prompt_tokens_details":{"cached_tokens":20}},"choices":[{"finish_reason":"length"}] }\r\n\r\n'
    )


def shown(error: ProxyError) -> tuple[int, dict[str, Any], dict[str, str]]:
    answer = CHAT.error(error, "req_1")
    body: dict[str, Any] = json.loads(answer.body)["error"]
    assert json.loads(parse(CHAT.error_frame(error, "req_1")).data or b"")["error"] == body
    return answer.status, body, answer.headers


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_a_form(cause: Cause) -> None:
    status, body, headers = shown(ProxyError("why", cause=cause, param="p"))
    assert status >= 400
    assert body.keys() == {"message", "type", "param", "code"}
    assert (body["message"], body["param"]) == ("why", "p")
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "req_1"
    assert headers["x-should-retry"] in ("true", "false")


def test_the_words_on_which_clients_act() -> None:
    status, body, _ = shown(BadRequest("too long", cause=Cause.OVERFLOW, param="messages"))
    assert (status, body["code"]) == (400, "context_length_exceeded")
    status, body, headers = shown(Refused("wait", cause=Cause.QUOTA, headers={"retry-after": "3600"}))
    assert (status, body["type"], headers["x-should-retry"]) == (429, "insufficient_quota", "false")
    assert headers["retry-after"] == "3600"
    status, body, headers = shown(Refused("wait", cause=Cause.RATE_LIMIT))
    assert (status, body["code"], headers["x-should-retry"]) == (429, "rate_limit_exceeded", "true")
    assert shown(StageFailed("x", "y"))[0] == 500
    assert shown(ProxyError("x", cause=Cause.UNSUPPORTED))[0] == 501


def test_an_upstreams_own_error_passes() -> None:
    body = b'{ "error":{"message":"no","type":"weird","code":7,"x":1} }'
    answer = CHAT.error(UpstreamError("x", status=418, body=body), "req_1")
    assert (answer.status, answer.body) == (418, body.replace(b'"x":1', b'"x":1,"param":null'))
    frame = CHAT.error_frame(UpstreamError("x", status=418, body=b'{\n"error":{"message":"a","type":"b"}\n}'), "r")
    assert frame == b'data: {"error":{"message":"a","type":"b"}}\n\n'


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"error":{"code":"1302","message":"slow"}}', "application/json", "slow (upstream code 1302)"),
        (b'{"type":"error","error":{"type":"api_error","message":"a"}}', "application/json", "a"),
        (b'{"message":"down"}', "application/json", "down"),
        (b'{"detail":"down"}', "application/json", "down"),
        (b"<html>secret</html>", "text/html; charset=utf-8", "the upstream answered 502 with text/html"),
        (b"", None, "the upstream answered 502 with no content type"),
        (b"{}", "application/json", "the upstream gave no reason"),
    ],
)
def test_other_errors_of_an_upstream_are_told_in_our_form(body: bytes, kind: str | None, message: str) -> None:
    status, told, _ = shown(UpstreamError("x", status=502, body=body, content_type=kind))
    assert (status, told["message"], told["code"]) == (502, message, "upstream_error")


def test_an_overflow_is_told_in_our_words_whatever_the_upstream_said() -> None:
    theirs = b'{"error":{"message":"Prompt exceeds max length","type":"x","code":"1261"}}'
    error = UpstreamError("maximum context length is 8 tokens", cause=Cause.OVERFLOW, status=400, body=theirs)
    status, told, _ = shown(error)
    assert (status, told["message"]) == (400, "maximum context length is 8 tokens")


def test_keys_are_hidden() -> None:
    key = "0123456789abcdef0123456789abcdef.AbCdEfGhIjKlMnOp"
    assert shown(ProxyError(f"the key {key} is bad"))[1]["message"] == "the key *** is bad"
    body = json.dumps({"error": {"message": "Incorrect API key: sk-proj-12345.", "type": "a"}}).encode()
    assert b"sk-" not in CHAT.error(UpstreamError("x", status=401, body=body), "r").body


def test_there_is_nothing_to_count() -> None:
    with pytest.raises(BadRequest) as caught:
        CHAT.count(3)
    assert caught.value.cause is Cause.NOT_FOUND


def test_the_ping_is_a_comment() -> None:
    assert parse(CHAT.ping).data is None
