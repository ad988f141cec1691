from typing import Any

from translating import MESSAGES, assistant, called, from_chat, parsed, result, text, tool, use, user
from trimtab.dialects.messages_encode import signature
from trimtab.translate import Kind, pieces

MARK = {"cache_control": {"type": "ephemeral"}}


def made(message: dict[str, Any]) -> list[tuple[Kind, str]]:
    found = pieces(parsed("chat", {"model": "m", "messages": [message]}).messages[0], "messages")
    return [(piece.kind, piece.body.decode()) for piece in found]


def test_a_thought_is_signed_by_us_whatever_its_member() -> None:
    for told in ({"reasoning_content": "t"}, {"reasoning": "t"}, {"reasoning_details": [{"text": "t"}, 5, {"x": 1}]}):
        found = from_chat(MESSAGES, user("hi"), {"role": "assistant", "content": "a", **told}, user("on"))
        thought = {"type": "thinking", "thinking": "t", "signature": signature("t")}
        assert found.messages[1] == assistant(thought, text("a"))
        assert found.dropped == ()
    assert made({"role": "assistant", "content": "a", "reasoning_details": "x"}) == [(Kind.TEXT, "a")]


def test_a_call_and_its_result_of_the_legacy_kind_are_paired() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "read", "arguments": '{"a":1}'}}
    found = from_chat(MESSAGES, user("hi"), call, {"role": "function", "name": "read", "content": "r"})
    assert found.messages[1:] == [assistant(use("fn_read", a=1)), user(result("fn_read", "r"))]
    assert made({"role": "function", "content": "r"}) == [(Kind.RESULT, '"r"')]


def test_a_refusal_is_a_text_and_other_calls_are_lost() -> None:
    assert made({"role": "assistant", "content": None, "refusal": "no"}) == [(Kind.TEXT, "no")]
    assert made({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}) == [(Kind.TEXT, "no")]
    custom = {"id": "c", "type": "custom", "custom": {"name": "n", "input": "x"}}
    assert made({"role": "assistant", "content": "a", "tool_calls": [custom], "audio": {"id": "1"}}) == [
        (Kind.LOST, "audio"),
        (Kind.TEXT, "a"),
        (Kind.LOST, "tool_calls"),
    ]


def test_arguments_that_are_no_object_are_wrapped() -> None:
    found = from_chat(MESSAGES, user("hi"), called(("a", ""), ("b", '{"x": "cu'), ("c", "[1]")))
    inputs = [block["input"] for block in found.messages[1]["content"]]
    assert inputs == [{}, {"_raw": '{"x": "cu'}, {"_raw": "[1]"}]


def test_what_a_result_holds() -> None:
    said = [user("hi"), called(*((str(at), "{}") for at in range(4)))]
    blank = [text(" "), text("")]
    results = [tool("0", None), tool("1", blank), tool("2", [text("a", **MARK), text("b")]), tool("3", "x", **MARK)]
    found = from_chat(MESSAGES, *said, *results).messages[2]["content"]
    assert found == [
        result("0", ""),
        result("1", ""),
        result("2", text("a"), text("b"), **MARK),
        result("3", "x", **MARK),
    ]


def test_parts_that_cannot_be_told_leave_a_word() -> None:
    found = from_chat(MESSAGES, user({"type": "input_audio", "input_audio": {}}, {"type": "image_url"}))
    told = [text("[left out by the proxy: input_audio]"), text("[left out by the proxy: image]")]
    assert found.messages == [user(*told)]
    assert found.dropped == ("input_audio", "image")
    detailed = {"type": "image_url", "image_url": {"url": "http://h/a", "detail": "low"}}
    assert from_chat(MESSAGES, {**user(detailed), "name": "bob"}).dropped == ("name", "detail")


def test_only_a_mark_that_is_one_is_kept() -> None:
    found = from_chat(MESSAGES, {**user(text("a")), "cache_control": "x"}, assistant("b"), {**user("c"), **MARK})
    assert found.messages == [user(text("a")), assistant(text("b")), user(text("c", **MARK))]


def test_a_part_in_the_wrong_mouth_is_lost() -> None:
    part = {"type": "image_url", "image_url": {"url": "http://h/a"}}
    assert made({"role": "assistant", "content": [part]}) == [(Kind.LOST, "image")]
    assert made({"role": "system", "content": None}) == [(Kind.TEXT, "")]
