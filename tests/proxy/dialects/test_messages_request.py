"""Anthropic messages as blocks and back."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.conversation import Block, Document, Image, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.messages_request import read_message, read_system, write_message
from trimtab.errors import BadRequest

USE = b'{"type":"tool_use","id":"t1","name":"read","input":{ "a" : 1.0 },"caller":{}}'
RESULT = b'{"type":"tool_result","tool_use_id":"t1","content":"out","is_error":true,"cache_control":{"type":"x"}}'


def message(*parts: bytes) -> bytes:
    return b'{"role":"user","content":[ ' + b" , ".join(parts) + b' ],"x":1}'


def one(part: bytes) -> Any:
    (block,) = read_message(message(part))
    return block


def test_the_kinds_of_blocks() -> None:
    parts = (
        b'{"type":"text","text":"a"}',
        b'{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}',
        b'{"type":"image","source":{"type":"url","url":"http://x/y"}}',
        b'{"type":"image","source":{"type":"file","file_id":"f"}}',
        b'{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"}}',
        b'{"type":"thinking","thinking":"t","signature":"s"}',
        b'{"type":"redacted_thinking","data":"x"}',
        USE,
        b'{"type":"server_tool_use","id":"s"}',
        b"{}",
    )
    assert read_message(message(*parts)) == (
        Text(text="a", raw=parts[0]),
        Image(media_type="image/png", data="aGk=", raw=parts[1]),
        Image(url="http://x/y", raw=parts[2]),
        Image(raw=parts[3]),
        Document(media_type="text/plain", raw=parts[4]),
        Thinking(text="t", signature="s", raw=parts[5]),
        Thinking(redacted=True, raw=parts[6]),
        ToolUse(id="t1", name="read", input=b'{ "a" : 1.0 }', raw=parts[7]),
        Opaque(kind="server_tool_use", raw=parts[8]),
        Opaque(raw=parts[9]),
    )


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        (b'"out"', (Text(text="out"),)),
        (b'""', ()),
        (b"null", ()),
        (b"[]", ()),
        (b'[{"type":"text","text":"a"}]', (Text(text="a", raw=b'{"type":"text","text":"a"}'),)),
    ],
)
def test_the_content_of_a_tool_result(content: bytes, blocks: tuple[Block, ...]) -> None:
    raw = b'{"type":"tool_result","tool_use_id":"t1","content":' + content + b"}"
    assert one(raw) == ToolResult(id="t1", content=blocks, raw=raw)


def test_a_tool_result_without_content() -> None:
    raw = b'{"type":"tool_result","tool_use_id":"t1"}'
    result = one(raw)
    assert result == ToolResult(id="t1", raw=raw)
    after = write_message(message(raw), [replace(result, content=(Text(text="a"),))])
    assert after == message(raw[:-1] + b',"content":"a"}')


def test_a_changed_tool_result_keeps_its_other_members() -> None:
    result = one(RESULT)
    for content, wanted in (
        ((Text(text="é"),), '"é"'.encode()),
        ((), b'""'),
        ((Text(text="a"), Text(text="b")), b'[{"type":"text","text":"a"},{"type":"text","text":"b"}]'),
    ):
        after = write_message(message(RESULT), [replace(result, content=content)])
        assert after == message(RESULT.replace(b'"out"', wanted))
    assert write_message(message(RESULT), [replace(result, is_error=False)]) == message(
        RESULT.replace(b"true", b"false")
    )


def test_a_changed_image_inside_a_tool_result() -> None:
    image = b'{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="},"cache_control":{}}'
    raw = b'{"type":"tool_result","tool_use_id":"t1","content":[ ' + image + b" ]}"
    result = one(raw)
    after = write_message(message(raw), [replace(result, content=(Text(text="a picture"),))])
    assert after == message(raw.replace(image, b'{"type":"text","text":"a picture"}'))


def test_a_changed_text_leaves_its_part_otherwise_alone() -> None:
    part = b'{ "cache_control":{"type":"ephemeral"}, "text" : "a", "type":"text" }'
    other = b'{"type":"text","text":"b"}'
    first, second = read_message(message(part, other))
    assert isinstance(first, Text)
    after = write_message(message(part, other), [replace(first, text="é"), second])
    assert after == message(part.replace(b'"a"', '"é"'.encode()), other)


def test_changed_thoughts_and_calls() -> None:
    thought = b'{"type":"thinking","thinking":"t","signature":"s","x":1}'
    assert write_message(message(thought), [replace(one(thought), signature="")]) == message(
        thought.replace(b'"s"', b'""')
    )
    assert write_message(message(USE), [replace(one(USE), input=b"broken")]) == message(
        USE.replace(b'{ "a" : 1.0 }', b'{"_raw":"broken"}')
    )


def test_blocks_move_with_their_bytes() -> None:
    parts = (b'{"type":"text","text":"a", "x":1}', USE)
    first, second = read_message(message(*parts))
    assert write_message(message(*parts), [second, first]) == message(USE, parts[0])
    assert write_message(b'{"role":"user","content":"s"}', [first]) == b'{"role":"user","content":[' + parts[0] + b"]}"


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (Text(text="é"), {"type": "text", "text": "é"}),
        (Image(url="http://x"), {"type": "image", "source": {"type": "url", "url": "http://x"}}),
        (Thinking(text="t", signature="s"), {"type": "thinking", "thinking": "t", "signature": "s"}),
        (ToolUse(id="t", name="n", input=b""), {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
        (
            ToolUse(id="t", name="n", input=b"[1]"),
            {"type": "tool_use", "id": "t", "name": "n", "input": {"_raw": "[1]"}},
        ),
        (ToolResult(id="t"), {"type": "tool_result", "tool_use_id": "t", "content": ""}),
        (
            ToolResult(id="t", content=(Text(text="a"),), is_error=True),
            {"type": "tool_result", "tool_use_id": "t", "content": "a", "is_error": True},
        ),
    ],
)
def test_new_blocks(block: Block, wanted: dict[str, Any]) -> None:
    raw = write_message(b'{"role":"user","content":[]}', [block])
    assert json.loads(raw) == {"role": "user", "content": [wanted]}


@pytest.mark.parametrize("block", [Document(), Thinking(redacted=True), Opaque(kind="x")])
def test_what_cannot_be_made_is_a_fault_of_the_stage(block: Block) -> None:
    with pytest.raises(ValueError, match="has no form in the dialect 'messages'"):
        write_message(b'{"role":"user","content":"a"}', [block])


def test_a_block_turned_into_another_kind_is_written_anew() -> None:
    (image,) = read_message(message(b'{"type":"image","source":{}}'))
    after = write_message(message(b'{"type":"image","source":{}}'), [Text(text="was a picture", raw=image.raw)])
    assert json.loads(after)["content"] == [{"type": "text", "text": "was a picture"}]


def test_system() -> None:
    part = b'{"type":"text","text":"b"}'
    assert read_system(b'"a"') == (Text(text="a"),)
    assert read_system(b"[" + part + b"]") == (Text(text="b", raw=part),)
    assert read_system(b"null") == read_system(b"") == ()
    with pytest.raises(BadRequest, match="system"):
        read_system(b"3")
