"""The dialect as a whole: parsing, binding to a request, failures."""

import json
from typing import Any

import pytest

from responding import kinds, replying, request, schema, told, whole
from trimtab.dialects import DIALECTS
from trimtab.dialects.base import Prompt
from trimtab.dialects.responses import RESPONSES, offers
from trimtab.errors import BadRequest, Cause, ProxyError, UpstreamError
from trimtab.events import Failed, Finished, Started, StopReason, TextDelta
from trimtab.memo import MessageTable


def parse(body: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RESPONSES.parse(raw, MessageTable(10**6))


def test_a_text_and_a_list_are_messages_and_leave_as_they_came() -> None:
    for raw in (b'{ "input":"hi","model":"m" }', b'{"input":[ {"role":"user","content":"hi"} ],"model":"m","x":1.0}'):
        conversation = parse(raw)
        assert [message.role for message in conversation.messages] == ["user"]
        assert conversation.render() == raw


def test_an_edit_of_a_text_stays_a_text_and_more_become_a_list() -> None:
    conversation = parse(b'{"input":"hi","model":"m"}')
    [message] = conversation.messages
    new = message.with_blocks([type(message.blocks[0])(text="ho")])
    assert conversation.with_message(0, new).render() == b'{"input":"ho","model":"m"}'
    assert conversation.with_message(0, None).render() == b'{"input":[],"model":"m"}'


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": None}, "input"),
        ({"input": "hi"}, "model"),
        ({"model": "m", "input": [7]}, "input[0]"),
        (b'{"model":"m","input":"a","input":"b"}', "input"),
    ],
)
def test_what_is_missing_or_wrong_is_named(body: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert caught.value.param == param


def test_what_another_response_said_is_not_known_here() -> None:
    with pytest.raises(BadRequest) as caught:
        parse({"model": "m", "input": "hi", "previous_response_id": "resp_1"})
    rendered = RESPONSES.error(caught.value, "req_1")
    error = json.loads(rendered.body)["error"]
    assert (rendered.status, error["code"], error["param"]) == (
        400,
        "previous_response_not_found",
        "previous_response_id",
    )
    assert parse({"model": "m", "input": "hi", "previous_response_id": None}).model == "m"


def test_tools_come_from_the_member_and_from_items_the_member_first() -> None:
    named: list[dict[str, Any]] = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b", "c")]
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [named[1]]},
        {"type": "tool_search_output", "call_id": "c", "tools": [named[0], named[2]]},
        {"role": "user", "content": '"additional_tools"'},
    ]
    found = offers(request(tools=[named[0]], input=items))
    assert list(found.tools) == ["a", "b", "c"]


def test_the_system_prompt_and_the_names_of_tools() -> None:
    conversation = request(instructions="be brief", tools=[{"type": "web_search"}, {"type": "function", "name": "a"}])
    assert [getattr(block, "text", "") for block in conversation.system] == ["be brief"]
    assert [tool.name for tool in conversation.tools] == ["web_search", "a"]
    assert RESPONSES.tool(b'{"name":7}').name == ""


def test_a_trigger_asks_for_a_summary() -> None:
    assert replying().compacts(request(input=[{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]))
    assert not replying().compacts(request(input='{"type":"compaction_trigger"}'))


def test_a_folded_reply_is_the_last_response_of_the_stream() -> None:
    events = [Started(), TextDelta("a", 0), Finished(StopReason.END, None, None, "stop")]
    body = json.loads(replying().fold(events, "m"))
    whole(body)
    assert body == told(replying().encoder("m", usage=False).encode(events))[-1]["response"]
    for broken in ([Started(), Failed("x")], [Started(), TextDelta("a", 0)], [Started(), Finished(StopReason.END)]):
        with pytest.raises(UpstreamError):
            replying().fold(broken, "m")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ProxyError("x", cause=Cause.AUTHENTICATION), 401, "invalid_api_key"),
        (UpstreamError("x", cause=Cause.OVERLOADED, status=529, body=b'{"type":"error"}'), 503, "server_overloaded"),
        (BadRequest("x", param="model"), 400, None),
        (UpstreamError("x", cause=Cause.OVERFLOW), 400, "context_length_exceeded"),
    ],
)
def test_a_failure_before_the_first_byte_is_openais(error: ProxyError, status: int, code: str | None) -> None:
    rendered = replying().error(error, "req_1")
    told_ = json.loads(rendered.body)["error"]
    assert (rendered.status, told_["code"], set(told_)) == (status, code, {"message", "type", "param", "code"})
    assert rendered.headers["x-request-id"] == "req_1"


def test_a_stream_that_does_not_fit_is_told_in_a_stream() -> None:
    rendered = replying(stream=True).error(UpstreamError("too long", cause=Cause.OVERFLOW), "req_1")
    assert rendered.headers["content-type"].startswith("text/event-stream")
    events = told(rendered.body)
    assert kinds(events) == ["created", "in_progress", "failed"]
    assert events[-1]["response"]["error"]["code"] == "context_length_exceeded"
    # Any other failure of a stream that has not begun is an answer of its own.
    assert replying(stream=True).error(UpstreamError("x"), "req_1").status == 502


def test_a_failure_without_a_request_is_an_error_event() -> None:
    [event] = told(RESPONSES.error_frame(UpstreamError("x"), "req_1"))
    schema("ErrorStreamingEvent", event)
    assert (event["type"], event["code"], event["message"], event["param"]) == ("error", "server_error", "x", None)


@pytest.mark.parametrize(
    ("text", "wait", "said"),
    [
        ("slow down.", "7", "slow down. Please try again in 7s."),
        ("slow down, try again in 2s", "7", "slow down, try again in 2s"),
        ("slow down", "soon", "slow down"),
    ],
)
def test_a_rate_limit_tells_the_seconds_to_wait(text: str, wait: str, said: str) -> None:
    error = UpstreamError(text, cause=Cause.RATE_LIMIT, headers={"retry-after": wait})
    assert json.loads(replying().error(error, "r").body)["error"]["message"] == said
    assert told(replying().error_frame(error, "r"))[-1]["response"]["error"] == {
        "code": "rate_limit_exceeded",
        "message": said,
    }


def test_nobody_is_asked_in_this_dialect() -> None:
    for ask in (
        lambda: RESPONSES.compose("m", Prompt(content=())),
        lambda: RESPONSES.decoder(lambda kind: True),
        lambda: RESPONSES.unfold(b"{}"),
    ):
        with pytest.raises(ProxyError):
            ask()
    assert RESPONSES.patch(b"", (), ()) is None
    assert RESPONSES.own_error(UpstreamError("x", body=b'{"error":{"message":"m","type":"t"}}', status=400)) is None


def test_a_count_and_the_table_of_dialects() -> None:
    assert json.loads(RESPONSES.count(7)) == {"object": "response.input_tokens", "input_tokens": 7}
    assert DIALECTS["responses"] is RESPONSES
