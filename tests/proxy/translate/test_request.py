"""The cases of a request's translation, by the numbers of the protocol notes."""

import json
from typing import Any

import pytest

from translating import (
    CHAT,
    CHECKED,
    GLM,
    IMAGE,
    MESSAGES,
    PART,
    PNG,
    SPREAD,
    ZAI_CHAT,
    ZAI_MESSAGES,
    assistant,
    called,
    from_chat,
    from_messages,
    parsed,
    result,
    sent,
    text,
    tool,
    use,
    user,
)
from trimtab.errors import BadRequest, ProxyError
from trimtab.translate import pieces, spelling, translate

TOOLS = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in ("a", "get_weather", "b")]


def test_P01_results_come_right_behind_their_calls_and_all_text_after_them() -> None:
    turn = user(text("before"), result("call_1", "tool ok"), text("after"))
    found = from_messages(CHAT, user("go"), assistant(use("call_1")), turn)
    assert found.messages[1]["tool_calls"][0]["id"] == "call_1"
    assert found.messages[2:] == [tool("call_1", "tool ok"), user(text("before"), text("after"))]
    assert found.dropped == ()


def test_P02_an_image_of_a_result_moves_into_the_next_user_message() -> None:
    turn = user(result("call_1", text("shot"), IMAGE), result("call_2", IMAGE), text("see"))
    found = from_messages(ZAI_CHAT, user("go"), assistant(use("call_1"), use("call_2")), turn)
    assert found.messages[2:] == [
        tool("call_1", "shot\n[image: see next message]"),
        tool("call_2", "[image: see next message]"),
        user(
            text("Image of the result of tool call call_1:"),
            PART,
            text("Image of the result of tool call call_2:"),
            PART,
            text("see"),
        ),
    ]


def test_P03_a_billing_header_does_not_change_the_body() -> None:
    def body(cch: str) -> dict[str, Any]:
        head = text(f"x-anthropic-billing-header: cc_version=2; cch={cch};")
        return {"model": "x", "max_tokens": 9, "system": [head, text("You are")], "messages": [user("hi")]}

    one, two = (translate(parsed("messages", body(cch)), CHAT) for cch in ("ab12", "cd34"))
    assert one.body == two.body
    assert json.loads(one.body)["messages"][0] == {"role": "system", "content": "You are"}
    assert one.dropped == ("x-anthropic-billing-header",)


def test_P04_stop_words_are_an_array_and_as_many_as_the_upstream_takes() -> None:
    assert from_messages(CHAT, user("hi"), stop_sequences=["END"]).body["stop"] == ["END"]
    found = from_messages(ZAI_CHAT, user("hi"), stop_sequences=["\n", "END"])
    assert (found.body["stop"], found.dropped, found.stop_words) == (["\n"], (), ("END",))


def test_P05_cache_marks_are_stripped_and_no_choice_is_made_without_tools() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    found = from_messages(
        CHAT, user(text("hi", **mark)), system=[text("s", **mark)], tools=[], tool_choice={"type": "auto"}, **mark
    )
    assert found.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "system", "content": "s"}, user("hi")],
    }
    assert found.dropped == ("cache_control",)
    assert "cache_control" not in json.dumps(from_messages(CHAT, user("hi"), tools=[{**TOOLS[0], **mark}]).body)


