"""What a client sent, as nouns over its own bytes."""

import json
from collections.abc import Sequence

from trimtab.conversation import Block, Conversation, DialectName, Head, Image, Message, Text, ToolResult
from trimtab.splice import scan

BODY = b'{ "model" : "m", "stream":true, "messages":[ {"role":"user"} , {"role":"assistant"} ], "x": 1.0 }'


class Codec:
    """A dialect that counts how often it is asked."""

    name: DialectName = "chat"

    def __init__(self, *blocks: Block) -> None:
        self.found = blocks
        self.asked = 0

    def blocks(self, raw: bytes) -> tuple[Block, ...]:
        self.asked += 1
        return self.found

    def with_blocks(self, raw: bytes, blocks: Sequence[Block]) -> bytes:
        return raw + b"!"


def conversation(codec: Codec) -> Conversation:
    scanned = scan(BODY, ("messages",))
    messages = tuple(Message(codec, "user", raw) for raw in scanned.items["messages"].raws)
    return Conversation("chat", Head(scanned), messages)


def test_blocks_are_read_once() -> None:
    codec = Codec(Text(text="a"))
    message = Message(codec, "user", b"{}")
    assert codec.asked == 0
    assert message.blocks == message.blocks == (Text(text="a"),)
    assert codec.asked == 1


def test_a_message_is_known_by_its_bytes() -> None:
    one, two = Message(Codec(), "user", b"{}"), Message(Codec(), "user", b"{ }")
    assert len(one.digest) == 16
    assert one.digest == Message(Codec(), "user", b"{}").digest != two.digest
    assert repr(one) == "Message(chat, user, 2 bytes)"


def test_blocks_are_found_in_tool_results_too() -> None:
    message = Message(Codec(ToolResult(id="t", content=(Image(url="u"),))), "user", b"{}")
    assert message.has(Image)
    assert not message.has(Text)
    assert message.notes == {Image: True, Text: False}


def test_an_edit_makes_another_message() -> None:
    message = Message(Codec(), "user", b"{}")
    assert message.with_blocks([]).raw == b"{}!"
    assert message.raw == b"{}"


def test_an_untouched_conversation_leaves_as_it_came() -> None:
    assert conversation(Codec()).render() == BODY


def test_only_what_changed_changes() -> None:
    before = conversation(Codec())
    after = before.with_message(0, Message(Codec(), "user", b"[new]"))
    assert after.render() == BODY.replace(b'{"role":"user"}', b"[new]")
    assert before.render() == BODY
    assert before.with_message(1, None).render() == BODY.replace(
        b' {"role":"user"} , {"role":"assistant"} ', b' {"role":"user"} '
    )


def test_members_change_in_place() -> None:
    before = conversation(Codec())
    after = before.with_member("model", b'"n"').with_member("stream", None).with_member("y", b"2")
    assert (after.model, after.stream, after.head.get("y")) == ("n", False, 2)
    assert (before.model, before.stream) == ("m", True)
    assert "stream" not in after.head
    assert "x" in after.head
    assert json.loads(after.render()) == {
        "model": "n",
        "messages": [{"role": "user"}, {"role": "assistant"}],
        "x": 1,
        "y": 2,
    }


def test_the_kinds_of_a_conversation() -> None:
    assert conversation(Codec(Text(text="a"))).has(Text)
    assert not conversation(Codec()).has(Text)
