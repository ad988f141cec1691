"""Replies in the dialect of Chat Completions."""

from typing import Any

import msgspec
import pytest
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.echo.client import fold_chat, sse
from trimtab.echo import chat
from trimtab.echo.faults import Fault
from trimtab.echo.nouns import Call, Reply, Usage
from trimtab.echo.prompt import Request

USAGE = Usage(prompt=300, cached=256, output=40, reasoning=8)
REPLIES = [
    Reply("0123456789abcdef" * 4, "glm", thinking, text, call, USAGE)
    for thinking in (None, "Let me think about it for a while.")
    for text, call in (
        ("Ein längerer Text, mit 🚢 und allem.", None),
        ("", None),
        (None, Call("look", '{"path":"a/längerer/name","deep":[1,2]}')),
        (None, Call("run", "{}")),
    )
]


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_the_folded_stream_is_the_answer(reply: Reply, chunk: int) -> None:
    whole = msgspec.json.decode(msgspec.json.encode(chat.answer(reply)))
    assert fold_chat(list(chat.events(reply, chunk, usage=True))) == whole


@pytest.mark.parametrize("reply", REPLIES)
def test_the_official_sdk_reads_it_strictly(reply: Reply) -> None:
    ChatCompletion.model_validate_json(msgspec.json.encode(chat.answer(reply)), strict=True)
    for _, event in sse(list(chat.events(reply, 7, usage=True)))[:-1]:
        ChatCompletionChunk.model_validate(event, strict=True)


def test_usage_is_streamed_only_when_asked_for() -> None:
    events = [event for _, event in sse(list(chat.events(REPLIES[0], 9, usage=False)))]
    assert events[-1] == "[DONE]"
    assert all("usage" not in event and event["choices"] for event in events[:-1])


def test_usage_is_that_of_a_provider() -> None:
    assert chat.answer(REPLIES[0])["usage"] == {
        "prompt_tokens": 300,
        "completion_tokens": 40,
        "total_tokens": 340,
        "prompt_tokens_details": {"cached_tokens": 256},
        "completion_tokens_details": {"reasoning_tokens": 8},
    }


def test_a_call_opens_with_its_name_and_its_arguments_come_in_pieces() -> None:
    events = [event for _, event in sse(list(chat.events(REPLIES[2], 20, usage=False)))[:-1]]
    calls = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert calls[0]["function"] == {"name": "look", "arguments": ""}
    assert calls[0]["type"] == "function"
    assert len(calls) > 5
    assert all(call.keys() == {"index", "function"} for call in calls[1:])


def test_thinking_comes_before_the_text() -> None:
    events = [event for _, event in sse(list(chat.events(REPLIES[4], 10, usage=False)))[:-1]]
    kinds = [next(iter(event["choices"][0]["delta"]), "") for event in events]
    assert list(dict.fromkeys(kinds)) == ["role", "reasoning_content", "content", ""]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, False),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "disabled"}, "reasoning_effort": "high"}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none"}, False),
    ],
)
def test_when_it_thinks(members: dict[str, Any], expected: bool) -> None:
    assert chat.thinks(Request("m", [], **members)) is expected


def test_an_error_has_all_four_keys() -> None:
    assert chat.error(Fault(400, "no", "context_length_exceeded"), "req_1") == {
        "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    }
    assert chat.error(Fault(400, "no"), "req_1")["error"]["code"] is None
    assert "maximum context length is 100 tokens" in chat.overflow(101, 100)


def test_models_are_listed() -> None:
    listed = chat.models(["a", "b"], 1000)
    assert [Model.model_validate(model, strict=True).id for model in listed["data"]] == ["a", "b"]
    assert listed["object"] == "list"
