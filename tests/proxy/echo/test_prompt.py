"""Requests become the pieces that a model would see."""

import json
from typing import Any

import pytest

from trimtab.echo.faults import Fault
from trimtab.echo.prompt import IMAGE_TOKENS, Piece, Reader, parse, total
from trimtab.framing import framing
from trimtab.tokens import tokenizer

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 5_000}}
BAD_RESULT = b'{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": ["x"]}]}'


def read(body: dict[str, Any], reader: Reader | None = None) -> list[Piece]:
    reader = reader or Reader(tokenizer().count, 100)
    return reader.read(parse(json.dumps({"model": "m", **body}).encode()))


def piece(message: dict[str, Any]) -> Piece:
    return read({"messages": [message]})[0]


def test_tools_come_first_then_the_system_prompt_then_the_messages() -> None:
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    pieces = read({"messages": [{"role": "user", "content": "hi"}], "system": "be brief", "tools": tools})
    assert [piece.text.split("\n")[0] for piece in pieces] == ["<|tool definition|>", "<|system|>", "<|user|>"]
    assert pieces[1].text == "<|system|>\nbe brief\n"
    count, frame = tokenizer().count, framing("messages")
    spoken = json.dumps(tools[0])
    assert [piece.tokens for piece in pieces] == [frame.tool + count(spoken), count("be brief"), frame.message + 1]
    assert total(pieces) == frame.opening + frame.offer + sum(piece.tokens for piece in pieces)
    assert total(pieces[1:]) == frame.opening + sum(piece.tokens for piece in pieces[1:])


def test_a_system_message_of_chat_is_the_same_piece() -> None:
    chat = read({"messages": [{"role": "system", "content": "be brief"}]})
    messages = read({"system": [{"type": "text", "text": "be brief"}], "messages": [{"role": "user"}]})
    assert chat[0].digest == messages[0].digest


@pytest.mark.parametrize("system", [None, "", []])
def test_an_empty_system_prompt_is_no_piece(system: object) -> None:
    assert len(read({"system": system, "messages": [{"role": "user", "content": "x"}]})) == 1


def test_ids_are_seen_and_not_counted() -> None:
    def call(ident: str) -> dict[str, Any]:
        return {"id": ident, "type": "function", "function": {"name": "look", "arguments": '{"path":"a"}'}}

    short, long = (piece({"role": "assistant", "tool_calls": [call(ident)]}) for ident in ("1", "call_" + "x" * 40))
    count, frame = tokenizer().count, framing("chat")
    assert short.digest != long.digest
    assert short.tokens == long.tokens == frame.message + frame.call + count("look") + count('{"path":"a"}')


def test_a_string_is_one_block_of_text() -> None:
    block = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert piece({"role": "user", "content": "hi"}).digest == piece({"role": "user", "content": [block]}).digest


@pytest.mark.parametrize("kind", ["text", "image", "tool_use", "tool_result", "strange"])
def test_cache_marks_do_not_count(kind: str) -> None:
    block = {"type": kind, "text": "t", "id": "i", "tool_use_id": "i", "name": "n", "input": {}, "content": "c"}
    marked = {**block, "cache_control": {"type": "ephemeral"}}
    inner = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": [block]}]}
    inner_marked = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": [marked]}]}
    assert piece({"role": "user", "content": [block]}) == piece({"role": "user", "content": [marked]})
    assert piece(inner) == piece(inner_marked)


