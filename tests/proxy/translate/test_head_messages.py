from typing import Any

import pytest

from translating import CHECKED, MESSAGES, ZAI_MESSAGES, from_chat, model, user
from trimtab.errors import BadRequest
from trimtab.models import Target

GLM_53 = Target(ZAI_MESSAGES.upstream, model("glm-5.3"))
TOOLS = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {}}}}]


def head(target: Target, **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    found = from_chat(target, user("hi"), **members)
    rest = {name: value for name, value in found.body.items() if name not in ("model", "messages", "max_tokens")}
    return rest, found.dropped


@pytest.mark.parametrize(
    ("target", "members", "made", "dropped"),
    [
        (ZAI_MESSAGES, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, ()),
        (ZAI_MESSAGES, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}, ()),
        (GLM_53, {"reasoning_effort": "minimal"}, {}, ("reasoning_effort",)),
        (ZAI_MESSAGES, {"reasoning_effort": "high", "max_tokens": 2000},
         {"thinking": {"type": "enabled", "budget_tokens": 1999}}, ()),
        (ZAI_MESSAGES, {"reasoning_effort": "high", "max_tokens": 900}, {}, ("reasoning_effort",)),
        (CHECKED, {"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}, ()),
        (ZAI_MESSAGES, {"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled", "budget_tokens": 8192}}, ()),
        (ZAI_MESSAGES, {"thinking": {"type": "disabled"}, "reasoning_effort": "high"},
         {"thinking": {"type": "disabled"}}, ()),
        (CHECKED, {"thinking": {"type": "enabled"}}, {}, ("thinking",)),
    ],
)  # fmt: skip
def test_thinking(target: Target, members: Any, made: Any, dropped: tuple[str, ...]) -> None:
    assert head(target, **members) == (made, dropped)


@pytest.mark.parametrize(
    ("members", "made"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "a"}}}, {"type": "tool", "name": "a"}),
        ({"function_call": {"name": "a"}}, {"type": "tool", "name": "a"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": "odd"}, None),
    ],
)
def test_the_choice_of_a_tool(members: Any, made: Any) -> None:
    found, dropped = head(MESSAGES, tools=TOOLS, **members)
    assert found.get("tool_choice") == made
    assert dropped == (("tool_choice",) if members == {"tool_choice": "odd"} else ())
    assert "tool_choice" not in head(MESSAGES, **members)[0]


def test_stop_words() -> None:
    assert head(MESSAGES, stop="END") == ({"stop_sequences": ["END"]}, ())
    assert head(MESSAGES, stop=["\n", "END"]) == ({"stop_sequences": ["END"]}, ())
    assert head(MESSAGES, stop=5) == ({}, ())


def test_the_user_and_the_tier() -> None:
    assert head(MESSAGES, safety_identifier="s", user="u") == ({"metadata": {"user_id": "s"}}, ())
    assert len(head(MESSAGES, user="u" * 300)[0]["metadata"]["user_id"]) == 32
    assert head(MESSAGES, service_tier="default") == ({"service_tier": "standard_only"}, ())
    assert head(MESSAGES, service_tier="flex") == ({}, ("service_tier",))


def test_json() -> None:
    schema = {"type": "object"}
    wish = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    told = {"format": {"type": "json_schema", "schema": schema}}
    assert head(MESSAGES, response_format=wish) == ({"output_config": told}, ())
    both = head(CHECKED, response_format=wish, reasoning_effort="high")[0]["output_config"]
    assert both == {**told, "effort": "high"}
    made, dropped = head(ZAI_MESSAGES, response_format=wish)
    assert (made["system"][0]["text"].endswith('{"type":"object"}'), dropped) == (True, ("response_format",))
    made, dropped = head(MESSAGES, response_format={"type": "json_object"})
    assert ("JSON" in made["system"][0]["text"], dropped) == (True, ("response_format",))
    assert head(MESSAGES, response_format={"type": "text"}) == ({}, ())


def test_what_has_no_place_is_dropped_or_refused() -> None:
    members = {"logprobs": True, "top_logprobs": 2, "seed": 1, "logit_bias": {"1": 1}, "store": True}
    assert head(MESSAGES, **members) == ({}, tuple(members))
    assert head(MESSAGES, n=1, modalities=["text"], stream_options={"include_usage": True}) == ({}, ())
    with pytest.raises(BadRequest, match="text only"):
        head(MESSAGES, modalities=["text", "audio"])


def test_a_stream_is_a_stream() -> None:
    assert head(MESSAGES, stream=True) == ({"stream": True}, ())


def test_a_limit_beyond_the_models_is_clipped_and_told() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        found = from_chat(ZAI_MESSAGES, user("hi"), **{name: 10**9})
        assert (found.body["max_tokens"], found.dropped) == (131_072, (name,))
