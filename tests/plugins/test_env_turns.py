"""The turns of a request that hold blocks."""

import json
from typing import Any

from trimtab.api import Message
from trimtab.testing import StageBench
from trimtab_stages.env_blocks import ENVIRONMENT, UNCHANGED
from trimtab_stages.env_policy import KEEP_LATEST, How
from trimtab_stages.env_turns import answers_of, appended, going, read

BLOCK = "<environment_details>\n# Current Time\n{}\n\n# VSCode Open Tabs\n{}\n</environment_details>"


def messages(*said: tuple[str, Any]) -> tuple[Message, ...]:
    body = {"model": "small", "messages": [{"role": role, **_rest(role, content)} for role, content in said]}
    return StageBench().exchange(json.dumps(body).encode()).received.messages


def _rest(role: str, content: Any) -> dict[str, Any]:
    return {"content": content, **({"tool_call_id": "t"} if role == "tool" else {})}


def block(time: int, tabs: str = "a.py" * 40) -> str:
    return BLOCK.format(time, tabs)


SESSION = messages(
    ("user", block(1)), ("assistant", "ok"), ("user", "nothing"), ("assistant", "ok"),
    ("tool", f"out\n\n{block(2)}"), ("tool", f"out\n\n{block(3)}"), ("assistant", "ok"), ("user", block(4)),
)  # fmt: skip


def test_turns_are_told_by_the_answers_between() -> None:
    turns, marked = read(SESSION, [ENVIRONMENT], "key")
    assert [(turn.number, [found.at for found in turn.found]) for turn in turns] == [(0, [0]), (2, [5]), (3, [7])]
    assert marked == []


def test_a_message_is_read_once() -> None:
    turns, _ = read(SESSION, [ENVIRONMENT], "key")
    again, _ = read(SESSION, [ENVIRONMENT], "key")
    assert turns[0].found[0].note is again[0].found[0].note


def test_what_goes_with_the_next_turn_and_what_on_arrival() -> None:
    turns, _ = read(SESSION, [ENVIRONMENT], "key")
    assert [(step.found.at, sorted(step.gone)) for step in going(turns, KEEP_LATEST, marked=False)] == [
        (0, []), (5, [0, 1]), (7, [1]),
    ]  # fmt: skip


def test_on_arrival_only_what_was_said_goes_and_that_is_told_once() -> None:
    turns, _ = read(SESSION, [ENVIRONMENT], "key")
    found = [(step.found.at, sorted(step.gone), step.said) for step in appended(turns, How(older="none"))]
    assert found == [(5, [1], UNCHANGED), (7, [1], "")]


def test_where_the_assistant_begins_to_speak() -> None:
    assert answers_of(SESSION) == [1, 3, 6]
    assert answers_of(messages(("assistant", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))) == [0, 3]
