"""Items of the input as blocks and back."""

import json
from typing import Any

import pytest

from trimtab.conversation import Block, Document, Image, Opaque, Text, Thinking, ToolResult, ToolUse
from trimtab.dialects.responses_blob import Sealed, seal
from trimtab.dialects.responses_request import SUMMARY, kind_of, read_item, write_item
from trimtab.errors import BadRequest

PNG = "data:image/png;base64,iVBORw0KGgo="


def item(**members: Any) -> bytes:
    return json.dumps(members).encode()


def test_a_bare_string_is_the_users_message() -> None:
    assert kind_of(b'"hi"') == ("message", "user")
    assert read_item(b'"hi"') == (Text(text="hi", raw=b'"hi"'),)
    assert write_item(b'"hi"', [Text(text="ho")]) == b'"ho"'
    assert json.loads(write_item(b'"hi"', [Text(text="a"), Text(text="b")]))["content"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_text", "text": "b"},
    ]


@pytest.mark.parametrize("head", [{}, {"type": "message"}])
def test_messages_with_and_without_a_type(head: dict[str, str]) -> None:
    raw = item(**head, role="developer", content="rules")
    assert (kind_of(raw), read_item(raw)) == (("message", "developer"), (Text(text="rules"),))


def test_parts_of_every_kind() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "input_text", "text": "a"},
        {"type": "output_text", "text": "b", "annotations": []},
        {"type": "refusal", "refusal": "no"},
        {"type": "input_image", "image_url": PNG, "detail": "high"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
        {"type": "input_audio"},
    ]
    found = read_item(item(role="user", content=parts))
    assert [type(block) for block in found] == [Text, Text, Text, Image, Image, Document, Opaque]
    assert [block.text for block in found if isinstance(block, Text)] == ["a", "b", "no"]
    picture = found[3]
    assert isinstance(picture, Image)
    assert (picture.media_type, picture.data) == ("image/png", PNG[22:])


@pytest.mark.parametrize(
    ("raw", "kind", "role"),
    [
        (item(id="x"), "item_reference", ""),
        (item(type="item_reference", id="x"), "item_reference", ""),
        (item(type="mcp_call", id="x"), "mcp_call", ""),
        (item(type="additional_tools", role="developer", tools=[]), "additional_tools", ""),
        (item(type="compaction_trigger"), "compaction_trigger", ""),
        (item(type="tool_search_call", call_id="c", arguments={}), "tool_search_call", "assistant"),
        (item(type="tool_search_call", call_id=None, arguments={}), "tool_search_call", ""),
        (item(type="tool_search_output", tools=[]), "tool_search_output", ""),
        (item(type="compaction", encrypted_content="x"), "compaction", "user"),
    ],
)
def test_who_says_an_item(raw: bytes, kind: str, role: str) -> None:
    assert kind_of(raw) == (kind, role)
    assert len(read_item(raw)) == 1


@pytest.mark.parametrize("raw", [b"7", b"[]", item(type="message"), b'{"type":7}'])
def test_what_is_no_item_is_refused_with_its_place(raw: bytes) -> None:
    with pytest.raises(BadRequest, match=r"input\[3\]"):
        kind_of(raw, "input[3]")


def test_calls_and_outputs() -> None:
    [call] = read_item(item(type="function_call", call_id="c", name="read", arguments="{}"))
    assert isinstance(call, ToolUse)
    assert (call.id, call.name, call.input) == ("c", "read", b"{}")
    for kind in ("function_call_output", "custom_tool_call_output", "local_shell_call_output"):
        [result] = read_item(item(type=kind, call_id="c", output="said"))
        assert result == ToolResult(id="c", content=(Text(text="said", raw=b'"said"'),))
    # The published form names the call by the output's own id.
    [result] = read_item(item(type="local_shell_call_output", id="c", output=""))
    assert result == ToolResult(id="c")


def test_a_failed_patch_is_an_error() -> None:
    [result] = read_item(item(type="apply_patch_call_output", call_id="c", status="failed"))
    assert result == ToolResult(id="c", content=(Text(text="failed"),), is_error=True)


def test_a_list_in_a_string_is_unwrapped_where_it_holds_a_picture() -> None:
    parts = [{"type": "input_text", "text": "shot"}, {"type": "input_image", "image_url": PNG}]
    [result] = read_item(item(type="function_call_output", call_id="c", output=json.dumps(parts)))
    assert isinstance(result, ToolResult)
    assert [type(block) for block in result.content] == [Text, Image]
    for text in ('[{"type":"input_image"', '["\\"input_image\\""]', '[{"type":"odd","a":"input_image"}]', "[1]"):
        [plain] = read_item(item(type="function_call_output", call_id="c", output=text))
        assert isinstance(plain, ToolResult)
        assert [type(block) for block in plain.content] == [Text]


