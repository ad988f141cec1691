"""What the pretended model decides."""

import json
from typing import Any

import pytest

from trimtab.echo.model import example, reply
from trimtab.echo.nouns import Prompt, Reply
from trimtab.echo.prompt import Reader, parse

LOOK = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOLS = [{"name": "look", "input_schema": LOOK}, {"name": "run", "input_schema": {"type": "object"}}]
USER: dict[str, Any] = {"role": "user", "content": "find it"}
USE: dict[str, Any] = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {}}]}
RESULT: dict[str, Any] = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]}
TOOL = {"role": "tool", "tool_call_id": "1", "content": "x"}
REMINDER = {"role": "user", "content": "(a reminder)"}


def answer(messages: list[dict[str, Any]], *, thinks: bool = False, tool_turns: int = 2, **more: Any) -> Reply:
    request = parse(json.dumps({"model": "m", "messages": messages, **more}).encode())
    prompt = Prompt(request, Reader(len, 100).read(request), "key", 7)
    return reply(prompt, thinks=thinks, tool_turns=tool_turns, count=len)


def test_without_tools_it_says_what_came() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    said = answer([USER, {"role": "assistant", "content": "ok"}, {"role": "user", "content": [USER | image, image]}])
    assert said.call is None
    assert said.text == "The echo received 3 messages, 0 tools and 2 images. Your last words began: find it"


def test_with_tools_it_calls_the_first_one() -> None:
    called = answer([USER], tools=TOOLS)
    assert called.text is None
    assert called.call is not None
    assert (called.call.name, called.call.arguments) == ("look", '{"path":"echo"}')


@pytest.mark.parametrize(
    ("use", "result"), [([USE], [RESULT]), ([CALLED], [TOOL]), ([CALLED], [TOOL, REMINDER])], ids=["a", "c", "reminded"]
)
def test_it_answers_after_two_results(use: list[dict[str, Any]], result: list[dict[str, Any]]) -> None:
    turn = [*use, *result]
    calls = [bool(answer([USER, *turn * n], tools=TOOLS).call) for n in range(4)]
    assert calls == [True, True, False, False]


def test_a_new_word_of_the_user_starts_again() -> None:
    done = [USER, USE, RESULT, USE, RESULT, {"role": "assistant", "content": "done"}]
    assert answer([*done, USER], tools=TOOLS).call
    assert answer([*done, USER, USE, RESULT], tools=TOOLS).call
    assert answer([*done, USER, USE, RESULT, USE, RESULT], tools=TOOLS).text


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_the_number_of_tool_turns_is_an_option(turns: int) -> None:
    calls = [bool(answer([USER, *[USE, RESULT] * n], tools=TOOLS, tool_turns=turns).call) for n in range(5)]
    assert calls == [True] * turns + [False] * (5 - turns)


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "run"}, {"type": "function", "function": {"name": "run"}}])
def test_a_named_tool_is_called(choice: dict[str, Any]) -> None:
    call = answer([USER], tools=TOOLS, tool_choice=choice).call
    assert call is not None
    assert call.name == "run"
    assert call.arguments == "{}"


@pytest.mark.parametrize("choice", ["none", {"type": "none"}, {"type": "tool", "name": "unknown"}])
def test_no_tool_is_called_where_none_may_be(choice: object) -> None:
    assert answer([USER], tools=TOOLS, tool_choice=choice).call is None


def test_tools_without_a_name_are_not_called() -> None:
    assert answer([USER], tools=[{"type": "strange"}, {"type": "function", "function": 1}]).call is None


def test_thinking_counts_as_reasoning_inside_the_output() -> None:
    plain, thoughtful = answer([USER]), answer([USER], thinks=True)
    assert plain.thinking is None
    assert plain.usage.reasoning == 0
    assert thoughtful.thinking
    assert thoughtful.usage.reasoning == len(thoughtful.thinking)
    assert thoughtful.usage.output == plain.usage.output + thoughtful.usage.reasoning
    assert (thoughtful.usage.prompt, thoughtful.usage.cached) == (len("<|user|>\nfind it\n"), 7)


def test_the_same_request_gets_the_same_reply() -> None:
    assert answer([USER], tools=TOOLS, thinks=True) == answer([USER], tools=TOOLS, thinks=True)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "echo"),
        ({"type": "string"}, "echo"),
        ({"type": "integer"}, 1),
        ({"type": "number"}, 1),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 1),
        ({"type": []}, "echo"),
        ({"type": "array"}, []),
        ({"type": "array", "minItems": 1, "items": {"type": "integer"}}, [1]),
        ({"type": "object"}, {}),
        ({"type": "string", "enum": ["b", "a"]}, "b"),
        ({"const": 5}, 5),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, True),
        ({"type": "object", "required": ["a", "b"], "properties": {"a": LOOK}}, {"a": {"path": "echo"}, "b": "echo"}),
    ],
)
def test_examples_satisfy_their_schema(schema: dict[str, Any], value: object) -> None:
    assert example(schema) == value


def test_arguments_are_an_object_whatever_the_schema_says() -> None:
    for schema in ({"type": "string"}, {}, {"enum": [1]}):
        call = answer([USER], tools=[{"name": "odd", "input_schema": schema}]).call
        assert call is not None
        assert call.arguments == "{}"
