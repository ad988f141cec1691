"""The made conversations that stages are tried on."""

from typing import Any

import msgspec

from trimtab.api import Image, Thinking, ToolResult, ToolUse
from trimtab.corpus import sessions
from trimtab.invariants import faults
from trimtab.testing import StageBench


def test_the_same_seed_makes_the_same_conversations() -> None:
    assert [*sessions(6, seed=3)] == [*sessions(6, seed=3)]
    assert [*sessions(6, seed=3)] != [*sessions(6, seed=4)]


def test_they_are_sound_and_hold_what_agents_send() -> None:
    held: set[Any] = set()
    marks = requests = 0
    for session in sessions(60):
        for body in session.bodies():
            requests += 1
            conversation = StageBench().exchange(body, dialect=session.dialect).conversation
            marks += b'"cache_control"' in body
        assert faults(conversation) == []
        held |= {kind for kind in (Image, Thinking, ToolResult, ToolUse) if conversation.has(kind)}
        held.add(session.dialect)
        held |= {"block"} if b"<environment_details>" in body else set()
    assert held == {Image, Thinking, ToolResult, ToolUse, "chat", "messages", "responses", "block"}
    assert requests > 100
    assert 0 < marks < requests


def test_a_body_takes_further_members() -> None:
    [session] = sessions(1)
    assert msgspec.json.decode(next(session.bodies(stream=True)))["stream"] is True
