from typing import Any

import msgspec
import pytest

from translating import CHAT, ZAI_CHAT, from_messages, model, user
from trimtab.errors import BadRequest
from trimtab.models import Target

GLM_53, GLM_52 = (Target(ZAI_CHAT.upstream, model(name)) for name in ("glm-5.3", "glm-5.2"))
TOOLS = [{"name": "a", "input_schema": {}}]
NEWER = Target(msgspec.structs.replace(CHAT.upstream, output_limit="max_completion_tokens"), CHAT.model)


def head(target: Target, **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    found = from_messages(target, user("hi"), **members)
    rest = {name: value for name, value in found.body.items() if name not in ("model", "messages", "max_tokens")}
    return rest, found.dropped


def test_the_limit_has_the_name_that_the_upstream_knows() -> None:
    assert from_messages(NEWER, user("hi")).body["max_completion_tokens"] == 9
    assert head(CHAT, max_tokens="x") == ({}, ("max_tokens",))
    clipped = from_messages(ZAI_CHAT, user("hi"), max_tokens=10**9)
    assert (clipped.body["max_tokens"], clipped.dropped) == (131_072, ("max_tokens",))


def test_a_stream_tells_its_usage() -> None:
    assert head(CHAT, stream=True) == ({"stream": True, "stream_options": {"include_usage": True}}, ())
    assert head(ZAI_CHAT, stream=False) == ({"stream": False}, ())


@pytest.mark.parametrize(
    ("target", "members", "made", "dropped"),
    [
        (CHAT, {"type": "enabled", "budget_tokens": 2048}, {"reasoning_effort": "low"}, ()),
        (CHAT, {"type": "enabled", "budget_tokens": 30_000}, {"reasoning_effort": "high"}, ()),
        (CHAT, {"type": "adaptive"}, {}, ()),
        (CHAT, {"type": "disabled"}, {}, ("thinking",)),
        (ZAI_CHAT, {"type": "enabled", "budget_tokens": 2048}, {"thinking": {"type": "enabled"}}, ()),
        (ZAI_CHAT, {"type": "disabled"}, {"thinking": {"type": "disabled"}}, ()),
        (GLM_53, {"type": "disabled"}, {}, ("thinking",)),
        (
            GLM_53,
            {"type": "enabled", "budget_tokens": 8000},
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
            (),
        ),
    ],
)
def test_thinking(target: Target, members: Any, made: Any, dropped: tuple[str, ...]) -> None:
    assert head(target, thinking=members) == (made, dropped)


def test_an_effort_counts_before_a_budget() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    effort = {"effort": "max"}
    assert head(CHAT, thinking=thinking, output_config=effort)[0] == {"reasoning_effort": "xhigh"}
    assert head(GLM_52, output_config=effort)[0] == {"reasoning_effort": "max"}
    assert head(ZAI_CHAT, output_config=effort)[0] == {"thinking": {"type": "enabled"}}
    off = {"type": "disabled"}
    assert head(GLM_52, thinking=off, output_config=effort)[0] == {"thinking": off}


def test_json_by_a_schema() -> None:
    wish = {"format": {"type": "json_schema", "schema": {"type": "object"}}, "verbosity": "low"}
    made, dropped = head(CHAT, output_config=wish)
    assert made["response_format"]["json_schema"] == {"name": "output", "schema": {"type": "object"}, "strict": True}
    assert dropped == ("output_config.verbosity",)
    found = from_messages(ZAI_CHAT, user("hi"), output_config=wish, system="s")
    assert found.body["response_format"] == {"type": "json_object"}
    assert found.messages[0]["content"].startswith("s\n\nAnswer with one JSON value")
    assert found.messages[0]["content"].endswith('{"type":"object"}')
    assert "output_config.format" in found.dropped


def test_the_user() -> None:
    assert head(CHAT, metadata={"user_id": "me", "x": 1}) == ({"user": "me"}, ("metadata.x",))
    assert head(ZAI_CHAT, metadata={"user_id": "someone"}) == ({"user_id": "someone"}, ())
    assert len(head(ZAI_CHAT, metadata={"user_id": "me"})[0]["user_id"]) == 32
    assert head(CHAT, metadata={}) == ({}, ())
    nobody = Target(msgspec.structs.replace(CHAT.upstream, accepts=("model", "messages", "max_tokens")), CHAT.model)
    assert head(nobody, metadata={"user_id": "me"}) == ({}, ("metadata",))


def test_the_tier() -> None:
    assert head(CHAT, service_tier="standard_only") == ({"service_tier": "default"}, ())
    assert head(CHAT, service_tier="odd") == ({}, ("service_tier",))
    assert head(ZAI_CHAT, service_tier="auto") == ({}, ("service_tier",))


def test_members_of_its_own_are_dropped() -> None:
    members = {"top_k": 5, "container": "c", "mcp_servers": [{}], "context_management": {"edits": []}, "speed": "fast"}
    assert head(CHAT, **members) == ({}, tuple(members))
    assert head(CHAT, mcp_servers=[], container=None) == ({}, ())


def test_parallel_calls() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    made, dropped = head(CHAT, tools=TOOLS, tool_choice=choice)
    assert (made["parallel_tool_calls"], "tool_choice" in made, dropped) == (False, False, ())
    assert head(ZAI_CHAT, tools=TOOLS, tool_choice=choice)[1] == ("tool_choice.disable_parallel_tool_use",)


def test_a_stop_word_that_is_none_is_left_out() -> None:
    assert head(CHAT, stop_sequences=["", 5]) == ({}, ())
    assert head(CHAT, stop_sequences="END") == ({}, ())


def test_a_tool_that_is_not_on_offer_cannot_be_chosen() -> None:
    for target in (CHAT, ZAI_CHAT):
        with pytest.raises(BadRequest, match="'b', which is not among") as caught:
            from_messages(target, user("hi"), tools=TOOLS, tool_choice={"type": "tool", "name": "b"})
        assert caught.value.param == "tool_choice"


def test_a_tool_of_the_vendors_own_that_is_chosen_is_dropped_with_its_choice() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    choice = {"type": "tool", "name": "web_search"}
    found = from_messages(ZAI_CHAT, user("hi"), tools=[*TOOLS, search], tool_choice=choice)
    assert len(found.body["tools"]) == 1
    assert found.body["messages"] == [{"role": "user", "content": "hi"}]
    assert found.dropped == ("web_search_20250305", "tool_choice")


def test_the_older_member_asks_for_json_too() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    told = {"name": "output", "schema": {"type": "object"}, "strict": True}
    made, dropped = head(CHAT, output_format=wanted)
    assert (made["response_format"], dropped) == ({"type": "json_schema", "json_schema": told}, ())
    assert head(ZAI_CHAT, output_format=wanted)[1] == ("output_format",)
    assert head(CHAT, output_format={"type": "new"}) == ({}, ("output_format",))
    newer = {"format": {**wanted, "schema": {"type": "array"}}}
    both, _ = head(CHAT, output_format=wanted, output_config=newer)
    assert both["response_format"]["json_schema"]["schema"] == {"type": "array"}


def test_a_thought_that_is_not_to_be_shown_is_shown_and_told() -> None:
    assert head(ZAI_CHAT, thinking={"type": "adaptive", "display": "omitted"})[1] == ("thinking.display",)
    assert head(ZAI_CHAT, thinking={"type": "adaptive", "display": "summarized"})[1] == ()
