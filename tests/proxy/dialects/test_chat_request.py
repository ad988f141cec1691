"""Chat messages as blocks and back."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.conversation import Block, Document, Image, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.chat_request import read_message, write_message
from trimtab.errors import BadRequest

CALL = b'{"id":"c1", "type":"function","function":{"name":"read","arguments":"{\\"a\\": 1}","x":2},"y":[]}'
PNG = b'{"type":"image_url","image_url":{"url":"data:image/png;name=a;base64,aGk=","detail":"low"},"cache_control":{}}'


def read(message: dict[str, Any]) -> tuple[Block, ...]:
    return read_message(json.dumps(message).encode())


@pytest.mark.parametrize("content", [None, "", []])
def test_no_content_is_no_block(content: Any) -> None:
    assert read({"role": "assistant", "content": content}) == ()
    assert read({"role": "assistant"}) == ()


def test_a_string_is_one_text_without_bytes_of_its_own() -> None:
    assert read({"role": "user", "content": "hi"}) == (Text(text="hi"),)


def test_parts_keep_their_bytes() -> None:
    file = b'{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk="}}'
    other = b'{"type":"input_audio","input_audio":{}}'
    parts = (b'{"type":"text","text":"a"}', PNG, b'{"type":"image_url","image_url":"http://x/y"}', file, other, b'"b"')
    assert read_message(b'{"role":"user","content":[' + b", ".join(parts) + b"]}") == (
        Text(text="a", raw=parts[0]),
        Image(media_type="image/png", data="aGk=", raw=parts[1]),
        Image(url="http://x/y", raw=parts[2]),
        Document(media_type="application/pdf", raw=parts[3]),
        Opaque(kind="input_audio", raw=parts[4]),
        Text(text="b", raw=parts[5]),
    )


def test_the_members_of_an_assistant_message_have_an_order() -> None:
    raw = b'{"role":"assistant","tool_calls":[%s],"content":"t","reasoning_content":"r","refusal":"no"}' % CALL
    assert read_message(raw) == (
        Thinking(text="r"),
        Text(text="t"),
        Opaque(kind="/refusal", raw=b'"no"'),
        ToolUse(id="c1", name="read", input=b'{"a": 1}', raw=CALL),
    )


def test_the_other_name_of_a_thought() -> None:
    assert read({"role": "assistant", "reasoning": "r"}) == (Thinking(text="r"),)
    assert read({"role": "assistant", "reasoning_content": "", "reasoning": "r"}) == (Thinking(text="r"),)
    assert read({"role": "assistant", "reasoning": {"effort": "low"}}) == ()


def test_calls_of_other_kinds_are_opaque() -> None:
    custom = b'{"id":"c","type":"custom","custom":{}}'
    legacy = b'{"name":"f","arguments":"{}"}'
    raw = b'{"role":"assistant","tool_calls":[%s],"function_call":%s}' % (custom, legacy)
    assert read_message(raw) == (Opaque(kind="/tool_calls", raw=custom), Opaque(kind="/function_call", raw=legacy))
    assert json.loads(write_message(raw, read_message(raw)[:1])) == {
        "role": "assistant",
        "tool_calls": [json.loads(custom)],
    }


def test_a_tool_message_is_one_result() -> None:
    raw = b'{"role":"tool","tool_call_id":"c1","content":"out","name":"read"}'
    (result,) = read_message(raw)
    assert result == ToolResult(id="c1", content=(Text(text="out"),))
    assert isinstance(result, ToolResult)
    assert write_message(raw, [replace(result, content=(Text(text="é"),))]) == raw.replace(b"out", "é".encode())
    assert write_message(raw, [replace(result, id="c2")]) == raw.replace(b"c1", b"c2")
    with pytest.raises(ValueError, match="exactly one"):
        write_message(raw, [Text(text="a")])


def test_a_changed_text_leaves_its_part_otherwise_alone() -> None:
    raw = b'{ "role":"user", "content":[ {"text":"a" , "type":"text","cache_control":{"type":"x"}}, "b" ] , "n":1.0 }'
    first, second = read_message(raw)
    assert isinstance(first, Text)
    assert isinstance(second, Text)
    assert write_message(raw, [replace(first, text="é"), second]) == raw.replace(b'"a"', '"é"'.encode())
    assert write_message(raw, [first, replace(second, text="c")]) == raw.replace(b'"b"', b'"c"')


def test_a_changed_image_keeps_its_detail() -> None:
    raw = b'{"role":"user","content":[' + PNG + b"]}"
    (image,) = read_message(raw)
    assert isinstance(image, Image)
    after = write_message(raw, [replace(image, data="eA==")])
    assert after == raw.replace(b"image/png;name=a;base64,aGk=", b"image/png;base64,eA==")


def test_a_changed_call_keeps_its_other_members() -> None:
    raw = b'{"role":"assistant","content":null,"tool_calls":[ ' + CALL + b" ]}"
    (call,) = read_message(raw)
    assert isinstance(call, ToolUse)
    assert write_message(raw, [replace(call, input=b"{}")]) == raw.replace(b'{\\"a\\": 1}', b"{}")
    assert write_message(raw, [replace(call, id="z", name="w")]) == raw.replace(b"c1", b"z").replace(b"read", b"w")


def test_new_calls_and_no_calls() -> None:
    raw = b'{"role":"assistant","content":"a","tool_calls":[' + CALL + b"]}"
    text, call = read_message(raw)
    assert write_message(raw, [text]) == b'{"role":"assistant","content":"a"}'
    assert json.loads(write_message(raw, [call]))["content"] is None
    more = json.loads(write_message(raw, [text, call, ToolUse(id="n", name="f", input=b"")]))
    assert more["tool_calls"][1] == {"id": "n", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    plain = b'{"role":"assistant","content":"a"}'
    assert len(json.loads(write_message(plain, [text, call]))["tool_calls"]) == 1


def test_a_thought_goes_where_the_client_keeps_it() -> None:
    raw = b'{"role":"assistant","reasoning":"r","content":"a"}'
    thought, text = read_message(raw)
    assert write_message(raw, [Thinking(text="s"), text]) == raw.replace(b'"r"', b'"s"')
    assert write_message(raw, [text]) == b'{"role":"assistant","content":"a"}'
    joined = json.loads(write_message(raw, [thought, Thinking(text="s"), Thinking(redacted=True), text]))
    assert joined["reasoning"] == "r\n\ns"
    bare = b'{"role":"assistant","content":"a"}'
    assert json.loads(write_message(bare, [thought, text]))["reasoning_content"] == "r"


def test_content_becomes_a_list_only_when_it_must() -> None:
    raw = b'{"role":"user","content":"a"}'
    assert write_message(raw, [Text(text="b")]) == b'{"role":"user","content":"b"}'
    assert write_message(raw, []) == b'{"role":"user","content":""}'
    two = json.loads(write_message(raw, [Text(text="a"), Image(media_type="image/png", data="aGk=")]))
    assert two["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]


@pytest.mark.parametrize("block", [Document(), ToolResult(id="t"), Opaque(kind="x")])
def test_what_has_no_form_here_is_a_fault_of_the_stage(block: Block) -> None:
    with pytest.raises(ValueError, match="has no form in the dialect 'chat'"):
        write_message(b'{"role":"user","content":"a"}', [block])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": {}},
        {"role": "assistant", "tool_calls": [3]},
        {"role": "assistant", "tool_calls": [{"id": 3}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": 3}]},
        {"role": "user", "content": [{"type": 3}]},
    ],
)
def test_wrong_shapes_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="wrong type"):
        read(message)
