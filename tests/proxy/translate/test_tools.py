from typing import Any

import pytest

from translating import CHAT, MESSAGES, ZAI_CHAT, ZAI_MESSAGES, from_chat, from_messages, user
from trimtab.errors import BadRequest
from trimtab.translate.tools import schema

MARK = {"cache_control": {"type": "ephemeral"}}
OBJECT = {"type": "object", "properties": {}}


def test_alternatives_at_the_root_are_merged() -> None:
    one = {"properties": {"a": {"type": "string"}, "c": {}}, "required": ["a", "c"]}
    two = {"properties": {"b": {}, "c": {"type": "null"}}, "required": ["c"]}
    made = schema({"oneOf": [one, two, True], "properties": {"a": {"type": "integer"}}, "required": ["z"]})
    assert made == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}, "c": {}} | {"c": made["properties"]["c"]},
        "required": ["z", "c"],
    }
    assert schema({"allOf": [one, two]})["required"] == ["a", "c"]
    assert schema({"anyOf": None, "$defs": {"x": {}}}) == {"$defs": {"x": {}}, **OBJECT}
    assert schema(None) == OBJECT


def test_tools_that_only_their_vendor_runs_are_dropped() -> None:
    tools = [
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 5},
        {
            "type": "custom",
            "name": "own",
            "description": "d",
            "input_schema": OBJECT,
            "strict": True,
            "defer_loading": 1,
        },
    ]
    found = from_messages(CHAT, user("hi"), tools=tools)
    bash, editor, own = (tool["function"] for tool in found.body["tools"])
    assert (bash["name"], set(bash["parameters"]["properties"])) == ("bash", {"command", "restart"})
    assert editor["name"] == "str_replace_based_edit_tool"
    assert own == {"name": "own", "description": "d", "parameters": OBJECT, "strict": True}
    assert found.dropped == ("web_search_20250305", "defer_loading")
    assert "tools" not in from_messages(ZAI_CHAT, user("hi"), tools=tools[:1]).body


def test_functions_become_tools() -> None:
    nested = {"name": "a", "description": "d", "parameters": {"type": "object"}, "strict": True}
    tools = [{"type": "function", "function": nested, **MARK}, {"type": "custom", "custom": {}}, {"name": "flat"}]
    found = from_chat(MESSAGES, user("hi"), tools=tools, functions=[{"name": "old", "parameters": OBJECT}, 5])
    assert found.body["tools"] == [
        {"name": "a", "description": "d", "input_schema": OBJECT, "strict": True, **MARK},
        {"name": "flat", "input_schema": OBJECT},
        {"name": "old", "input_schema": OBJECT},
    ]
    assert found.dropped == ("custom",)


def test_inputs_by_their_schema_are_told_where_they_cannot_be_asked_for() -> None:
    tools = [{"type": "function", "function": {"name": "a", "parameters": OBJECT, "strict": True}}]
    found = from_chat(ZAI_MESSAGES, user("hi"), tools=tools)
    assert found.body["tools"] == [{"name": "a", "input_schema": OBJECT}]
    assert found.dropped == ("strict",)


@pytest.mark.parametrize("translated", [from_chat, from_messages])
def test_a_tool_that_is_no_object_is_refused_by_its_place(translated: Any) -> None:
    target = MESSAGES if translated is from_chat else ZAI_CHAT
    with pytest.raises(BadRequest, match=r"tools\[1\]"):
        translated(target, user("hi"), tools=[{"name": "a", "input_schema": OBJECT}, 7])


def test_marks_on_tools_leave_one_for_the_conversation() -> None:
    tools = [{"type": "function", "function": {"name": f"t{at}", **MARK}} for at in range(5)]
    found = from_chat(MESSAGES, user({"type": "text", "text": "hi", **MARK}), tools=tools)
    assert ["cache_control" in tool for tool in found.body["tools"]] == [True, True, True, False, False]
    assert "cache_control" in found.messages[0]["content"][0]
    assert found.dropped == ("cache_control",)


def test_functions_that_are_no_list_are_refused() -> None:
    with pytest.raises(BadRequest, match="functions is no list"):
        from_chat(MESSAGES, user("hi"), functions=5)
