"""Requests in pieces."""

from typing import Any

import msgspec
import pytest

from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable
from trimtab.offline.meter import FRAMING, IMAGE, measured
from trimtab.tokens import tokenizer

MARK = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "x"}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "x"}


def parsed(dialect: str, messages: list[dict[str, Any]], **head: Any) -> Conversation:
    body = msgspec.json.encode({"model": "m", **head, "messages": messages})
    return DIALECTS[dialect].parse(body, MessageTable(1_000_000))


def test_tools_come_before_system_and_messages() -> None:
    tools = [{"name": "ls", "input_schema": {}}]
    request = parsed("messages", [{"role": "user", "content": "go"}], system="be brief", tools=tools)
    found = measured(request)
    assert [each.text for each in found.pieces] == [msgspec.json.encode(tools).decode(), "be brief", "go"]
    count = tokenizer().count
    assert found.tokens == sum(map(count, (msgspec.json.encode(tools).decode(), "be brief", "go"))) + FRAMING
    assert found.stable == 2


def test_the_last_turn_begins_behind_the_last_answer() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
    ]
    found = measured(parsed("chat", messages))
    assert [each.text for each in found.pieces] == ["s", "a", "b", "c", "d"]
    assert found.stable == 3


@pytest.mark.parametrize(
    ("dialect", "message", "marks"),
    [
        ("messages", {"role": "user", "content": [TEXT, {**TEXT, **MARK}]}, [False, True]),
        ("messages", {"role": "user", "content": [{**RESULT, **MARK}]}, [True]),
        ("chat", {"role": "tool", "tool_call_id": "t", "content": [{**TEXT, **MARK}]}, [True]),
        ("chat", {"role": "user", "content": "x", **MARK}, [True]),
        ("chat", {"role": "user", "content": "about \"cache_control\""}, [False]),
    ],
)  # fmt: skip
def test_marks_are_seen_where_they_stand(dialect: str, message: dict[str, Any], marks: list[bool]) -> None:
    assert [each.marked for each in measured(parsed(dialect, [message])).pieces] == marks


def test_a_mark_changes_no_text() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    for block in (image, document, {"type": "unheard_of", "a": 1}):
        plain, marked = (
            measured(parsed("messages", [{"role": "user", "content": [part]}])) for part in (block, {**block, **MARK})
        )
        assert [each.text for each in plain.pieces] == [each.text for each in marked.pieces]


def test_a_picture_counts_by_itself_and_not_by_its_letters() -> None:
    def picture(data: str) -> dict[str, Any]:
        source = {"type": "base64", "media_type": "image/png", "data": data}
        return {"role": "user", "content": [{"type": "image", "source": source}]}

    one, other = (measured(parsed("messages", [picture(data)])) for data in ("QUJD" * 5000, "QUJE" * 5000))
    assert IMAGE <= one.tokens < IMAGE + 100
    assert one.pieces != other.pieces


def test_a_message_that_cannot_be_read_is_one_piece() -> None:
    found = measured(parsed("chat", [{"role": "user", "content": 5}]))
    assert [each.text for each in found.pieces] == ['{"role":"user","content":5}']


def test_a_message_is_counted_once() -> None:
    request = parsed("chat", [{"role": "user", "content": "a"}])
    assert measured(request).pieces[0] is measured(request).pieces[0]
