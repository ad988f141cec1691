"""A session grows by an answer and the results of its calls, and each request extends the one before."""

import json
from typing import Any

import pytest

from trimtab.demo.session import ChatSession, MessagesSession, Session
from trimtab.demo.workspace import environment

TOOL_USE: dict[str, Any] = {
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "a.py"}}]
}
SAYS = {"content": [{"type": "text", "text": "Done."}]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": "{}"}}
NAMED = "call_0001_0"
TOOL_CALLS: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}]}
SAYS_CHAT = {"choices": [{"message": {"role": "assistant", "content": "Done."}}]}


def request(session: Session) -> Any:
    return json.loads(session.body())


def unmarked(messages: Any) -> Any:
    for message in messages:
        for block in message["content"]:
            block.pop("cache_control", None)
    return messages


def test_an_anthropic_tool_call_gets_its_result() -> None:
    session = MessagesSession("m", "0000")
    session.answered(TOOL_USE)
    *_, call, result = request(session)["messages"]
    assert call == {"role": "assistant", "content": [{**TOOL_USE["content"][0], "id": NAMED}]}
    assert result["content"][0]["tool_use_id"] == NAMED
    assert "def " in result["content"][0]["content"]


def test_an_openai_tool_call_gets_its_result() -> None:
    session = ChatSession("m", "0000")
    session.answered(TOOL_CALLS)
    *_, call, result, _ = request(session)["messages"]
    assert call["tool_calls"] == [{**CALL, "id": NAMED}]
    assert (result["role"], result["tool_call_id"]) == ("tool", NAMED)


@pytest.mark.parametrize(("kind", "answer"), [(MessagesSession, TOOL_USE), (ChatSession, TOOL_CALLS)])
def test_every_turn_of_the_user_ends_with_the_environment(kind: type[Session], answer: Any) -> None:
    session = kind("m", "0000")
    first = request(session)["messages"][-1]
    session.answered(answer)
    second = request(session)["messages"][-1]
    ends = [message["content"][-1]["text"] for message in (first, second)]
    assert [message["role"] for message in (first, second)] == ["user", "user"]
    assert ends == [environment(0, "0000"), environment(1, "0000")]


def test_an_answer_without_a_call_ends_the_loop() -> None:
    anthropic, chat = MessagesSession("m", "0000"), ChatSession("m", "0000")
    anthropic.answered(SAYS)
    chat.answered(SAYS_CHAT)
    assert request(anthropic)["messages"][-1] == {"role": "assistant", "content": [marked(SAYS)]}
    assert request(chat)["messages"][-1]["role"] == "assistant"


def marked(answer: Any) -> Any:
    return {**answer["content"][0], "cache_control": {"type": "ephemeral"}}


def test_each_anthropic_request_extends_the_one_before() -> None:
    session = MessagesSession("m", "0000")
    first = request(session)
    session.answered(TOOL_USE)
    second = request(session)
    assert unmarked(second["messages"])[:1] == unmarked(first["messages"])
    assert (second["system"], second["tools"]) == (first["system"], first["tools"])


def test_each_openai_request_extends_the_one_before() -> None:
    session = ChatSession("m", "0000")
    first = request(session)
    session.answered(TOOL_CALLS)
    second = request(session)
    assert second["messages"][:2] == first["messages"]
    assert second["tools"] == first["tools"]


@pytest.mark.parametrize("kind", [MessagesSession, ChatSession])
def test_requests_stream_and_depend_on_nothing_but_the_arguments(kind: type[Session]) -> None:
    assert kind("m", "0001").body() == kind("m", "0001").body()
    assert kind("m", "0001").body() != kind("m", "0002").body()
    assert request(kind("m", "0001"))["stream"] is True


def test_one_cache_mark_moves_along_with_the_last_message() -> None:
    session = MessagesSession("m", "0000")
    session.answered(TOOL_USE)
    assert [json.dumps(message).count("cache_control") for message in request(session)["messages"]] == [0, 0, 1]