def test_thoughts_are_read_from_our_own_copy_or_from_what_is_shown() -> None:
    shown = [{"type": "summary_text", "text": "short"}]
    blob = seal("reasoning", Sealed("long", "sig"))
    [ours] = read_item(item(type="reasoning", id="r", summary=shown, encrypted_content=blob))
    assert isinstance(ours, Thinking)
    assert (ours.text, ours.signature) == ("long", "sig")
    [theirs] = read_item(item(type="reasoning", id="r", summary=shown, encrypted_content="gAAA"))
    assert isinstance(theirs, Thinking)
    assert (theirs.text, theirs.redacted) == ("short", False)
    [sealed] = read_item(item(type="reasoning", id="r", summary=[], encrypted_content="gAAA"))
    assert isinstance(sealed, Thinking)
    assert sealed.redacted


def test_our_own_summary_is_unpacked_and_a_foreign_one_is_opaque() -> None:
    blob = seal("compaction", Sealed("so far"))
    assert read_item(item(type="compaction", encrypted_content=blob)) == (Text(text=SUMMARY + "so far"),)
    [foreign] = read_item(item(type="compaction", encrypted_content="gAAA"))
    assert isinstance(foreign, Opaque)


def test_a_search_of_the_web_is_told_by_its_words() -> None:
    said = item(type="web_search_call", id="w", action={"type": "search", "query": "tides"})
    assert read_item(said) == (Text(text="[searched the web: tides]"),)
    assert isinstance(read_item(item(type="web_search_call", id="w"))[0], Opaque)


def swapped(raw: bytes, new: str) -> bytes:
    """The item with its first text, wherever it stands, said in other words."""

    def other(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        head, *rest = blocks
        if isinstance(head, ToolResult):
            return (ToolResult(id=head.id, content=other(head.content), is_error=head.is_error, raw=head.raw), *rest)
        assert isinstance(head, Text)
        return (Text(text=new, raw=head.raw), *rest)

    return write_item(raw, other(read_item(raw)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{ "role":"user", "content" : "a", "x":1 }', b'{ "role":"user", "content" : "new", "x":1 }'),
        (
            b'{"role":"user","content":[ {"type":"input_text", "text":"a","y":2} , {"z":1,"type":"odd"}]}',
            b'{"role":"user","content":[ {"type":"input_text", "text":"new","y":2} , {"z":1,"type":"odd"}]}',
        ),
        (
            b'{"role":"assistant","content":[{"type":"refusal","refusal":"a"}]}',
            b'{"role":"assistant","content":[{"type":"refusal","refusal":"new"}]}',
        ),
        (
            b'{"type":"function_call_output", "call_id":"c","output":"a"}',
            b'{"type":"function_call_output", "call_id":"c","output":"new"}',
        ),
        (
            b'{"type":"function_call_output","output":[{"type":"input_text","text":"a"}],"call_id":"c"}',
            b'{"type":"function_call_output","output":[{"type":"input_text","text":"new"}],"call_id":"c"}',
        ),
    ],
)
def test_a_changed_text_changes_nothing_else(before: bytes, after: bytes) -> None:
    assert swapped(before, "new") == after


def test_outputs_of_other_forms_can_be_changed_too() -> None:
    shell = item(type="shell_call_output", call_id="c", output=[{"stdout": "a", "stderr": "", "outcome": {}}])
    assert json.loads(swapped(shell, "new"))["output"][0]["stdout"] == "new"
    [result] = read_item(item(type="function_call_output", call_id="c", output="a"))
    assert isinstance(result, ToolResult)
    picture = Image(media_type="image/png", data="AA")
    more = ToolResult(id="c", content=(*result.content, picture))
    made = json.loads(write_item(item(type="function_call_output", call_id="c", output="a"), [more]))
    assert made["output"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"},
    ]


def test_an_item_that_nobody_may_change_says_so() -> None:
    with pytest.raises(ValueError, match="function_call"):
        write_item(item(type="function_call", call_id="c", name="x", arguments="{}"), [Text(text="x")])


@pytest.mark.parametrize("name", ["image_url", "x"])
def test_a_text_that_is_nested_without_end_stays_a_text(name: str) -> None:
    deep = '{"a":' * 50_000 + "1" + "}" * 50_000
    text = f'[{{"type":"input_image","{name}":{deep}}}]'
    [block] = read_item(item(type="function_call_output", call_id="c", output=text))
    assert isinstance(block, ToolResult)
    assert [part.text == text for part in block.content if isinstance(part, Text)] == [True]
