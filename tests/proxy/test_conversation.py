"""What a client sent, as nouns over its own bytes."""

import json
from collections.abc import Sequence

import msgspec

from trimtab.conversation import (
    RESULTS,
    Block,
    Conversation,
    DialectName,
    Head,
    Image,
    Message,
    Prefix,
    Text,
    ToolResult,
)
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


def along(*raws: bytes, before: Sequence[Prefix] = ()) -> Conversation:
    """A conversation as it comes out of a table that knows its first messages."""
    messages = tuple(Message(CODEC, "user", raw) for raw in raws)
    prefixes = (*before, *(Prefix() for _ in raws[len(before) :]))
    return msgspec.structs.replace(conversation(CODEC), messages=messages, prefixes=prefixes)


CODEC = Codec()


def joined(case: Conversation, seen: list[bytes]) -> bytes:
    def step(known: bytes, message: Message) -> bytes:
        seen.append(message.raw)
        return known + message.raw

    return case.fold("joined", start=b"", step=step)


def test_what_is_worked_out_along_a_conversation_costs_its_new_messages() -> None:
    seen: list[bytes] = []
    first = along(b"a", b"b", b"c")
    assert joined(first, seen) == b"abc"
    assert joined(first, seen) == b"abc"
    assert joined(along(b"a", b"b", b"c", b"d", b"e", before=first.prefixes), seen) == b"abcde"
    assert seen == [b"a", b"b", b"c", b"d", b"e"]


def test_another_last_message_costs_no_more_than_itself() -> None:
    seen: list[bytes] = []
    first = along(b"a", b"b", b"c")
    joined(first, seen)
    assert joined(along(b"a", b"b", b"x", before=first.prefixes[:2]), seen) == b"abx"
    assert seen == [b"a", b"b", b"c", b"x"]


def test_results_along_a_conversation_do_not_pile_up() -> None:
    seen: list[bytes] = []
    case, raws = along(b"0"), [b"0"]
    for number in range(1, 40):
        raws.append(b"%d" % number)
        case = along(*raws, before=case.prefixes)
        joined(case, seen)
    assert sum(len(prefix.known) for prefix in case.prefixes) <= RESULTS + 1
    assert len(seen) == 40


def test_an_edited_conversation_is_gone_through_anew() -> None:
    seen: list[bytes] = []
    case = along(b"a", b"b")
    joined(case, seen)
    edited = case.with_message(0, Message(CODEC, "user", b"x"))
    assert joined(edited, seen) == joined(edited, seen) == b"xb"
    assert seen == [b"a", b"b", b"x", b"b", b"x", b"b"]
