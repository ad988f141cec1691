from typing import Any

from translating import CHAT, IMAGE, assistant, from_messages, parsed, result, text, tool, use, user
from trimtab.translate import Kind, pieces


def made(message: dict[str, Any]) -> list[tuple[Kind, str]]:
    found = pieces(parsed("messages", {"model": "m", "messages": [message]}).messages[0], "chat")
    return [(piece.kind, piece.body.decode()) for piece in found]


def test_what_another_dialect_cannot_say_is_lost_and_told() -> None:
    assert made(assistant({"type": "redacted_thinking", "data": "x"}, {"type": "server_tool_use"})) == [
        (Kind.LOST, "redacted_thinking"),
        (Kind.LOST, "server_tool_use"),
    ]
    assert made({**user(text("a", citations=[1], x=None)), "extra": 1}) == [
        (Kind.LOST, "extra"),
        (Kind.LOST, "citations"),
        (Kind.TEXT, "a"),
    ]
    assert made(user({"type": "new"})) == [(Kind.TEXT, "[left out by the proxy: new]"), (Kind.LOST, "new")]
    assert made(user(use("a"))) == [(Kind.LOST, "tool_use")]
    assert made(assistant({"type": "thinking", "thinking": "", "signature": "s"})) == []


def test_an_image_that_only_its_vendor_can_find_is_told() -> None:
    image = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    assert made(user(image)) == [(Kind.TEXT, "[left out by the proxy: image]"), (Kind.LOST, "image")]


def test_a_search_result_is_its_text() -> None:
    block = {"type": "search_result", "title": "T", "source": "http://s", "content": [text("found")]}
    assert made(user(block)) == [(Kind.TEXT, "T\\nhttp://s\\nfound"), (Kind.LOST, "search_result")]


def test_a_result_keeps_its_texts_and_tells_what_it_lost() -> None:
    inner = [text("a"), text(""), {"type": "new"}, text("b")]
    found = from_messages(CHAT, user("go"), assistant(use("c")), user(result("c", *inner)))
    assert found.messages[2:] == [tool("c", "a\n\n[left out by the proxy: new]\n\nb")]
    assert found.dropped == ("new",)


def test_a_document_of_a_result_moves_as_images_do() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
    found = from_messages(CHAT, user("go"), assistant(use("c")), user(result("c", pdf, IMAGE)))
    assert [part["type"] for part in found.messages[3]["content"]] == ["text", "file", "image_url"]


def test_a_system_message_in_the_middle_keeps_its_place() -> None:
    said = (user("go"), assistant(use("c")), {"role": "system", "content": "now"}, user(result("c", "r"), text("t")))
    found = from_messages(CHAT, *said).messages
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "system", "user"]