def test_P06_schemas_are_objects_with_properties() -> None:
    union = {
        "anyOf": [{"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}, {"type": "null"}]
    }
    tools = [{"name": "one", "input_schema": {"type": "object"}}, {"name": "two", "input_schema": union}]
    one, two = (made["function"] for made in from_messages(CHAT, user("hi"), tools=tools).body["tools"])
    assert one == {"name": "one", "parameters": {"type": "object", "properties": {}}}
    assert two == {"name": "two", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}


def test_P07_thoughts_go_with_their_calls_and_where_asked_with_later_ones_of_the_turn() -> None:
    thought = {"type": "thinking", "thinking": "t1", "signature": "s"}
    said = (
        user("go"),
        assistant(thought, use("a")),
        user(result("a", "1")),
        assistant(use("b")),
        user(result("b", "2")),
        assistant("done"),
        user("more"),
        assistant(use("c")),
        user(result("c", "3")),
    )

    def told(target: Any) -> list[str | None]:
        found = from_messages(target, *said).messages
        return [message.get("reasoning_content") for message in found if message["role"] == "assistant"]

    assert told(ZAI_CHAT) == ["t1", None, None, None]
    assert told(SPREAD) == ["t1", "t1", None, None]


def test_P08_a_forced_tool_is_the_only_one_where_none_can_be_forced() -> None:
    found = from_messages(ZAI_CHAT, user("hi"), tools=TOOLS, tool_choice={"type": "tool", "name": "get_weather"})
    assert "tool_choice" not in found.body
    assert [made["function"]["name"] for made in found.body["tools"]] == ["get_weather"]
    assert found.messages[0] == {"role": "system", "content": "Answer with a call of the tool get_weather."}
    assert found.dropped == ("tool_choice",)
    found = from_messages(ZAI_CHAT, user("hi"), tools=TOOLS, tool_choice={"type": "any"})
    assert (len(found.body["tools"]), found.dropped) == (3, ("tool_choice",))
    named = from_messages(CHAT, user("hi"), tools=TOOLS, tool_choice={"type": "tool", "name": "a"})
    assert named.body["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    assert from_messages(CHAT, user("hi"), tools=TOOLS, tool_choice={"type": "any"}).body["tool_choice"] == "required"


def test_P09_tools_are_left_out_where_they_cannot_be_forbidden() -> None:
    said = (user("go"), assistant(use("a")), user(result("a", "1")))
    found = from_messages(ZAI_CHAT, *said, tools=TOOLS, tool_choice={"type": "none"})
    assert "tools" not in found.body
    assert [message["role"] for message in found.messages] == ["user", "assistant", "tool"]
    found = from_messages(CHAT, *said, tools=TOOLS, tool_choice={"type": "none"})
    assert (found.body["tool_choice"], len(found.body["tools"])) == ("none", 3)


def test_P10_an_error_is_told_and_no_content_is_an_empty_text() -> None:
    turn = user(result("a", "City not found", is_error=True), result("b"))
    found = from_messages(CHAT, user("go"), assistant(use("a"), use("b")), turn)
    assert found.messages[2:] == [tool("a", "Error: City not found"), tool("b", "")]


def test_P11_results_and_what_the_user_says_are_one_turn() -> None:
    said = (user("hi"), called(("a", "{}"), ("b", "{}")), tool("a", "1"), tool("b", "2"), user("go"))
    assert from_chat(MESSAGES, *said).messages[2] == user(result("a", "1"), result("b", "2"), text("go"))


def test_P13_leading_system_messages_are_blocks_in_their_order() -> None:
    said = ({"role": "system", "content": "one"}, {"role": "developer", "content": "two"}, user("hi"))
    found = from_chat(MESSAGES, *said)
    assert found.body["system"] == [text("one"), text("two")]
    assert found.messages == [user(text("hi"))]
    later = from_chat(MESSAGES, *said, assistant("ok"), {"role": "system", "content": "now"}, user("go"))
    assert later.messages[2] == user(text("<system-reminder>\nnow\n</system-reminder>"), text("go"))


def test_P14_a_system_message_alone_gets_a_user_turn() -> None:
    found = from_chat(MESSAGES, {"role": "system", "content": "only"})
    assert found.messages == [user(text("Please continue."))]


def test_no_message_at_all_is_refused() -> None:
    for translated, target in ((from_chat, MESSAGES), (from_messages, CHAT)):
        with pytest.raises(BadRequest, match="'messages' is empty"):
            translated(target)


def test_P15_ids_are_put_into_plain_letters_and_back() -> None:
    body = {"model": "x", "messages": [user("hi"), called(("call:1/é", "{}")), tool("call:1/é", "r")]}
    found = sent("chat", body, MESSAGES)
    id_ = found.messages[1]["content"][0]["id"]
    assert id_.startswith("call1_")
    assert found.messages[2]["content"][0]["tool_use_id"] == id_
    assert spelling(parsed("chat", body), "messages").ids == {id_: "call:1/é"}


def test_P16_of_two_results_the_last_counts_at_the_place_of_the_first() -> None:
    said = (user("hi"), called(("a", "{}"), ("b", "{}")), tool("a", "old"), tool("b", "2"), tool("a", "new"))
    assert from_chat(MESSAGES, *said).messages[2] == user(result("a", "new"), result("b", "2"))


def test_P17_the_newer_name_of_the_limit_counts() -> None:
    assert from_chat(MESSAGES, user("hi"), max_tokens=200, max_completion_tokens=100).body["max_tokens"] == 100
    assert from_chat(MESSAGES, user("hi"), max_tokens=200).body["max_tokens"] == 200
    assert from_chat(MESSAGES, user("hi")).body["max_tokens"] == 4096
    assert from_chat(ZAI_MESSAGES, user("hi")).body["max_tokens"] == GLM.max_output
    assert from_chat(ZAI_MESSAGES, user("hi"), max_tokens=10**7).body["max_tokens"] == GLM.max_output


def test_P18_a_result_keeps_its_image() -> None:
    said = (user("hi"), called(("a", "{}")), tool("a", [text("shot"), PART]))
    assert from_chat(MESSAGES, *said).messages[2] == user(result("a", text("shot"), IMAGE))


def test_P19_cache_marks_are_kept_and_four_at_most() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    said = [{"role": "system", "content": [text("s", **mark)]}]
    for number in range(3):
        said += [user(text(f"u{number}", **mark)), assistant("ok")]
    found = from_chat(MESSAGES, *said, user(text("last", **mark)), tools=[])
    assert found.body["system"] == [text("s", **mark)]
    assert [json.dumps(message).count("cache_control") for message in found.messages] == [1, 0, 1, 0, 0, 0, 1]
    assert found.dropped == ("cache_control",)


@pytest.mark.parametrize("mark", ["", "p1.0123"])
def test_P20_thoughts_that_nobody_signed_do_not_reach_an_upstream_that_looks(mark: str) -> None:
    own = {"type": "thinking", "thinking": "t", "signature": mark}
    theirs = {"type": "thinking", "thinking": "u", "signature": "c2ln"}
    said = [user("go"), assistant(own, text("a")), user("b"), assistant(theirs, text("c")), user("d"), assistant(own)]
    body = {"model": "m", "max_tokens": 9, "messages": said}
    assert sent("messages", body, ZAI_MESSAGES).messages == said
    found = sent("messages", body, CHECKED)
    assert found.messages == [said[0], assistant(text("a")), *said[2:5]]
    assert found.dropped == ("thinking",)
    chat = from_chat(CHECKED, user("go"), {"role": "assistant", "content": "a", "reasoning_content": "t"}, user("b"))
    assert (chat.messages[1], chat.dropped) == (assistant(text("a")), ("reasoning_content",))


def test_P21_its_own_dialect_gets_everything_as_it_came() -> None:
    raw = b'{ "model":"m", "x":1.50, "messages":[{"role":"user","content":[{"type":"new"}]}] }'
    for target in (MESSAGES, CHECKED, ZAI_MESSAGES):
        assert translate(parsed("messages", raw), target).body == raw


def test_P22_images_reach_a_chat_upstream_as_data_urls() -> None:
    found = from_messages(ZAI_CHAT, user(IMAGE, text("what is it")))
    assert found.messages == [user(PART, text("what is it"))]
    assert PNG in json.dumps(found.body)


@pytest.mark.parametrize(("given", "kept"), [(0, 0.01), (1.5, 1.0), (0.5, 0.5)])
def test_P24_numbers_are_clipped_to_what_the_upstream_takes(given: float, kept: float) -> None:
    found = from_messages(ZAI_CHAT, user("hi"), temperature=given)
    assert found.body["temperature"] == kept
    assert found.dropped == (() if given == kept else ("temperature",))
    assert from_messages(CHAT, user("hi"), temperature=given).body["temperature"] == given
    assert from_messages(ZAI_CHAT, user("hi"), top_p=0).body["top_p"] == 0.01
    assert from_chat(MESSAGES, user("hi"), temperature=given).body["temperature"] == min(given, 1)


def test_what_cannot_be_read_is_the_clients_fault() -> None:
    with pytest.raises(BadRequest, match="content"):
        from_chat(MESSAGES, {"role": "user", "content": 5})
    with pytest.raises(BadRequest, match="one answer at a time"):
        from_chat(MESSAGES, user("hi"), n=2)


def test_a_dialect_without_a_way_is_refused() -> None:
    with pytest.raises(ProxyError, match="cannot be translated"):
        pieces(parsed("chat", {"model": "m", "messages": [user("hi")]}).messages[0], "responses")


def test_what_is_told_of_a_long_list_is_short() -> None:
    found = from_messages(CHAT, user("hi"), **{f"x{number}": 1 for number in range(99)}, **{"a,b\n": 1})
    assert len(found.dropped) == 64
    assert from_messages(CHAT, user("hi"), **{"a,b\n" + "c" * 99: 1}).dropped == ("a_b_" + "c" * 36,)
