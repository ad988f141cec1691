"""What an edit may never break, stage by stage; the numbers are those of context.md 5."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from trimtab.conversation import Block, Conversation, Image, Message, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.errors import StageFailed
from trimtab.exchange import Exchange
from trimtab.facts import TokenCount
from trimtab.hookspecs import Reply, Stage, StageOptions, hookimpl
from trimtab.invariants import MAX_MARKS, broken, faults
from trimtab.testing import StageBench

PIXEL = {"type": "base64", "media_type": "image/png", "data": "aGk="}
MARK = {"cache_control": {"type": "ephemeral"}}


def text(said: str, **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **members}


def turn(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": content[0] if content and isinstance(content[0], str) else list(content)}


def use(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "read", "input": {"path": name}}


def result(name: str, *content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": list(content) or "a file"}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
MESSAGES = [
    turn("user", text("do it", **MARK)),
    turn("assistant", THOUGHT, text("reading"), use("a"), use("b")),
    turn("user", result("a"), result("b", {"type": "image", "source": PIXEL}, text("shown")), text("go on")),
    turn("assistant", {"type": "server_tool_use", "id": "s", "name": "web", "input": {}}, text("done")),
    turn("user", text("thanks"), {"type": "document", "source": {"type": "text", "data": "x"}}),
]


def call(name: str) -> dict[str, Any]:
    return {"id": name, "type": "function", "function": {"name": "read", "arguments": f'{{"path":"{name}"}}'}}


CHAT = [
    turn("system", "be brief"),
    turn("user", "do it"),
    {"role": "assistant", "content": "reading", "reasoning_content": "hm", "tool_calls": [call("a"), call("b")]},
    {"role": "tool", "tool_call_id": "a", "content": "a file"},
    {"role": "tool", "tool_call_id": "b", "content": "b file"},
    turn("user", "thanks"),
]

Change = Callable[[Message], Message | None]


def parsed(turns: Sequence[Any], dialect: str = "messages", **members: Any) -> Exchange:
    body = {"model": "small", "max_tokens": 9, **members, "messages": turns}
    return StageBench().exchange(body, dialect=dialect)


def put(*blocks: Block) -> Change:
    return lambda message: message.with_blocks(blocks)


def at(place: int, change: Callable[[Any], Block | None]) -> Change:
    """One block changed, or removed."""

    def work(message: Message) -> Message:
        new = [change(block) if number == place else block for number, block in enumerate(message.blocks)]
        return message.with_blocks([block for block in new if block is not None])

    return work


def order(*places: int) -> Change:
    return lambda message: message.with_blocks([message.blocks[place] for place in places])


def without(kind: type[Block]) -> Change:
    return lambda message: message.with_blocks([block for block in message.blocks if not isinstance(block, kind)])


def raw(body: bytes, role: str = "user") -> Change:
    return lambda message: Message(message.codec, role, body)


def gone(message: Message) -> None:
    return None


def fresh(block: Block, **changes: Any) -> Block:
    """The block with changes."""
    return type(block)(**{name: getattr(block, name) for name in block.__struct_fields__} | changes)


def marked() -> bytes:
    return b'{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}'


def image() -> Image:
    return Image(media_type="image/png", data="aGk=")


class Case(NamedTuple):
    """An edit that breaks something, and what it is called."""

    number: str
    dialect: str
    edits: Sequence[tuple[int, Change]]
    fault: str


def in_messages(number: str, fault: str, *edits: tuple[int, Change]) -> Case:
    return Case(number, "messages", edits, fault)


def in_chat(number: str, fault: str, *edits: tuple[int, Change]) -> Case:
    return Case(number, "chat", edits, fault)


CASES = [
    in_messages("I1", "tool call 'a' has no result behind it", (2, gone)),
    in_messages("I1", "tool result 'a' has no call before it", (1, gone)),
    in_messages("I1", "tool call 'b' has no result behind it", (2, at(1, lambda _: None))),
    in_messages("I1", "tool result 'x' has no call before it", (2, at(0, lambda block: fresh(block, id="x")))),
    in_messages("I1", "tool call 'a' has no result behind it", (4, gone), (3, gone), (2, gone)),
    in_chat("I1", "tool call 'b' has no result behind it", (4, gone)),
    in_chat("I1", "tool call 'b' has no result behind it", (5, gone), (4, gone)),
    in_chat("I1", "tool result 'a' has no call before it", (2, gone)),
    in_messages("I2", "messages[1]: a thinking block was changed", (1, at(0, lambda block: fresh(block, text="")))),
    in_messages("I2", "messages[1]: a thinking block was changed", (1, without(Thinking))),
    in_messages("I2", "messages[1]: blocks changed their order", (1, order(2, 0, 1, 3))),
    in_messages("I2", "messages[1]: a thinking block no longer comes first", (1, order(1, 0, 2, 3))),
    in_messages("I2", "messages[0]: a thinking block was changed", (0, gone), (0, without(Thinking))),
    in_chat("I2", "messages[2]: a thinking block was changed", (2, at(0, lambda block: fresh(block, text="ha")))),
    in_messages("I3", "a cache mark was lost", (0, put(Text(text="do it")))),
    in_messages(
        "I3",
        f"there are more than {MAX_MARKS} cache marks",
        (4, lambda old: old.with_blocks([*old.blocks, *([old.codec.blocks(marked())[0]] * 4)])),
    ),
    in_messages("I4", "the first message is the assistant's", (0, gone)),
    in_messages("I4", "no message is left", *[(0, gone)] * 5),
    in_messages("I4", "a message of role 'user' is empty", (0, at(0, lambda block: fresh(block, text="")))),
    in_messages("I4", "a message of role 'user' is empty", (0, at(0, lambda block: fresh(block, text=" \n")))),
    in_messages("I4", "messages[2]: tool result 'a' is empty now", (2, at(0, lambda block: fresh(block, content=())))),
    in_messages(
        "I4",
        "a message of role 'user' is empty",
        (2, at(0, lambda block: fresh(block, content=(Text(text="", raw=b'{"type":"text","text":""}'),)))),
    ),
    in_messages("I4", "messages[0]: the role changed", (0, raw(marked().replace(b"user", b"system"), "system"))),
    in_chat("I4", "messages[0]: the role changed", (0, raw(b'{"role":"user","content":"be brief"}'))),
    in_chat("I4", "a message of role 'user' is empty", (1, raw(b'{"role":"user","content":""}'))),
    in_messages(
        "I5",
        "messages[2]: an image was put where none was",
        (2, lambda old: old.with_blocks([old.blocks[0], fresh(old.blocks[1], content=(Text(text="x"),)), image()])),
    ),
    in_chat(
        "I5",
        "messages[3]: an image was put into a tool message",
        (3, lambda old: old.with_blocks([fresh(old.blocks[0], content=(image(),))])),
    ),
    in_messages("I6", "messages[3]: an opaque block was changed", (3, without(Opaque))),
    in_messages("I6", "messages[4]: a document was changed", (4, put(Text(text="thanks")))),
    in_messages("I7", "messages[1]: a tool call was changed", (1, at(2, lambda block: fresh(block, input=b"{}")))),
    in_chat("I7", "messages[2]: a tool call was changed", (2, at(2, lambda block: fresh(block, input=b"{}")))),
    in_messages("-", "messages[0]: it cannot be read any more", (0, raw(b'{"role":"user","content":5}'))),
]


class Edits(Stage[StageOptions]):
    """Makes edits, puts a fact, and leaves work for later."""

    name = "edits"

    def __init__(self, edits: Sequence[tuple[int, Change]]) -> None:
        super().__init__(StageOptions())
        self.edits = edits

    @hookimpl
    async def request(self, exchange: Exchange) -> Reply | None:
        for index, change in self.edits:
            exchange.edit(index, change(exchange.conversation.messages[index]), "a test")
        exchange.put(TokenCount(total=1))
        exchange.later(self.work)
        return None

    async def work(self) -> None:
        """Nothing."""


class MayEdit(Edits):
    """The same, optional."""

    optional = True


def turns_of(dialect: str) -> Sequence[Any]:
    return MESSAGES if dialect == "messages" else CHAT


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.dialect}-{case.fault}")
async def test_a_broken_edit_is_undone_with_its_facts_and_its_work(case: Case) -> None:
    async with StageBench(MayEdit(case.edits)) as bench:
        exchange = bench.exchange({"model": "small", "messages": turns_of(case.dialect)}, dialect=case.dialect)
        await bench.request(exchange)
    (note,) = exchange.notes
    assert note.startswith(f"stage 'edits' undone: {case.fault}")
    assert exchange.conversation is exchange.received
    assert (exchange.edits, exchange.get(TokenCount), exchange.pending) == ([], None, [])


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES[:: len(CASES) // 6], ids=lambda case: case.number)
async def test_a_broken_edit_of_a_needed_stage_fails_the_request(case: Case) -> None:
    async with StageBench(Edits(case.edits)) as bench:
        exchange = bench.exchange({"model": "small", "messages": turns_of(case.dialect)}, dialect=case.dialect)
        with pytest.raises(StageFailed) as caught:
            await bench.request(exchange)
    assert caught.value.message.startswith(f"stage 'edits' failed: {case.fault}")


FINE = [
    ("messages", [(0, at(0, lambda block: fresh(block, text="do it, please")))]),
    ("messages", [(1, at(1, lambda _: None))]),
    ("messages", [(2, at(0, lambda block: fresh(block, content=(Text(text="[cleared]"),))))]),
    ("messages", [(2, at(1, lambda block: fresh(block, content=(Text(text="[image]"), *block.content[1:]))))]),
    ("messages", [(2, gone), (1, gone)]),
    ("messages", [(1, gone), (1, gone), (1, at(1, lambda block: fresh(block, text="well done")))]),
    ("messages", [(3, gone)]),
    ("chat", [(2, gone), (2, gone), (2, gone)]),
    ("chat", [(3, at(0, lambda block: fresh(block, content=(Text(text="[cleared]"),))))]),
    ("chat", [(0, put(Text(text="be very brief")))]),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("dialect", "edits"), FINE)
async def test_an_edit_that_keeps_the_rules_stays(dialect: str, edits: Sequence[tuple[int, Change]]) -> None:
    async with StageBench(MayEdit(edits)) as bench:
        exchange = bench.exchange({"model": "small", "messages": turns_of(dialect)}, dialect=dialect)
        await bench.request(exchange)
    assert exchange.notes == []
    assert len(exchange.edits) == len(edits)
    assert exchange.get(TokenCount) == TokenCount(total=1)
    assert len(exchange.pending) == 1


def edited(turns: Sequence[Any], dialect: str, *edits: tuple[int, Change], **members: Any) -> str:
    """What is wrong after some edits."""
    exchange = parsed(turns, dialect, **members)
    for index, change in edits:
        exchange.edit(index, change(exchange.conversation.messages[index]), "a test")
    return broken(exchange.received, exchange.conversation, exchange.edits)


SORRY = at(0, lambda block: fresh(block, text="changed"))


def test_what_the_client_sent_broken_is_no_fault_of_the_stage() -> None:
    lonely = [turn("assistant", "first"), turn("user", result("nobody")), turn("assistant", use("open")), *MESSAGES]
    assert len(faults(parsed(lonely).conversation)) == 3
    assert edited(lonely, "messages", (0, SORRY)) == ""
    assert edited([turn("user", text("")), *MESSAGES], "messages", (1, SORRY)) == ""
    marks = [turn("user", *[text("x", **MARK)] * 6), turn("user", "y")]
    assert edited(marks, "messages", (1, SORRY)) == ""


def test_what_the_client_sent_unreadable_is_no_fault_of_the_stage() -> None:
    for dialect in ("messages", "chat"):
        turns = [turn("user", "hello"), {"role": "user", "content": {"odd": 1}}]
        assert edited(turns, dialect, (0, SORRY)) == ""
        assert edited(turns, dialect, (0, raw(b'{"role":"user","content":7}'))).startswith("messages[0]: it cannot be")


@pytest.mark.parametrize("content", [b'""', b"[]", b"null", b'[{"type":"text","text":" "}]'])
def test_a_second_fault_of_the_same_words_is_the_stages(content: bytes) -> None:
    turns = [turn("user", text("")), turn("user", "a"), turn("user", "b")]
    empties = raw(b'{"role":"user","content":%s}' % content)
    assert edited(turns, "messages", (1, empties)) == "a message of role 'user' is empty or holds an empty text"


def test_what_is_known_of_a_pair_does_not_hold_the_message_before() -> None:
    """A stage keeps the edited message with the one before: both ways they would wait for the garbage collector."""
    exchange = parsed(MESSAGES)
    exchange.edit(0, SORRY(exchange.conversation.messages[0]), "a test")
    broken(exchange.received, exchange.conversation, exchange.edits)
    before, after = exchange.received.messages[0], exchange.conversation.messages[0]
    assert after.notes["compared"][0] is before.raw
    assert all(part is not before for part in after.notes["compared"])


def test_to_mend_what_the_client_sent_is_no_fault() -> None:
    marks = [turn("user", *[text("x", **MARK)] * 6), turn("user", "y")]
    exchange = parsed(marks)
    fewer = exchange.conversation.messages[0].blocks[:5]
    exchange.edit(0, exchange.conversation.messages[0].with_blocks(fewer), "")
    exchange.edit(1, None, "")
    assert broken(exchange.received, exchange.conversation, exchange.edits) == ""


def test_a_mark_may_move_to_another_block_and_another_message() -> None:
    turns = [turn("user", text("a", **MARK), text("b")), turn("user", text("c"))]
    (marked_a, b), (c,) = (message.blocks for message in parsed(turns).conversation.messages)
    moved = Text(raw=b'{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}', text="b")
    assert edited(turns, "messages", (0, put(moved))) == ""
    assert edited(turns, "messages", (0, put(b)), (1, put(marked_a, c))) == ""
    assert edited(turns, "messages", (0, put(b))) == "a cache mark was lost"


def test_marks_of_system_and_tools_count_too_and_quoted_ones_do_not() -> None:
    tools = [{"name": "t", "input_schema": {}, **MARK}]
    system = [text("s", **MARK)]
    turns = [turn("user", text("x", **MARK)), turn("user", text('it says "cache_control" here'))]
    more = put(*parsed([turn("user", *[text("y", **MARK)] * 2)]).conversation.messages[0].blocks)
    assert edited(turns, "messages", (1, more)) == ""
    assert edited(turns, "messages", (1, more), system=system, tools=tools) == "there are more than 4 cache marks"


def test_an_assistants_message_must_not_end_in_a_thought() -> None:
    turns = [turn("user", "go"), turn("assistant", THOUGHT, text("well"))]
    assert edited(turns, "messages", (1, without(Text))) == "messages[1]: it ends in a thinking block"
    chat = [turn("user", "go"), {"role": "assistant", "reasoning_content": "hm", "content": "well"}]
    assert edited(chat, "chat", (1, without(Text))) == ""


def test_a_change_of_members_breaks_nothing() -> None:
    conversation: Conversation = parsed(MESSAGES).conversation
    assert broken(conversation, conversation.with_member("model", b'"x"')) == ""
    exchange = parsed(MESSAGES)
    exchange.set_member("model", "x", "a test")
    exchange.edit(3, None, "a test")
    assert broken(exchange.received, exchange.conversation, exchange.edits) == ""


def test_the_places_of_messages_are_followed_through_all_edits() -> None:
    """Two equal messages, one of them removed, the other one broken later under its new number."""
    turns = [turn("user", "a"), MESSAGES[1], MESSAGES[2], MESSAGES[1], MESSAGES[2], turn("user", "b")]
    edits = [(2, gone), (1, gone), (1, SORRY_TEXT), (1, at(3, lambda block: fresh(block, name="write")))]
    assert edited(turns, "messages", *edits[:3]) == ""
    assert edited(turns, "messages", *edits) == "messages[1]: a tool call was changed"
    twice = [*edits[:2], edits[3], edits[2]]
    assert edited(turns, "messages", *twice) == "messages[1]: a tool call was changed"


SORRY_TEXT = at(1, lambda block: fresh(block, text="changed"))


def test_blocks_know_their_kinds_here() -> None:
    """The cases above rest on it."""
    kinds = [[type(block) for block in message.blocks] for message in parsed(MESSAGES).conversation.messages]
    assert kinds[1] == [Thinking, Text, ToolUse, ToolUse]
    assert kinds[2] == [ToolResult, ToolResult, Text]
    assert kinds[3][0] is Opaque


def test_all_results_of_one_turn_stand_in_the_very_next_message() -> None:
    apart = [
        turn("user", "go"),
        turn("assistant", use("a"), use("b")),
        turn("user", result("a")),
        turn("user", result("b")),
    ]
    assert faults(parsed(apart).conversation) == [
        "tool call 'b' has no result behind it",
        "tool result 'b' has no call before it",
    ]
    chat = [*CHAT[:4], turn("user", "wait"), CHAT[4]]
    assert faults(parsed(chat, "chat").conversation) == [
        "tool call 'b' has no result behind it",
        "tool result 'b' has no call before it",
    ]
    assert faults(parsed(MESSAGES).conversation) == faults(parsed(CHAT, "chat").conversation) == []


def items(*kinds: str) -> Conversation:
    """A Responses conversation: "c1" is a call, "o1" its output, "r" a thought, "u" the user, "x" an unknown item."""
    made: list[dict[str, Any]] = []
    for kind in kinds:
        match kind[0]:
            case "c":
                made.append({"type": "function_call", "call_id": kind[1:], "name": "read", "arguments": "{}"})
            case "o":
                made.append({"type": "function_call_output", "call_id": kind[1:], "output": "x"})
            case "r":
                made.append({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]})
            case "x":
                made.append({"type": "mcp_call", "id": "m"})
            case _:
                made.append(turn("user", "go"))
    return StageBench().exchange({"model": "small", "input": made}, dialect="responses").conversation


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ("u r c1 x c2 o1 o2 u", []),
        ("u c1 c2 u o2 o1 r c3 o3", []),
        ("u c1 c2 o1 u", ["tool call '2' has no result behind it"]),
        ("u c1 c2 o1 c3 o3", ["tool call '2' has no result behind it"]),
        ("u o1", ["tool result '1' has no call before it"]),
        ("u c1", ["tool call '1' has no result behind it"]),
    ],
)
def test_calls_in_a_row_of_items_wait_for_all_their_outputs(kinds: str, found: list[str]) -> None:
    assert faults(items(*kinds.split())) == found


def test_what_is_noted_of_a_message_leaves_the_notes_of_stages_alone() -> None:
    exchange = parsed([turn("user", text("u")), turn("assistant", use("1")), turn("user", result("1", text("r")))])
    message = exchange.conversation.messages[1]
    # The name under which stages keep the calls that a message makes.
    message.notes["calls"] = theirs = object()
    assert faults(exchange.conversation) == faults(exchange.conversation) == []
    assert message.notes["calls"] is theirs


def test_marks_are_counted_where_only_some_messages_have_been_looked_at() -> None:
    marks = {"cache_control": {"type": "ephemeral"}}
    exchange = parsed([turn("user", *[text("t", **marks) for _ in range(MAX_MARKS)]), turn("assistant", text("a"))])
    assert faults(exchange.conversation) == []
    more = parsed([turn("user", *[text("t", **marks) for _ in range(MAX_MARKS + 1)])]).conversation.messages
    both = exchange.conversation.with_messages((*exchange.conversation.messages, *more))
    assert faults(both) == [f"there are more than {MAX_MARKS} cache marks"] * (MAX_MARKS + 1)
