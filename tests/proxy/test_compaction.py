"""A client's own request to summarise its conversation, as context.md 4.6 records the forms."""

import json
from typing import Any

import pytest

from trimtab.compaction import HEADERS, PHRASES, requested
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable
from trimtab.testing import StageBench

CLAUDE_CODE = (
    "Your task is to create a detailed summary of the conversation so far, paying close attention to the user's "
    "explicit requests and your previous actions."
)
ROO_SYSTEM = "You are a helpful AI assistant tasked with summarizing conversations."
ROO = "CRITICAL: This is a summarization-only request. DO NOT call any tools or functions."
OPENCODE = "Provide a detailed prompt for continuing our conversation above. Focus on what was done."
CLINE = "Summarize the provided coding session into a concise continuation note for another agent."
ANTHROPIC = "You have written a partial transcript for the initial task above. Please write a summary of it."


def asks(body: dict[str, Any], dialect: str, headers: dict[str, str] | None = None) -> bool:
    case = StageBench().exchange(body, dialect=dialect, headers=headers)
    return case.compaction


def messages(*turns: Any, **members: Any) -> dict[str, Any]:
    """Turns of user and assistant, the user's first."""
    roles = ("user", "assistant") * len(turns)
    said = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    return {"model": "small", "max_tokens": 9, "messages": said, **members}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("text", [CLAUDE_CODE, ROO, OPENCODE, CLINE, ANTHROPIC])
def test_the_words_of_each_client_in_the_last_user_message(text: str, dialect: str) -> None:
    assert asks(messages("do it", "done", text), dialect)
    assert asks(messages("do it", "done", [{"type": "text", "text": f'{text}\n\n\u00e9 "and" more'}]), dialect)
    assert not asks(messages(text, "a summary", "go on"), dialect)
    assert not asks(messages("do it", text), dialect)


def test_roos_system_prompt_in_both_dialects() -> None:
    blocks = [{"type": "text", "text": ROO_SYSTEM, "cache_control": {"type": "ephemeral"}}]
    assert asks(messages("history", system=ROO_SYSTEM), "messages")
    assert asks(messages("history", system=blocks), "messages")
    chat = messages("history")
    for role in ("system", "developer"):
        said = [{"role": role, "content": ROO_SYSTEM}, *chat["messages"]]
        assert asks({**chat, "messages": said}, "chat")


def test_a_user_who_quotes_a_system_prompt_asks_for_no_summary() -> None:
    for dialect in ("chat", "messages"):
        assert not asks(messages(f"What does '{ROO_SYSTEM}' do?", "it", "thanks"), dialect)


def test_a_file_that_a_tool_read_is_no_request() -> None:
    call = [{"type": "tool_use", "id": "t1", "name": "read", "input": {}}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": CLAUDE_CODE}]}
    assert not asks(messages("read it", call, [result]), "messages")
    assert asks(messages("read it", call, [result, {"type": "text", "text": CLAUDE_CODE}]), "messages")
    chat = messages("read it")
    chat["messages"].append({"role": "tool", "tool_call_id": "t1", "content": CLAUDE_CODE})
    assert not asks(chat, "chat")


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_says_so(name: str) -> None:
    for value, answer in (("true", True), ("1", True), ("auto", True), ("false", False), ("0", False), ("", False)):
        assert asks(messages("hello"), "messages", {name: value}) is answer


def test_a_header_that_says_it_is_over_does_not() -> None:
    for name in ("x-cc-context-compacted", "x-claude-code-context-compacted"):
        assert not asks(messages("hello"), "messages", {name: "true"})


def test_what_cannot_be_read_asks_for_nothing() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":{"text":"%s"}}]}' % CLAUDE_CODE.encode()
    assert not requested(DIALECTS["messages"].parse(body, MessageTable(9999)), {})
    assert not requested(DIALECTS["chat"].parse(b'{"model":"m","messages":[]}', MessageTable(9999)), {})


def test_such_a_request_is_not_edited() -> None:
    case = StageBench().exchange(messages("do it", "done", CLAUDE_CODE), dialect="messages")
    assert not case.edit(0, None, "too long")
    assert (case.conversation, case.edits) == (case.received, [])


def test_a_phrase_beside_a_large_picture_is_found_in_the_texts() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 1_100_000}}
    for said, found in ((PHRASES[0].decode(), True), ("go on", False)):
        content = [picture, {"type": "text", "text": said}]
        body = json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}]}).encode()
        assert requested(DIALECTS["messages"].parse(body, MessageTable(9999)), {}) is found


def test_of_a_huge_text_the_ends_are_searched() -> None:
    for before, behind, found in ((0, 2_000_000, True), (2_000_000, 0, True), (2_000_000, 2_000_000, False)):
        said = f"{'a' * before} {PHRASES[0].decode()} {'z' * behind}"
        assert asks(messages("do it", "done", said), "messages") is found
