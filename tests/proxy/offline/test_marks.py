"""Cache marks as Cline and Roo Code set them."""

from typing import Any

import msgspec

from trimtab.conversation import Conversation
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable
from trimtab.offline.marks import MARK, has_marks, with_marks

ANSWER = {"role": "assistant", "content": "ok"}


def parsed(*messages: dict[str, Any]) -> Conversation:
    return DIALECTS["chat"].parse(msgspec.json.encode({"model": "m", "messages": messages}), MessageTable(10_000))


def marked(*messages: dict[str, Any]) -> list[Any]:
    sent: list[Any] = msgspec.json.decode(with_marks(parsed(*messages)).render())["messages"]
    return sent


def text(value: str, *, mark: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": value, **(MARK if mark else {})}


def test_the_last_two_messages_of_the_user_carry_a_mark_on_their_last_block() -> None:
    users = [{"role": "user", "content": [text("a"), text(str(number))]} for number in range(3)]
    sent = marked(users[0], ANSWER, users[1], ANSWER, users[2])
    assert [message["content"] for message in sent] == [
        [text("a"), text("0")], "ok",
        [text("a"), text("1", mark=True)], "ok",
        [text("a"), text("2", mark=True)],
    ]  # fmt: skip


def test_a_text_becomes_a_list_of_one_block() -> None:
    tool = {"role": "tool", "tool_call_id": "t", "content": "found"}
    first = {"role": "user", "content": "a"}
    sent = marked({"role": "system", "content": "s"}, first, ANSWER, first, ANSWER, tool)
    assert [message["content"] for message in sent] == [
        "s", [text("a")], "ok", [text("a", mark=True)], "ok", [text("found", mark=True)],
    ]  # fmt: skip


def test_what_holds_no_block_stays_as_it_is() -> None:
    assert marked({"role": "user", "content": []}) == [{"role": "user", "content": []}]
    assert marked({"role": "user", "content": None}) == [{"role": "user", "content": None}]


def test_own_marks_are_seen() -> None:
    assert not has_marks(parsed({"role": "user", "content": "a"}))
    assert has_marks(parsed({"role": "user", "content": [text("a", mark=True)]}))
