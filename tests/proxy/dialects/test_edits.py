"""Changes deep inside a JSON text."""

import json
from typing import Any

import pytest

from trimtab.dialects.edits import Misfit, Path, at, data_span, decoded, edit, edit_frame, rename

RAW = b'{ "a" : { "b":[ 1 , {"c":2} ] } , "n":null }'


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({("a", "b", 0): b"9"}, RAW.replace(b"1 ,", b"9 ,")),
        ({("a", "b", 1, "c"): b"9", ("a", "b", 0): b"8"}, RAW.replace(b"2", b"9").replace(b"1 ,", b"8 ,")),
        ({("a", "x"): b"9"}, RAW.replace(b"] }", b'],"x":9 }')),
        ({("n", "x", "y"): b"9"}, RAW.replace(b"null", b'{"x":{"y":9}}')),
        ({("z", "x"): b"9"}, RAW.replace(b"null", b'null,"z":{"x":9}')),
        ({(): b"9"}, b"9"),
        ({}, RAW),
    ],
)
def test_only_what_is_named_changes(changes: dict[Path, bytes], after: bytes) -> None:
    assert edit(RAW, changes) == after
    json.loads(after)


@pytest.mark.parametrize("path", [("a", "b", "c"), ("a", "b", 7), ("a", 0), ("a", "b", 0, "x")])
def test_a_path_that_leads_nowhere(path: Path) -> None:
    with pytest.raises(Misfit):
        edit(RAW, {path: b"9"})


def test_a_repeated_member_is_not_edited() -> None:
    with pytest.raises(Misfit):
        edit(b'{"a":1,"a":2}', {("a",): b"3"})


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'event: x\r\ndata:{"a":1}\r\nid: 7\r\n\r\n', b'{"a":1}'),
        (b'\n{"a":1}\n', b'\n{"a":1}\n'),
        (b"data: [DONE]\n\n", b"[DONE]"),
    ],
)
def test_where_the_json_stands(frame: bytes, data: bytes) -> None:
    start, end = data_span(frame)
    assert frame[start:end] == data


@pytest.mark.parametrize("frame", [b": x\n\n", b"data: {\ndata: }\n\n", b"data: [DONE]\n\n", b"data: [1]\n\n"])
def test_frames_without_an_object(frame: bytes) -> None:
    with pytest.raises(Misfit):
        decoded(frame)


def test_a_frame_keeps_its_other_lines() -> None:
    frame = b'event: x\r\ndata: { "a":1 } \r\nid: 7\r\n\r\n'
    assert edit_frame(frame, {("a",): b"2"}).split(b"\r\n") == [b"event: x", b'data: { "a":2 } ', b"id: 7", b"", b""]


@pytest.mark.parametrize(
    ("path", "found"), [((), {"a": [1]}), (("a", 0), 1), (("a", 1), None), (("b",), None), (("a", "x"), None)]
)
def test_looking_up(path: Path, found: Any) -> None:
    assert at({"a": [1]}, path) == found


def test_renaming() -> None:
    assert rename(b'data: {"model":"x"}\n\n', 'a"b', ("model",)) == b'data: {"model":"a\\"b"}\n\n'
    text = b'data: {"c":"\\"model\\": \\"x\\"","model":"y"}\n\n'
    assert rename(text, "z", ("model",)) == text.replace(b'"y"', b'"z"')
    two = b'data: {"a":{"model":"x"},"model":"y"}\n\n'
    assert rename(two, "z", ("model",)) == two.replace(b'"y"', b'"z"')
    assert rename(two, "z", ("b", "model")) == two
