"""The content of a message: parts into blocks and back."""

from typing import Any

import pytest

from trimtab.conversation import Block, Image, Opaque, Text
from trimtab.dialects.parts import (
    content,
    data_url,
    encode,
    read_content,
    read_part,
    replaced,
    tool_input,
    unrenderable,
    write,
)
from trimtab.errors import BadRequest


class Codec:
    """Knows text only."""

    def read(self, raw: bytes, place: str) -> Block:
        return read_part(raw, place, {"text": lambda part, _: Text(text="old", raw=part)})

    def fresh(self, block: Block) -> bytes:
        return b"fresh"

    def changed(self, old: Block, new: Block) -> bytes:
        return b"changed"


PART = b'{ "type":"text" ,"text":"old"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b"{}"),
        (b" \n", b"{}"),
        (b'{ "a":1.0}', b'{ "a":1.0}'),
        (b"[1]", b'{"_raw":"[1]"}'),
        (b'{"a":', b'{"_raw":"{\\"a\\":"}'),
        (b"\xff", '{"_raw":"\ufffd"}'.encode()),
    ],
)
def test_a_tools_input_is_an_object(text: bytes, expected: bytes) -> None:
    assert tool_input(text) == expected


def test_nesting_without_end_is_wrapped_too() -> None:
    deep = b"[" * 100_000
    assert tool_input(deep) == encode({"_raw": deep.decode()})


@pytest.mark.parametrize(
    ("url", "image"),
    [
        ("data:image/png;base64,AAAA", Image(media_type="image/png", data="AAAA")),
        ("data:image/png;name=a;base64,AAAA", Image(media_type="image/png", data="AAAA")),
        ("data:;base64,AA", Image(data="AA")),
        ("data:image/png,raw", Image(url="data:image/png,raw")),
        ("https://a.test/b.png", Image(url="https://a.test/b.png")),
        (f"data:image/png{';' * 1000};base64,AA", Image(url=f"data:image/png{';' * 1000};base64,AA")),
    ],
)
def test_an_images_address(url: str, image: Image) -> None:
    assert data_url(url) == image


@pytest.mark.parametrize("value", [b"", b"null", b'""', b"[]"])
def test_content_that_says_nothing_has_no_blocks(value: bytes) -> None:
    assert read_content(value, "content", Codec().read) == ()


def test_content_as_a_string_or_as_parts() -> None:
    assert read_content(b'"a\\n"', "content", Codec().read) == (Text(text="a\n"),)
    blocks = read_content(b'["b", ' + PART + b',{"type":"x"}]', "content", Codec().read)
    assert blocks == (Text(text="b", raw=b'"b"'), Text(text="old", raw=PART), Opaque(raw=b'{"type":"x"}', kind="x"))


@pytest.mark.parametrize(("value", "place"), [(b"5", r"^content is neither"), (b"[1]", r"^content\[0\] is no object")])
def test_content_that_cannot_be_read_names_its_place(value: bytes, place: str) -> None:
    with pytest.raises(BadRequest, match=place):
        read_content(value, "content", Codec().read)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (Text(text="new"), b"fresh"),
        (Text(text="old", raw=PART), PART),
        (Text(text="new", raw=PART), b"changed"),
        (Image(url="u", raw=PART), b"fresh"),
        (Opaque(kind="y", raw=b'{"type":"x"}'), b'{"type":"x"}'),
    ],
)
def test_a_block_keeps_its_bytes_unless_it_changed(block: Block, expected: bytes) -> None:
    assert write(block, Codec()) == expected


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([], b'""'),
        ([Text(text="a")], b'"a"'),
        ([Text(text="old", raw=PART)], b"[" + PART + b"]"),
        ([Text(text="old", raw=PART), Text(text="b")], b"[" + PART + b",fresh]"),
    ],
)
def test_content_of_our_own(blocks: list[Any], expected: bytes) -> None:
    assert content(blocks, Codec()) == expected


def test_members_are_replaced_in_place() -> None:
    assert replaced(b'{ "a": 1, "b":2 }', {"a": b"3"}) == b'{ "a": 3, "b":2 }'
    assert "Image has no form in the dialect 'chat'" in str(unrenderable(Image(), "chat"))