def test_a_cache_mark_on_a_tool_does_not_count_but_a_property_of_that_name_does() -> None:
    tool = {"name": "look", "input_schema": {"properties": {"cache_control": {}}}}
    plain, marked = (
        read({"messages": [{"role": "user"}], "tools": [t]})[0]
        for t in (tool, {**tool, "cache_control": {"type": "ephemeral"}})
    )
    assert plain == marked
    assert "cache_control" in plain.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}),
        ({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "a", "reasoning_content": "b"}),
        ({"role": "tool", "content": "a", "tool_call_id": "1"}, {"role": "tool", "content": "a", "tool_call_id": "2"}),
        ({"role": "user", "content": [PNG]}, {"role": "user", "content": [{**PNG, "source": {"data": "other"}}]}),
        ({"role": "user", "content": [{"type": "odd", "a": 1}]}, {"role": "user", "content": [{"type": "odd"}]}),
        (
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x", "is_error": True}],
            },
        ),
    ],
)
def test_what_a_model_would_tell_apart_differs(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert piece(one).digest != piece(other).digest


def test_the_same_call_is_the_same_text_in_both_dialects() -> None:
    function = {"name": "look", "arguments": json.dumps({"path": "a"})}
    chat = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    use = {"type": "tool_use", "id": "c1", "name": "look", "input": {"path": "a"}}
    assert piece(chat).text == piece({"role": "assistant", "content": [use]}).text


@pytest.mark.parametrize(
    "block",
    [
        PNG,
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 5_000}},
        {"type": "document", "source": {"type": "base64", "data": "JVBERi0" * 5_000}},
    ],
)
def test_an_image_counts_a_fixed_number_never_its_base64(block: dict[str, Any]) -> None:
    text = {"type": "text", "text": "look"}
    with_image = piece({"role": "user", "content": [text, block]})
    bare = piece({"role": "user", "content": [text]})
    assert 0 <= with_image.tokens - bare.tokens - IMAGE_TOKENS <= 2
    assert with_image.images == 1
    assert len(with_image.text) < 100


def test_images_in_tool_results_are_seen() -> None:
    found = piece({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [PNG, PNG]}]})
    assert found.images == 2
    assert found.tokens > 2 * IMAGE_TOKENS


def test_the_start_of_a_piece_may_end_inside_an_image() -> None:
    reader = Reader(tokenizer().count, 10)
    text = read({"messages": [{"role": "user", "content": [PNG]}]}, reader)[0].text
    header = tokenizer().count("<|user|>\n")
    assert [reader.measure(text[:end]) - header for end in (9, 10, 20)] == [0, IMAGE_TOKENS, IMAGE_TOKENS]


def test_pieces_know_what_the_user_said_and_how_many_results_came() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "x"}
    blocks = [result, {"type": "text", "text": "first"}, {"type": "text", "text": "last " * 100}, result]
    found = piece({"role": "user", "content": blocks})
    assert (found.results, found.role, found.said) == (2, "user", ("last " * 100)[:80])
    assert piece({"role": "tool", "tool_call_id": "1", "content": "x"}).results == 1
    assert piece({"role": "assistant", "content": "not the user"}).said == ""


def test_a_piece_is_counted_once_and_found_again() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return 1

    reader = Reader(count, 2)
    talk = [{"role": "user", "content": str(n)} for n in range(3)]
    first, again = read({"messages": talk[:2]}, reader), read({"messages": talk[:2]}, reader)
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert len(counted) == 2
    read({"messages": talk[2:]}, reader)
    read({"messages": talk[:1]}, reader)
    assert len(counted) == 4  # the first one had been pushed out


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": "hi"}',
        b'{"messages": [{"role": "user", "content": "hi"}]}',
        b'{"model": "m", "messages": [' + b"[" * 100_000,
    ],
)
def test_a_bad_body_is_refused(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        parse(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "message", [b"1", b'{"role": 1}', BAD_RESULT, b'{"role": "user", "content": "\xff"}', b'"\\ud83d"']
)
def test_a_bad_message_is_refused(message: bytes) -> None:
    with pytest.raises(Fault) as caught:
        Reader(tokenizer().count, 10).read(parse(b'{"model": "m", "messages": [' + message + b"]}"))
    assert caught.value.status == 400


def test_a_document_of_text_is_its_text_and_old_thinking_is_seen() -> None:
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}}
    thought = {"type": "thinking", "thinking": "well", "signature": "opaque"}
    assert piece({"role": "user", "content": [document]}).text == "<|user|>\na page\n"
    assert piece({"role": "assistant", "content": [thought]}).text == "<|assistant|>\n<think>well\n"


def test_a_strange_call_is_kept_as_it_is() -> None:
    call = {"id": "1", "type": "custom", "custom": {"name": "n", "input": "x"}}
    assert '"custom":{"name":"n","input":"x"}' in piece({"role": "assistant", "tool_calls": [call]}).text
