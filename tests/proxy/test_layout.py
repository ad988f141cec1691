"""Where messages begin, and where a conversation may be cut."""

import json
from typing import Any

import pytest

from trimtab import layout as module
from trimtab.conversation import Conversation, Message
from trimtab.dialects import DIALECTS
from trimtab.layout import layout
from trimtab.measure import Measure, measure
from trimtab.memo import MessageTable

CALL = {"type": "tool_use", "id": "c1", "name": "read", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "text"}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "do it"},
    {"role": "assistant", "content": [CALL]},
    {"role": "user", "content": [RESULT]},
    {"role": "assistant", "content": "done"},
    {"role": "user", "content": "go on"},
    {"role": "assistant", "content": "gone on"},
]


def session(messages: list[dict[str, Any]], table: MessageTable | None = None) -> Conversation:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()
    return DIALECTS["messages"].parse(body, MessageTable(10**7) if table is None else table)


def test_a_cut_is_safe_where_no_call_is_parted_from_its_result() -> None:
    assert layout(session(TURNS)).safe == (1, 3, 4, 5)


def test_a_message_begins_behind_those_before_it() -> None:
    conversation = session(TURNS)
    sizes = [measure(message).plain for message in conversation.messages]
    assert layout(conversation).starts == tuple(sum(sizes[:index]) for index in range(len(TURNS) + 1))


def test_a_picture_is_told() -> None:
    assert not layout(session(TURNS)).pictured
    assert layout(session([*TURNS, {"role": "user", "content": [PICTURE]}])).pictured


def test_a_turn_measures_its_new_messages_and_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Message] = []

    def counting(message: Message) -> Measure:
        measured.append(message)
        return measure(message)

    monkeypatch.setattr(module, "measure", counting)
    table, told = MessageTable(10**7), []
    for count in range(2, len(TURNS) + 1):
        measured.clear()
        found = layout(session(TURNS[:count], table))
        told.append(len(measured))
        assert found == layout(session(TURNS[:count]))
    assert told == [2, 1, 1, 1, 1]


def test_what_stands_behind_a_place_is_not_measured_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Message] = []

    def counting(message: Message) -> Measure:
        measured.append(message)
        return measure(message)

    monkeypatch.setattr(module, "measure", counting)
    conversation = session(TURNS)
    first = layout(conversation, 4)
    assert (len(first.measures), len(measured)) == (4, 4)
    assert layout(conversation, 2) == first
    assert layout(conversation) == layout(session(TURNS))
    assert layout(conversation).starts[:5] == first.starts
