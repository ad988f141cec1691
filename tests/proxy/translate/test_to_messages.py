from translating import (
    IMAGE,
    MESSAGES,
    PART,
    ZAI_MESSAGES,
    assistant,
    called,
    from_chat,
    result,
    text,
    tool,
    use,
    user,
)

MARK = {"cache_control": {"type": "ephemeral"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}


def system(said: str) -> dict[str, str]:
    return {"role": "system", "content": said}


def test_a_conversation_that_the_assistant_opens_gets_a_turn_before() -> None:
    assert from_chat(MESSAGES, assistant("a"), user("b")).messages[0] == user(text("Please continue."))


def test_an_empty_system_message_does_not_part_those_that_open() -> None:
    found = from_chat(MESSAGES, system("a"), {"role": "system", "content": ""}, system("b"), user("c"))
    assert found.body["system"] == [text("a"), text("b")]
    odd = {"role": "system", "content": "x", "name": "n"}
    assert from_chat(MESSAGES, odd).dropped == ("name",)


def test_what_is_said_between_calls_and_results_comes_behind() -> None:
    found = from_chat(MESSAGES, user("a"), called(("c", "{}")), system("s"), user("b"), tool("c", "r"))
    reminder = text("<system-reminder>\ns\n</system-reminder>")
    assert found.messages[2] == user(result("c", "r"), reminder, text("b"))


def test_a_call_without_a_result_is_answered_and_a_result_without_a_call_is_a_text() -> None:
    said = (user("a"), called(("c", "{}"), ("d", "{}")), tool("d", "D"), tool("x", "X"), tool("y", [text("Y"), PART]))
    assert from_chat(MESSAGES, *said).messages[2] == user(
        result("c", "[no result]", is_error=True),
        result("d", "D"),
        text("Result of tool call x:\nX"),
        text("Result of tool call y:"),
        text("Y"),
        IMAGE,
    )
    late = (user("a"), called(("c", "{}")), user("no"), assistant("ok"), tool("c", "r"))
    assert from_chat(MESSAGES, *late).messages[4] == user(text("Result of tool call c:\nr"))


def test_no_thought_ends_a_turn() -> None:
    thinking = {"role": "assistant", "content": None, "reasoning_content": "t"}
    assert len(from_chat(MESSAGES, user("a"), thinking, user("b")).messages) == 1
    found = from_chat(MESSAGES, user("a"), thinking, called(("c", "{}")), thinking, tool("c", "r"))
    assert [block["type"] for block in found.messages[1]["content"]] == ["thinking", "tool_use"]


def test_what_is_lost_of_an_assistant_leaves_the_rest() -> None:
    custom = {"id": "c", "type": "custom", "custom": {}}
    found = from_chat(MESSAGES, user("a"), {**assistant("b"), "tool_calls": [custom]}, user("c"))
    assert (found.messages[1], found.dropped) == (assistant(text("b")), ("tool_calls",))


def test_nothing_said_is_told_or_left_out() -> None:
    assert from_chat(MESSAGES, user(" ")).messages == [user(text("[left out by the proxy: an empty message]"))]
    found = from_chat(MESSAGES, user("a"), assistant(" "), user("b"))
    assert found.messages == [user(text("a"), text("b"))]


def test_words_put_into_the_models_mouth_end_without_white_space() -> None:
    assert from_chat(MESSAGES, user("a"), assistant("b \n")).messages[1] == assistant(text("b"))
    assert from_chat(MESSAGES, user("a"), assistant("b \n"), user("c")).messages[1] == assistant(text("b \n"))
    assert from_chat(MESSAGES, user("a"), called(("c", "{}"))).messages[1] == assistant(use("c"))


def test_files_where_they_are_not_read() -> None:
    assert from_chat(MESSAGES, user(FILE)).messages[0]["content"][0]["type"] == "document"
    found = from_chat(ZAI_MESSAGES, user(FILE))
    assert (found.messages, found.dropped) == ([user(text("[left out by the proxy: file]"))], ("file",))


def test_marks_of_the_last_turn_are_kept_though_it_has_many() -> None:
    said = [user(text("a", **MARK)), assistant(text("b", **MARK)), user(*(text(str(at), **MARK) for at in range(4)))]
    found = from_chat(MESSAGES, *said)
    marked = [["cache_control" in block for block in message["content"]] for message in found.messages]
    assert marked == [[True], [True], [False, False, True, True]]
    prefill = from_chat(MESSAGES, user("a"), assistant(text("b", **MARK)))
    assert prefill.messages[1] == assistant(text("b", **MARK))


def test_what_goes_with_an_unsaid_turn_or_a_second_result_is_told() -> None:
    unsaid = from_chat(MESSAGES, user("hi"), {**assistant(""), "reasoning_content": "hm"}, user("on"))
    assert ([message["role"] for message in unsaid.messages], unsaid.dropped) == (["user"], ("reasoning_content",))
    twice = from_chat(MESSAGES, user("hi"), called(("c", "{}")), tool("c", "1"), tool("c", "2"))
    assert (twice.messages[2], twice.dropped) == (user(result("c", "2")), ("tool_result",))
