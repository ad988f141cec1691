"""The head of a Responses request toward both dialects."""

from typing import Any

import pytest

from translating import CHAT, MESSAGES, ZAI_CHAT, ZAI_MESSAGES, Result, row, sent
from trimtab.errors import BadRequest
from trimtab.models import Target

TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}} for name in ("a", "b")]
FORMAT = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}


def to(target: Target, **head: Any) -> Result:
    return sent("responses", {"model": "x", "input": "hi", **head}, target)


def test_limits_and_temperatures() -> None:
    given = {"max_output_tokens": 99, "temperature": 1.5, "top_p": 0.5}
    chat = to(CHAT, **given).body
    assert {name: chat[name] for name in ("max_tokens", "temperature", "top_p")} == {
        "max_tokens": 99,
        "temperature": 1.5,
        "top_p": 0.5,
    }
    messages = to(MESSAGES, **given)
    assert (messages.body["max_tokens"], messages.body["temperature"]) == (99, 1)
    assert messages.dropped == ("temperature",)


def test_instructions_open_the_system_prompt() -> None:
    items = [{"role": "developer", "content": "rules"}, {"role": "user", "content": "hi"}]
    chat = to(CHAT, instructions="be brief", input=items).messages
    assert chat[0] == {"role": "system", "content": "be brief\n\nrules"}
    system = to(MESSAGES, instructions="be brief", input=items).body["system"]
    assert [block["text"] for block in system] == ["be brief", "rules"]


def test_json_by_a_schema_is_nested_in_chat_and_told_in_words_where_it_must_be() -> None:
    """P30."""
    named = {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert to(CHAT, text={"format": FORMAT}).body["response_format"] == {"type": "json_schema", "json_schema": named}
    zai = to(ZAI_CHAT, text={"format": FORMAT})
    assert zai.body["response_format"] == {"type": "json_object"}
    assert "JSON Schema" in zai.messages[0]["content"]
    assert zai.dropped == ("text.format",)
    assert "output_config" in to(MESSAGES, text={"format": FORMAT}).body
    anything = to(CHAT, text={"format": {"type": "json_object"}})
    assert anything.body["response_format"] == {"type": "json_object"}
    assert "response_format" not in to(CHAT, text={"format": {"type": "text"}, "verbosity": "medium"}).body
    assert to(CHAT, text={"verbosity": "low"}).dropped == ("text.verbosity",)


@pytest.mark.parametrize(
    ("choice", "chat", "messages"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", "required", {"type": "any"}),
        ("none", "none", {"type": "none"}),
        (
            {"type": "function", "name": "b"},
            {"type": "function", "function": {"name": "b"}},
            {"type": "tool", "name": "b"},
        ),
    ],
)
def test_choices_of_tools(choice: Any, chat: Any, messages: Any) -> None:
    assert to(CHAT, tools=TOOLS, tool_choice=choice).body.get("tool_choice") == chat
    assert to(MESSAGES, tools=TOOLS, tool_choice=choice).body["tool_choice"] == messages


def test_tools_that_are_not_allowed_are_not_on_offer() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    chat, messages = (to(target, tools=TOOLS, tool_choice=choice).body for target in (CHAT, MESSAGES))
    assert ([tool["function"]["name"] for tool in chat["tools"]], chat["tool_choice"]) == (["b"], "required")
    assert ([tool["name"] for tool in messages["tools"]], messages["tool_choice"]) == (["b"], {"type": "any"})


def test_a_choice_of_a_typed_tool_is_that_of_its_function_and_a_vendors_is_dropped() -> None:
    shell = {"type": "local_shell"}
    assert to(MESSAGES, tools=[shell], tool_choice=shell).body["tool_choice"] == {"type": "tool", "name": "local_shell"}
    assert "tool_choice" in to(CHAT, tools=TOOLS, tool_choice={"type": "web_search"}).dropped


def test_one_call_at_a_time() -> None:
    chat = to(CHAT, tools=TOOLS, parallel_tool_calls=False)
    assert chat.body["parallel_tool_calls"] is False
    messages = to(MESSAGES, tools=TOOLS, parallel_tool_calls=False)
    assert messages.body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert to(ZAI_CHAT, tools=TOOLS, parallel_tool_calls=False).dropped == ("parallel_tool_calls",)


def test_efforts() -> None:
    assert to(CHAT, reasoning={"effort": "high", "summary": "auto"}).body["reasoning_effort"] == "high"
    assert to(ZAI_CHAT, reasoning={"effort": "none"}).body["thinking"] == {"type": "disabled"}
    assert to(CHAT, reasoning={"effort": "none"}).dropped == ("reasoning.effort",)
    assert to(ZAI_MESSAGES, reasoning={"effort": "low"}).body["thinking"]["type"] == "enabled"
    assert to(CHAT, reasoning={"context": "all"}).dropped == ("reasoning.context",)


@pytest.mark.parametrize("target", [CHAT, ZAI_CHAT, MESSAGES])
def test_a_thought_that_nothing_follows_is_named_as_an_item(target: Target) -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert to(target, input=[{"role": "user", "content": "hi"}, thought]).dropped == ("reasoning",)


def test_users_tiers_and_what_has_no_place() -> None:
    assert to(CHAT, safety_identifier="s", user="u").body["user"] == "s"
    assert to(MESSAGES, user="u").body["metadata"] == {"user_id": "u"}
    assert "service_tier" not in to(CHAT, service_tier="auto").body
    assert to(CHAT, service_tier="flex").body["service_tier"] == "flex"
    lost = {"prompt_cache_key": "k", "background": True, "truncation": "auto", "conversation": "c", "store": True}
    assert set(to(CHAT, **lost, metadata={"a": "b"}).dropped) == set(lost)
    assert to(CHAT, include=["message.output_text.logprobs"]).dropped == ("include.message.output_text.logprobs",)


def test_every_kind_of_tool_goes_out_as_a_function() -> None:
    tools = [
        {"type": "custom", "name": "patch", "description": "d"},
        {"type": "local_shell"},
        {"type": "namespace", "name": "ns", "tools": [{**TOOLS[0], "strict": True}]},
        {"type": "web_search"},
    ]
    chat, messages = to(CHAT, tools=tools), to(MESSAGES, tools=tools)
    assert [tool["function"]["name"] for tool in chat.body["tools"]] == ["patch", "local_shell", "ns__a"]
    assert [tool["name"] for tool in messages.body["tools"]] == ["patch", "local_shell", "ns__a"]
    assert chat.body["tools"][2]["function"]["strict"] is True
    assert chat.dropped == ("web_search",)


def test_an_upstream_that_takes_less_gets_less() -> None:
    strict = Target(row("zai-chat", drop=("top_p",)), ZAI_CHAT.model)
    assert to(strict, top_p=0.5).dropped == ("top_p",)


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
def test_allowed_tools_that_are_no_list_are_refused(target: Target) -> None:
    with pytest.raises(BadRequest, match=r"tool_choice\.tools is no list"):
        to(target, tools=TOOLS, tool_choice={"type": "allowed_tools", "mode": "auto", "tools": 5})
