import msgspec

from translating import (
    CHAT,
    SPREAD,
    ZAI_CHAT,
    assistant,
    from_messages,
    result,
    text,
    tool,
    use,
    user,
)
from trimtab.models import Target

PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
SILENT = Target(msgspec.structs.replace(CHAT.upstream, reasoning="none"), CHAT.model)


def thought(said: str) -> dict[str, str]:
    return {"type": "thinking", "thinking": said, "signature": "s"}


def test_what_the_system_says() -> None:
    found = from_messages(CHAT, user("hi"), system=[text("a"), {"type": "x"}, text(""), text("b")])
    assert found.messages[0] == {"role": "system", "content": "a\n\nb"}
    assert found.dropped == ("system",)


def test_texts_of_the_assistant_come_before_its_calls() -> None:
    found = from_messages(CHAT, user("hi"), assistant(text("a"), use("c"), text("b")), user(result("c", "r")))
    assert (found.messages[1]["content"], found.dropped) == ("a\n\nb", ("text_after_tool_use",))
    assert from_messages(CHAT, user("hi"), assistant(text("a"), use("c")), user(result("c", "r"))).dropped == ()


def test_a_call_without_a_result_is_answered_and_a_result_without_a_call_is_a_text() -> None:
    found = from_messages(CHAT, user("hi"), assistant(use("a"), use("b")), user(result("b", "B"), result("x", "X")))
    assert found.messages[2:] == [
        tool("a", "Error: [no result]"),
        tool("b", "B"),
        user("Result of tool call x:\nX"),
    ]
    assert from_messages(CHAT, user("hi"), assistant(use("a"))).messages[2:] == [tool("a", "Error: [no result]")]
    assert from_messages(CHAT, user(result("x"))).messages == [user("Result of tool call x:")]


def test_turns_of_one_side_are_one_message() -> None:
    said = (user("a"), user("b"), assistant("c"), assistant(use("d")), user(result("d", "r")), user("e"))
    found = from_messages(CHAT, *said).messages
    assert found[0] == user(text("a"), text("b"))
    assert (found[1]["content"], found[1]["tool_calls"][0]["id"]) == ("c", "d")
    assert found[2:] == [tool("d", "r"), user("e")]


def test_nothing_said_is_told_or_left_out() -> None:
    assert from_messages(CHAT, user("")).messages == [user("[left out by the proxy: an empty message]")]
    assert from_messages(CHAT, assistant("")).messages == [user("Please continue.")]
    assert from_messages(CHAT, user("a"), assistant(""), user("b")).messages == [user(text("a"), text("b"))]


def test_documents_where_they_are_not_read() -> None:
    assert from_messages(CHAT, user(PDF)).messages[0]["content"][0]["type"] == "file"
    found = from_messages(ZAI_CHAT, user(PDF, text("a")))
    assert found.messages == [user(text("[left out by the proxy: document]"), text("a"))]
    assert found.dropped == ("document",)


def test_words_put_into_the_models_mouth_are_told() -> None:
    assert from_messages(CHAT, user("a"), assistant("b")).dropped == ("prefill",)


def test_thoughts() -> None:
    said = (user("a"), assistant(thought("t"), thought("u"), text("b")), user("c"))
    assert from_messages(CHAT, *said).messages[1]["reasoning_content"] == "t\n\nu"
    assert "reasoning_content" not in from_messages(SILENT, *said).messages[1]
    calls = (user("a"), assistant(use("x")), user(result("x")), assistant(thought("t"), use("y")), user(result("y")))
    spread = from_messages(SPREAD, *calls, assistant(use("z")), user(text("stop")), assistant(use("q"))).messages
    assert [m.get("reasoning_content") for m in spread if m["role"] == "assistant"] == [None, "t", "t", None]


def test_a_call_that_is_counted_anew_is_told_from_the_first() -> None:
    said = [message for _ in range(3) for message in (user("a"), assistant(use("0")), user(result("0", "r")))]
    ids = [message["tool_call_id"] for message in from_messages(CHAT, *said).messages if message["role"] == "tool"]
    assert ids[0] == "0"
    assert len(set(ids)) == 3


def test_what_goes_with_an_unsaid_turn_or_a_second_result_is_told() -> None:
    unsaid = from_messages(ZAI_CHAT, user("hi"), assistant(thought("hm")), user("on"))
    assert ([message["role"] for message in unsaid.messages], unsaid.dropped) == (["user"], ("thinking",))
    twice = from_messages(CHAT, user("hi"), assistant(use("c")), user(result("c", "1"), result("c", "2")))
    assert (twice.messages[2], twice.dropped) == (tool("c", "2"), ("tool_result",))
