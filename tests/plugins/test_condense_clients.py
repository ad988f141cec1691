"""Which clients compact by themselves."""

from typing import Any

import pytest

from talks import body, text, user
from trimtab.testing import StageBench
from trimtab_stages.condense_clients import recovers

BLOCK = "<environment_details>\n# Current Time\nnow\n</environment_details>"


@pytest.mark.parametrize(
    ("agent", "messages", "found"),
    [
        ("claude-cli/2.1.197 (external, sdk-cli)", [user("hi")], True),
        ("Kilo-Code/7.7.7 ai-sdk/provider-utils/4.0.27", [user("hi")], True),
        ("opencode/1.2", [user("hi")], True),
        ("OpenAI/Python 2.54.0", [user("hi")], False),
        ("ai-sdk/openai-compatible/3.0.37", [{"role": "system", "content": "You are Cline, an AI agent."}], True),
        ("OpenAI/JS 6.26.0", [user(text("hi"), text(BLOCK))], True),
        ("OpenAI/JS 6.26.0", [user("You are Cline, an AI agent.")], False),
        ("", [], False),
    ],
)
def test_clients_are_known_by_their_name_or_their_form(agent: str, messages: list[Any], found: bool) -> None:
    exchange = StageBench().exchange(body(messages), headers={"user-agent": agent})
    assert recovers(exchange) is found


def test_a_system_prompt_that_stands_apart_is_read_too() -> None:
    made = body([user("hi")], system=[text("You are Kilo, a highly skilled engineer")])
    assert recovers(StageBench().exchange(made, dialect="messages"))
    assert not recovers(StageBench().exchange(body([user("hi")], system="be kind"), dialect="messages"))
