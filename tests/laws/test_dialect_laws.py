"""What holds for every request, in every dialect: untouched means untouched."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fixtures import bodies, conversations, needs_recordings, turns
from laws.replies import FIXED
from laws.samples import dumped
from trimtab.conversation import Block, Image, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects import DIALECTS
from trimtab.memo import MessageTable

PATHS = {"/v1/chat/completions": "chat", "/v1/messages": "messages"}


def recorded() -> Iterator[tuple[str, str, bytes]]:
    """Name, dialect and body of every recorded request, and of the last one of every recorded conversation."""
    for name, path, body in bodies():
        yield name, PATHS[path], body
    for file in conversations():
        *_, (path, body) = turns(file, "glm-4.6")
        yield file.name, PATHS[path], body


@needs_recordings
def test_recorded_requests_leave_as_they_came() -> None:
    for name, dialect, body in recorded():
        for sent in (body, json.dumps(json.loads(body), indent=2).encode(), msgspec.json.encode(json.loads(body))):
            conversation = DIALECTS[dialect].parse(sent, MessageTable(10**8))
            assert conversation.render() == sent, name


@needs_recordings
def test_recorded_messages_keep_their_bytes_with_their_own_blocks() -> None:
    for name, dialect, body in recorded():
        for message in DIALECTS[dialect].parse(body, MessageTable(10**8)).messages:
            assert message.with_blocks(message.blocks).raw == message.raw, name


@needs_recordings
def test_a_changed_text_changes_nothing_else_in_recorded_messages() -> None:
    for name, dialect, body in recorded():
        for message in DIALECTS[dialect].parse(body, MessageTable(10**8)).messages[:40]:
            for at, block in enumerate(message.blocks):
                if isinstance(block, Text) and block.text:
                    new = msgspec.structs.replace(block, text="CHANGED é")
                    raw = message.with_blocks((*message.blocks[:at], new, *message.blocks[at + 1 :])).raw
                    assert "CHANGED é".encode() in raw, name
                    assert json.loads(raw) == _with_text(json.loads(message.raw), block.text, "CHANGED é", at), name


def _with_text(message: dict[str, Any], old: str, new: str, at: int) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": new}
    parts = list(content)
    at -= 1 if message.get("reasoning_content") else 0
    assert parts[at]["text"] == old
    parts[at] = {**parts[at], "text": new}
    return {**message, "content": parts}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), TEXTS)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "cache_control"]), SCALARS, max_size=3)
TEXT_PARTS = st.builds(lambda text, more: {**more, "type": "text", "text": text}, TEXTS, OBJECTS)
OTHERS = st.builds(lambda more: {"type": "server_thing", **more}, OBJECTS)

A_IMAGES = st.sampled_from(
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}, "cache_control": None},
        {"type": "image", "source": {"type": "file", "file_id": "f1"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
    ]
)
RESULTS = st.builds(
    lambda content, flag, more: {"type": "tool_result", "tool_use_id": "t1", **content, **flag, **more},
    st.one_of(
        st.just({}),
        st.just({"content": None}),
        st.builds(lambda text: {"content": text}, TEXTS),
        st.builds(lambda parts: {"content": parts}, st.lists(st.one_of(TEXT_PARTS, A_IMAGES, OTHERS), max_size=3)),
    ),
    st.sampled_from([{}, {"is_error": True}, {"is_error": False}, {"is_error": None}]),
    OBJECTS,
)
A_PARTS = st.one_of(
    TEXT_PARTS,
    A_IMAGES,
    OTHERS,
    RESULTS,
    TEXTS,
    st.builds(lambda given: {"type": "tool_use", "id": "t1", "name": "n", "input": given}, OBJECTS),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "c2ln"}, TEXTS),
    st.just({"type": "redacted_thinking", "data": "eHg="}),
)
A_MESSAGES = st.builds(
    lambda role, content, more: {"role": role, **content, **more},
    st.sampled_from(["user", "assistant", "system"]),
    st.one_of(
        st.just({}),
        st.builds(lambda content: {"content": content}, st.one_of(st.none(), TEXTS, st.lists(A_PARTS, max_size=4))),
    ),
    OBJECTS,
)
C_PARTS = st.one_of(
    TEXT_PARTS,
    OTHERS,
    TEXTS,
    st.sampled_from(
        [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image_url", "image_url": "https://example.com/a.png"},
            {"type": "image_url", "image_url": None},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        ]
    ),
)
C_CALLS = st.sampled_from(
    [
        {"id": "c1", "type": "function", "function": {"name": "n", "arguments": '{"a": "é"}'}, "extra": 1},
        {"id": "c2", "type": "function", "function": {"name": "n", "arguments": ""}},
        {"id": "c3", "function": {"name": "n", "arguments": "{broken"}},
        {"id": "c4", "type": "custom", "custom": {"name": "n", "input": "x"}},
        {"id": "c5", "type": "function", "function": None},
    ]
)
C_MESSAGES = st.builds(
    lambda role, content, calls, more, extra: {"role": role, **content, **calls, **more, **extra},
    st.sampled_from(["user", "assistant", "system", "developer", "tool", "function"]),
    st.one_of(
        st.just({}),
        st.builds(lambda content: {"content": content}, st.one_of(st.none(), TEXTS, st.lists(C_PARTS, max_size=4))),
    ),
    st.one_of(
        st.just({}),
        st.just({"tool_calls": None}),
        st.builds(lambda calls: {"tool_calls": calls}, st.lists(C_CALLS, max_size=3)),
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "reasoning_content": st.one_of(st.none(), TEXTS),
            "reasoning": st.one_of(st.none(), TEXTS),
            "refusal": st.one_of(st.none(), TEXTS),
            "function_call": st.sampled_from([None, {"name": "n", "arguments": "{}"}]),
            "tool_call_id": st.just("c1"),
            "name": st.just("x"),
        },
    ),
    OBJECTS,
)
FORMS = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])


@given(message=A_MESSAGES, form=FORMS)
def test_any_anthropic_message_keeps_its_bytes(message: dict[str, Any], form: dict[str, Any]) -> None:
    raw = json.dumps(message, **form).encode()
    assert FIXED["messages"].with_blocks(raw, FIXED["messages"].blocks(raw)) == raw


@given(message=C_MESSAGES, form=FORMS)
def test_any_chat_message_keeps_its_bytes(message: dict[str, Any], form: dict[str, Any]) -> None:
    raw = json.dumps(message, **form).encode()
    assert FIXED["chat"].with_blocks(raw, FIXED["chat"].blocks(raw)) == raw


def plain(block: Block) -> Block:
    """A block without its own bytes."""
    changes: dict[str, Any] = {"raw": b""}
    if isinstance(block, ToolResult):
        changes["content"] = tuple(map(plain, block.content))
    return msgspec.structs.replace(block, **changes)


def edited(block: Block, text: str) -> Block:
    """A block as a stage might change it."""
    match block:
        case Text():
            return msgspec.structs.replace(block, text=text)
        case Image():
            return msgspec.structs.replace(block, media_type="image/webp", data="eA==", url="")
        case ToolUse():
            return msgspec.structs.replace(block, id="new", name=text, input=b'{"b":2}')
        case ToolResult():
            return msgspec.structs.replace(block, content=tuple(edited(inner, text) for inner in block.content))
        case Thinking(redacted=False):
            return msgspec.structs.replace(block, text=text)
    return block


@given(
    message=st.one_of(A_MESSAGES.map(lambda m: ("messages", m)), C_MESSAGES.map(lambda m: ("chat", m))),
    text=TEXTS.filter(bool),
    form=FORMS,
)
def test_a_changed_block_is_read_back_as_changed(
    message: tuple[str, dict[str, Any]], text: str, form: dict[str, Any]
) -> None:
    dialect = FIXED[message[0]]
    raw = json.dumps(message[1], **form).encode()
    blocks = tuple(edited(block, text) for block in dialect.blocks(raw))
    after = dialect.with_blocks(raw, blocks)
    assert tuple(map(plain, dialect.blocks(after))) == tuple(map(plain, blocks))
    kept = {k: v for k, v in message[1].items() if k in ("role", "a", "b", "cache_control", "name")}
    assert {k: v for k, v in json.loads(after).items() if k in kept} == kept


@given(
    message=st.one_of(A_MESSAGES.map(lambda m: ("messages", m)), C_MESSAGES.map(lambda m: ("chat", m))),
    keep=st.lists(st.booleans(), min_size=12, max_size=12),
    text=TEXTS.filter(bool),
)
def test_blocks_can_be_removed_and_added(message: tuple[str, dict[str, Any]], keep: list[bool], text: str) -> None:
    dialect = FIXED[message[0]]
    raw = dumped(message[1])
    old = dialect.blocks(raw)
    if message[0] == "chat" and message[1]["role"] == "tool":
        return
    kept = [block for block, stays in zip(old, keep, strict=False) if stays]
    inside = [i for i, block in enumerate(kept) if not isinstance(block, Thinking)]
    at = inside[0] if inside else len(kept)
    blocks = (*kept[:at], Text(text=text), *kept[at:])
    found = dialect.blocks(dialect.with_blocks(raw, blocks))
    # What stood in two spellings of one member, or in a list of one string, may stand in one now.
    assert [plain(block) for block in found] == [plain(block) for block in blocks]
